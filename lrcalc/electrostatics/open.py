"""Open boundaries: the pair sum of smeared multipoles, in blocks of rows.

With ``d = r_i - r_j`` and ``B_n`` of `kernels.smeared_coulomb` (``∇B_n = -B_{n+1} d``) the
potential of the multipoles of j at i is ``q B0 + (u·d) B1 + ½ (d·Q·d) B2``; field and hessian
are its derivatives. The sum runs over j ≠ i, so there is no self term.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lrcalc.domain import Domain, everyone, shared, total
from lrcalc.electrostatics.kernels import Sites, Source, interaction_energy, smeared_coulomb
from lrcalc.electrostatics.layout import Layout, make_layout, pack, unpack
from lrcalc.electrostatics.sums import Geometry, Interaction

BLOCK_PAIRS = 2_000_000
"""Pairs worked on at a time; above it blocks are recomputed in the backward pass."""


class OpenPlan(NamedTuple):
    """The padded block that the structures fill, and who has the rest of a single one."""

    layout: Layout
    domain: Domain | None


class Padded(NamedTuple):
    """Padded sites and sources.

    Attributes
    ----------
    layout : Layout
        Of the sites.
    sites, sources : Tensor, shape (B, width, 3), (B, W, 3), Å
        The same, unless sources are the atoms of all processes.
    real_sites, real_sources : Tensor, shape (B, width), (B, W)
        Masks of real atoms.
    first : int
        Where the first site stands among the sources.
    """

    layout: Layout
    sites: Tensor
    sources: Tensor
    real_sites: Tensor
    real_sources: Tensor
    first: int


@dataclass(frozen=True)
class Open:
    """Sum of Gaussians of width ``smearing`` (Å) over the pairs of each structure."""

    smearing: float
    contains_self: ClassVar[bool] = False

    def plan(self, geometry: Geometry) -> OpenPlan:
        """Only the padded block that the structures fill."""
        return OpenPlan(make_layout(geometry.batch, geometry.structures), geometry.domain)

    def still_holds(self, plan: OpenPlan, positions: Tensor) -> bool:
        """Say yes: positions have no part in the plan."""
        return True

    def evaluate(self, plan: OpenPlan, positions: Tensor, cell: Tensor | None) -> Interaction:
        """Positions are all that pairs need; ``cell`` is not looked at."""
        layout, domain = plan
        sites, real = (
            pack(layout, positions),
            pack(layout, torch.ones_like(positions[:, 0]).detach()),
        )
        atoms = Padded(layout, sites, sites, real, real, 0)
        if domain is not None:
            everywhere = _all_atoms(domain, positions)[None]
            real = torch.ones_like(everywhere[..., 0]).detach()
            atoms = atoms._replace(sources=everywhere, real_sources=real, first=domain.first)
        return partial(self._interact, atoms, domain)

    def _interact(
        self, atoms: Padded, domain: Domain | None, source: Source, derivatives: int
    ) -> tuple[Tensor, Sites | None]:
        layout = atoms.layout
        wanted = 0 if source.dipole is None else 1
        wanted = 2 if source.quadrupole is not None else wanted
        wanted = max(wanted, derivatives)
        padded = Source(*(None if x is None else pack(layout, x) for x in source))  # type: ignore[arg-type]
        sources = padded
        if domain is not None:
            sources = Source(*(None if x is None else _all_atoms(domain, x)[None] for x in source))  # type: ignore[arg-type]
        rows = max(1, BLOCK_PAIRS // max(1, layout.structures * atoms.sources.shape[1]))
        if rows >= layout.width:
            parts = [self._rows(atoms, sources, 0, layout.width, wanted)]
        else:
            parts = [
                checkpoint(
                    self._rows, atoms, sources, i, min(i + rows, layout.width), wanted,
                    use_reentrant=False, preserve_rng_state=False,
                )
                for i in range(0, layout.width, rows)
            ]  # fmt: skip
        potential, field, hessian = (
            None if entry[0] is None else torch.cat(entry, 1) for entry in zip(*parts, strict=True)
        )
        assert potential is not None
        energy = 0.5 * interaction_energy(padded, Sites(potential, field, hessian)).sum(1)
        energy = total(domain, energy)
        if derivatives < 0:
            return energy, None
        found = [potential, field, hessian][: derivatives + 1]
        return energy, Sites(*(unpack(layout, x) for x in found if x is not None))

    def _rows(
        self, atoms: Padded, source: Source, start: int, stop: int, derivatives: int
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Potential, field, hessian at the atoms start … stop of every structure."""
        d = atoms.sites[:, start:stop, None] - atoms.sources[:, None]
        index = torch.arange(d.shape[2], device=d.device)
        row = torch.arange(start, stop, device=d.device) + atoms.first
        other = (row[:, None] != index).to(d.dtype)
        weight = other * atoms.real_sites[:, start:stop, None] * atoms.real_sources[:, None]
        highest = derivatives + (source.dipole is not None)
        highest = derivatives + 2 if source.quadrupole is not None else highest
        b = smeared_coulomb(d.square().sum(-1), self.smearing, highest) * weight
        q = source.charge[:, None]
        potential = (b[0] * q).sum(-1)
        # coefficients of d in the gradient and of dd in the hessian
        slope = b[1] * q if derivatives >= 1 else None
        curve = b[2] * q if derivatives >= 2 else None
        qd = None
        if source.dipole is not None:
            u_dot = (d * source.dipole[:, None]).sum(-1)
            potential = potential + (u_dot * b[1]).sum(-1)
            slope = None if slope is None else slope + u_dot * b[2]
            curve = None if curve is None else curve + u_dot * b[3]
        if source.quadrupole is not None:
            qd = torch.einsum("bjxy,bijy->bijx", source.quadrupole, d)
            theta = (qd * d).sum(-1)
            potential = potential + 0.5 * (theta * b[2]).sum(-1)
            slope = None if slope is None else slope + 0.5 * theta * b[3]
            curve = None if curve is None else curve + 0.5 * theta * b[4]
        if slope is None:
            return potential, None, None
        field = (slope[..., None] * d).sum(2)
        if source.dipole is not None:
            field = field - b[1] @ source.dipole
        if qd is not None:
            field = field - (b[2][..., None] * qd).sum(2)
        if curve is None:
            return potential, field, None
        hessian = torch.einsum("bij,bijx,bijy->bixy", curve, d, d)
        eye = torch.eye(3, dtype=d.dtype, device=d.device)
        hessian = hessian - slope.sum(-1)[..., None, None] * eye
        mixed = torch.zeros_like(d[:, :, 0, :, None] * eye)
        if source.dipole is not None:
            mixed = mixed - torch.einsum("bij,bijx,bjy->bixy", b[2], d, source.dipole)
        if qd is not None:
            mixed = mixed - torch.einsum("bij,bijx,bijy->bixy", b[3], d, qd)
            hessian = hessian + torch.einsum("bij,bjxy->bixy", b[2], source.quadrupole)
        return potential, field, hessian + mixed + mixed.transpose(-1, -2)


def _all_atoms(domain: Domain, rows: Tensor) -> Tensor:
    """Rows of the atoms of all processes, for sites of this one."""
    return shared(domain, everyone(domain, rows))
