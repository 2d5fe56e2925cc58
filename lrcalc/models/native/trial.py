"""A few atoms by kernels and by torch: densities, products, features, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lrcalc.kernels.trial import weighed
from lrcalc.models.native.products import WIDTHS, Round, SpeciesOrder, sort_by_species
from lrcalc.neighbors import Pairs

COUNTS = (5, 0, 20, 17, 1, 33, 90, 16, 48)
"""Pairs of each atom; some of them beyond the cutoff."""


def cases(part: Any, fast: Any, like: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names, what ``fast`` gives, and what torch gives.

    Parameters
    ----------
    part : LocalBackbone
    fast : Fast
    like : Tensor
        In whose precision, and where.
    """
    make = torch.Generator().manual_seed(0)
    n, rows = len(COUNTS), sum(COUNTS)
    species = torch.arange(n) % len(part.species)
    i = torch.arange(n).repeat_interleave(torch.tensor(COUNTS))
    j = torch.randint(0, n, (rows,), generator=make)
    vectors = 0.4 * part.cutoff * torch.randn(rows, 3, dtype=torch.float64, generator=make)
    # no closer than atoms are, where a few pairs would outweigh all others
    distance = vectors.norm(dim=1, keepdim=True)
    vectors = vectors / distance * distance.clamp(min=0.8)
    vectors[rows // 2] *= 100.0
    species, i, j = (x.to(like.device) for x in (species, i, j))
    leaf = vectors.to(like).requires_grad_()
    atoms = sort_by_species(species, len(part.species))
    pairs = Pairs(i, j, torch.zeros(rows, 3, dtype=torch.int64, device=like.device))
    density = part._densities(atoms, species, pairs, part._edges(atoms, pairs, leaf))
    expected = _all(part.describe(density, atoms, calibrate=False), atoms)
    density = fast.densities(part, atoms, species, pairs, leaf)
    found = _all(part.describe(density, atoms, calibrate=False, fast=fast), atoms)
    for name in expected:
        yield name, found[name], expected[name]
    for names in (("hidden",), ("hidden", "vectors"), tuple(expected)):
        slopes = []
        for values in (found, expected):
            total = torch.stack([weighed(values[name]) for name in names]).sum()
            slopes += torch.autograd.grad(total, leaf, retain_graph=True)
        yield f"the gradient of {names[-1]}", slopes[0], slopes[1]


def _all(found: Round, atoms: SpeciesOrder) -> dict[str, Tensor]:
    """Everything that is made, features of atoms in their own order."""
    values = {"hidden": found.hidden, "product": found.product}
    if found.features is not None:
        values["vectors"], values["tensors"] = found.features
        return values
    parts = [x.split(WIDTHS) for x in (found.density, found.product)]
    for ell, name in ((1, "vectors"), (2, "tensors")):
        both = torch.cat([x[ell] for x in parts], dim=2)
        values[name] = both.index_select(1, atoms.place).permute(1, 2, 0)
    return values
