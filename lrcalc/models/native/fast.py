"""Where first derivatives are enough: the same densities and products, faster.

Training differentiates twice and by weights, and that is what the code in torch is for. Whoever
wants energies, forces and the like alone says so (`System.once`), and what there is for the device
is used: kernels on a GPU (`fused`), C++ on a CPU where it is asked for (`cpu`). Numbers agree to
rounding.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from lrcalc.kernels.choice import available
from lrcalc.kernels.trial import tried
from lrcalc.models.backbone import Passed
from lrcalc.models.native.fused.density import MOST_COLUMNS, Neighbours, neighbour_rows
from lrcalc.models.native.fused.products import described, mixed, mixed_rows
from lrcalc.models.native.products import Products, Round, SpeciesOrder
from lrcalc.models.native.trial import cases
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class Fast(Protocol):
    """Functions of a round; a gradient of their gradients is refused."""

    def densities(
        self, part: Any, atoms: SpeciesOrder, species: Tensor, pairs: Pairs, vectors: Tensor
    ) -> Tensor:
        """Mixed neighbour densities of sorted atoms (lm, N, channels).

        Parameters
        ----------
        part : LocalBackbone
        atoms : SpeciesOrder
            The centres.
        species : Tensor, shape (M,), int64
            Of all atoms, in their own order.
        pairs : Pairs
            Sorted by centre.
        vectors : Tensor, shape (E, 3), Å
        """
        ...

    def messages(
        self,
        part: Any,
        atoms: SpeciesOrder,
        pairs: Pairs,
        vectors: Tensor,
        cutoff: float,
        past: Round,
    ) -> Passed | None:
        """Mix what atoms say of ``past`` and hear of one another.

        Parameters
        ----------
        part : MessageRound
        atoms, pairs, vectors
            As of `densities`.
        cutoff : float
            Å.
        past : Round
            The round before.

        Returns
        -------
        Passed or None
            ``heard`` is what is added to √½ of the density before, (lm, N, channels). None where
            there is no such function.
        """
        ...

    def describe(self, part: Products, atoms: SpeciesOrder, density: Tensor) -> Round:
        """Products and perceptron of a density (lm, N, channels)."""
        ...


class Kernels:
    """On a GPU, see `Fast`."""

    def densities(
        self, part: Any, atoms: SpeciesOrder, species: Tensor, pairs: Pairs, vectors: Tensor
    ) -> Tensor:
        """Mixed neighbour densities of sorted atoms."""
        n, n_species = len(atoms.species), len(part.species)
        ends = torch.arange(n + 1, device=pairs.i.device)
        at = Neighbours(torch.searchsorted(pairs.i, ends), pairs.j, species, atoms.place)
        rows = neighbour_rows(vectors, at, part.cutoff, n_species, part.n_basis)
        return mixed_rows(rows, part.mixing(), atoms.counts)

    def messages(self, *args: Any, **options: Any) -> None:
        """There is no kernel."""

    def describe(self, part: Products, atoms: SpeciesOrder, density: Tensor) -> Round:
        """Products and perceptron of a density."""
        scaled = zip(part.product_mix, part.product_scale.unbind(1), strict=True)
        weights = [weight * scale[:, None, None] for weight, scale in scaled]
        found = described(density, weights, atoms.place, atoms.counts)
        hidden = part.perceptron(found.invariants, atoms, mixed)
        return Round(hidden, density, found.product, (found.vectors, found.tensors))


def fast_functions(part: Products, n_species: int, system: System, vectors: Tensor) -> Fast | None:
    """Return what may be used for ``system``, these sizes and where ``vectors`` are, or None."""
    if not system.once:
        return None
    if has_kernels(part, n_species, vectors):
        return Kernels()
    if system.compiled and vectors.device.type == "cpu":
        from lrcalc.models.native.cpu import compiled

        return compiled(part, n_species, vectors.dtype)
    return None


def has_kernels(part: Products, n_species: int, like: Tensor) -> bool:
    """Whether there are kernels for these sizes where ``like`` is, which give what torch gives."""
    if n_species * part.n_basis > MOST_COLUMNS or not available(like):
        return False
    key = (n_species, part.n_basis, part.channels)
    return tried("the backbone", like, key, lambda: cases(part, Kernels(), like))


def is_compiled(part: Any, like: Tensor) -> bool:
    """Whether there is C++ for a backbone of our own, of the type and device of ``like``."""
    from lrcalc.models.native.local import LocalBackbone

    if not isinstance(part, LocalBackbone) or like.device.type != "cpu":
        return False
    from lrcalc.models.native.cpu import compiled

    return compiled(part, len(part.species), like.dtype) is not None
