"""Direct reciprocal-space sum: the reference, batched over periodic structures.

``S(k) = Σ_i (q_i + i k·u_i - ½ k·Q_i·k) exp(i k·r_i)``, ``E = (1/2V) Σ_k v̂(k)|S(k)|²``
(Kim et al., arXiv:2605.05746). With fractional coordinates the phase factorises,
``exp(i k·r) = e₁(n₁) e₂(n₂) e₃(n₃)``, so that S over half of reciprocal space is one matrix
product of a table over (n₁, n₂) with a table over n₃ into which the multipoles are folded.
The cost is O(N N_k), but spent in a matrix product and not in sines and cosines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import pi
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lrcalc.domain import Domain, shared, total
from lrcalc.electrostatics.compiled_direct import (
    WaveGrid,
    filled_up,
    interaction,
    wave_grid,
)
from lrcalc.electrostatics.folding import Phases, fold, unfold
from lrcalc.electrostatics.kernels import Sites, Source, reciprocal_weight
from lrcalc.electrostatics.layout import Layout, make_layout, pack
from lrcalc.electrostatics.sums import Geometry, Interaction
from lrcalc.system import inverses, volumes
from lrcalc.units import EPSILON_0

BLOCK_BYTES = 2 * 1024**3
"""Memory of the waves above which they are made block by block and not kept."""

PIECE_BYTES = 128 * 1024**2
"""Memory of the waves that a CPU works on at a time. No single array exceeds an eighth of it, which
allocators reuse; above 32 MB (see `lrcalc.memory`) the system clears the pages every time, which
took more than the sum itself."""

ATOM_NUMBERS, WAVE_NUMBERS, CHANNEL_NUMBERS = 16, 10, 6
"""Numbers held at a time for each pair (n₁, n₂) and atom, each wave, and each wave and channel."""


class DirectPlan(NamedTuple):
    """What of the k-sum depends on the cells and sizes alone.

    Attributes
    ----------
    layout : Layout
    first, second : Tensor, shape (P,)
        The pairs (n₁, n₂).
    limits : tuple of int
        Largest |n₁|, |n₂| and n₃.
    height : float or None
        Of a slab's cell (see `slab`).
    pairs : int
        Pairs (n₁, n₂) of a block of waves.
    kept : bool
        All waves are kept; otherwise blocks are made when they are needed.
    weights : tuple of Tensor
        Of each block, ``v̂(k)/V`` as in `Waves`; empty where they are made anew, as they are if
        the cells want a gradient.
    domain : Domain or None
        Processes whose structure factors are added.
    grid : WaveGrid or None
        The waves as compiled functions want them, where there are some; ``weights`` is then one
        tensor, of `compiled_direct.filled_up`.
    """

    layout: Layout
    first: Tensor
    second: Tensor
    limits: tuple[int, int, int]
    height: float | None
    pairs: int
    kept: bool
    weights: tuple[Tensor, ...] = ()
    domain: Domain | None = None
    grid: WaveGrid | None = None


class Waves(NamedTuple):
    """A block of waves: P pairs (n₁, n₂) with all n₃.

    Attributes
    ----------
    plane : Tensor, shape (B, 2 width, P)
        Cosines, then sines of the phases over the pairs.
    weight : Tensor, shape (B, P, T)
        v̂(k)/V, twice for n₃ > 0, eV e⁻².
    powers : Tensor, shape (6, P)
        1, n₁, n₂, n₁², n₁n₂, n₂².
    """

    plane: Tensor
    weight: Tensor
    powers: Tensor


class Bound(NamedTuple):
    """The k-sum at given positions, for any multipoles.

    Attributes
    ----------
    plan : DirectPlan
    cell : Tensor, shape (B, 3, 3), Å
    inverse : Tensor, shape (B, 3, 3), Å⁻¹
        2π times the inverse cell.
    phases : Phases
    tables : tuple of Tensor, shape (M, B, width)
        Complex phases over n₁ and over n₂, from the most negative index: first, so that whole
        rows are picked.
    waves : tuple of Waves
        All of them, if they are kept.
    """

    plan: DirectPlan
    cell: Tensor
    inverse: Tensor
    phases: Phases
    tables: tuple[Tensor, Tensor]
    waves: tuple[Waves, ...] = ()


@dataclass(frozen=True)
class Direct:
    """Sum over waves up to ``k_cutoff`` (Å⁻¹) of Gaussians of width ``smearing`` (Å)."""

    smearing: float
    k_cutoff: float
    contains_self: ClassVar[bool] = True

    def plan(self, geometry: Geometry, height: float | None = None) -> DirectPlan:
        """Waves within the cutoff, their blocks and, if no gradient by the cell is wanted, weights.

        ``height`` is the length of the third cell vector of slabs, which is normal to the other
        two.
        """
        cell = geometry.cells.detach()
        layout = make_layout(geometry.batch, geometry.structures)
        first, second, limits = _index_box(cell, self.k_cutoff)
        top = max(geometry.multipole, geometry.derivatives)
        # in a domain every process must make the same blocks
        width = layout.width if geometry.domain is None else geometry.atoms
        each = direct_bytes(layout.structures, width, 1, limits[2] + 1, top, cell.dtype)
        kept = len(first) * each <= BLOCK_BYTES
        block = PIECE_BYTES if kept and geometry.place.type == "cpu" else BLOCK_BYTES
        plan = DirectPlan(
            layout, first, second, limits, height, max(1, block // each), kept,
            domain=geometry.domain,
        )  # fmt: skip
        if not kept:
            return plan
        if geometry.compiled:
            plan = plan._replace(
                grid=wave_grid(geometry.batch, first, second, limits, layout.structures, cell.dtype)
            )
        if geometry.cells.requires_grad:
            return plan
        inverse = 2.0 * pi * inverses(cell)
        if plan.grid is not None:
            return plan._replace(weights=(self._filled_up(plan, plan.grid, cell, inverse),))
        weights = tuple(self._weight(plan, cell, inverse, *ends) for ends in _blocks(plan))
        return plan._replace(weights=weights)

    def still_holds(self, plan: DirectPlan, positions: Tensor) -> bool:
        """Say yes: positions have no part in the plan."""
        return True

    def evaluate(self, plan: DirectPlan, positions: Tensor, cell: Tensor | None) -> Interaction:
        """Phases of the atoms, and the waves if they are kept."""
        assert cell is not None
        inverse = inverses(cell)
        if plan.grid is not None:
            if plan.weights and not cell.requires_grad:
                weight = plan.weights[0]
            else:
                weight = self._filled_up(plan, plan.grid, cell, 2.0 * pi * inverse)
            return interaction(plan.grid, weight, positions, inverse, plan.domain)
        own = shared(plan.domain, inverse)
        fractional = pack(plan.layout, positions) @ own
        # the sum is periodic: wrapping keeps phases small, which single precision needs
        fractional = fractional - fractional.detach().floor()
        m1, m2, m3 = plan.limits
        tables = _table(fractional[..., 0], m1), _table(fractional[..., 1], m2)
        third = torch.arange(m3 + 1, device=cell.device)
        angle = 2.0 * pi * fractional[..., 2:] * third.to(cell.dtype)
        phases = Phases(plan.layout, 2.0 * pi * own, angle.cos(), angle.sin())
        bound = Bound(plan, cell, 2.0 * pi * inverse, phases, tables)
        if plan.kept:
            count = range(len(_blocks(plan)))
            bound = bound._replace(waves=tuple(self._waves(bound, block) for block in count))
        return partial(self._interact, bound)

    def _interact(
        self, bound: Bound, source: Source, derivatives: int
    ) -> tuple[Tensor, Sites | None]:
        table = fold(bound.phases, source)
        if bound.plan.kept:
            parts = [_sum(waves, table, derivatives, bound.plan.domain) for waves in bound.waves]
        else:
            # recomputed in the backward pass, so that no block stays in memory
            parts = [
                checkpoint(
                    self._sum_block, bound, table, derivatives, block,
                    use_reentrant=False, preserve_rng_state=False,
                )
                for block in range(len(_blocks(bound.plan)))
            ]  # fmt: skip
        energy, product = parts[0]
        for part, more in parts[1:]:
            energy = energy + part
            product = None if product is None or more is None else product + more
        return energy, None if product is None else unfold(bound.phases, product, derivatives)

    def _sum_block(
        self, bound: Bound, table: Tensor, derivatives: int, block: int
    ) -> tuple[Tensor, Tensor | None]:
        return _sum(self._waves(bound, block), table, derivatives, bound.plan.domain)

    def _waves(self, bound: Bound, block: int) -> Waves:
        """Phases and weights of a block of pairs."""
        plan = bound.plan
        start, stop = _blocks(plan)[block]
        first, second = plan.first[start:stop], plan.second[start:stop]
        if plan.weights and not bound.cell.requires_grad:
            weight = plan.weights[block]
        else:
            weight = self._weight(plan, bound.cell, bound.inverse, start, stop)
        # complex numbers pass half as often through memory as their parts, which the matrix
        # products want
        one, two = plan.limits[:2]
        left, right = bound.tables
        phases = left.index_select(0, first + one) * right.index_select(0, second + two)
        plane = torch.cat([phases.real, phases.imag], -1).permute(1, 2, 0)
        n1, n2 = first.to(weight.dtype), second.to(weight.dtype)
        powers = torch.stack([torch.ones_like(n1), n1, n2, n1 * n1, n1 * n2, n2 * n2])
        return Waves(plane, weight, powers)

    def _filled_up(self, plan: DirectPlan, grid: WaveGrid, cell: Tensor, inverse: Tensor) -> Tensor:
        """All weights, for compiled functions."""
        return filled_up(self._weight(plan, cell, inverse, 0, len(plan.first)), grid)

    def _weight(
        self, plan: DirectPlan, cell: Tensor, inverse: Tensor, start: int, stop: int
    ) -> Tensor:
        """Weights (B, P, T) of the pairs start … stop; ``inverse`` contains 2π."""
        third = torch.arange(plan.limits[2] + 1, device=cell.device)
        volume = volumes(cell)
        pair_grid = torch.stack([plan.first[start:stop], plan.second[start:stop]], -1)
        rows = inverse.transpose(1, 2)
        in_plane = pair_grid.to(cell.dtype) @ rows[:, :2]
        out_of_plane = third.to(cell.dtype)[:, None] * rows[:, None, 2]
        k2 = (
            in_plane.square().sum(-1)[:, :, None]
            + out_of_plane.square().sum(-1)[:, None, :]
            + 2.0 * in_plane @ out_of_plane.transpose(1, 2)
        )
        double = torch.where(third > 0, 2.0, 1.0).to(cell.dtype)
        weight = reciprocal_weight(k2, self.smearing, self.k_cutoff)
        if plan.height is not None:
            weight = truncate_weight(weight, in_plane.square().sum(-1), third, plan.height)
        return weight * double / volume[:, None, None]


def direct_bytes(
    structures: int, width: int, pairs: int, third: int, top: int, dtype: torch.dtype
) -> int:
    """Estimate the memory (bytes) of energy and forces by ``pairs`` times ``third`` waves.

    ``top`` is the larger of the highest multipole order and the highest derivative wanted.
    """
    channels = (1, 3, 6)[top]
    numbers = pairs * (ATOM_NUMBERS * width + (WAVE_NUMBERS + CHANNEL_NUMBERS * channels) * third)
    return structures * numbers * dtype.itemsize


def _blocks(plan: DirectPlan) -> list[tuple[int, int]]:
    """First and last pair (exclusive) of each block."""
    count = len(plan.first)
    return [(i, min(i + plan.pairs, count)) for i in range(0, count, plan.pairs)]


def _sum(
    waves: Waves, table: Tensor, derivatives: int, domain: Domain | None
) -> tuple[Tensor, Tensor | None]:
    """Contribution of a block of waves to the energies (B,) and to the argument of `unfold`."""
    real, imaginary = total(domain, _structure_factor(waves, table)).unbind(2)
    weighted_real, weighted_imaginary = waves.weight * real, waves.weight * imaginary
    energy = 0.5 * (weighted_real * real + weighted_imaginary * imaginary).sum((1, 2))
    if derivatives < 0:
        return energy, None
    powers = waves.powers[: (1, 3, 6)[derivatives]].T[:, None, :, None]
    field = shared(domain, torch.stack([weighted_real, weighted_imaginary], 2))[:, :, :, None]
    return energy, waves.plane @ (field * powers).flatten(2)


def _structure_factor(waves: Waves, table: Tensor) -> Tensor:
    """Real and imaginary part of S, shape (B, P, 2, T)."""
    third = waves.weight.shape[-1]
    product = (waves.plane.transpose(1, 2) @ table).unflatten(-1, (2, -1, third))
    channels = product.shape[3]
    if channels == 1:
        return product[:, :, :, 0]
    powers = waves.powers[:channels].T[:, None, :, None]
    return (product * powers).sum(3)


def _index_box(cell: Tensor, k_cutoff: float) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Integer triples that can lie within the cutoff: pairs (n₁, n₂), largest |n₁|, |n₂|, n₃."""
    # |n_j| = |k·a_j|/2π ≤ k_c |a_j|/2π
    limits = (k_cutoff * cell.norm(dim=-1).amax(0) / (2.0 * pi) * (1.0 + 1e-6)).floor()
    m1, m2, m3 = (int(x) for x in limits.tolist())
    device = cell.device
    first = torch.arange(-m1, m1 + 1, device=device).repeat_interleave(2 * m2 + 1)
    second = torch.arange(-m2, m2 + 1, device=device).repeat(2 * m1 + 1)
    # the component of k perpendicular to b₃ bounds |k| from below whatever n₃ is
    rows = 2.0 * pi * inverses(cell).transpose(1, 2)
    axis = rows[:, 2] / rows[:, 2].norm(dim=-1, keepdim=True)
    in_plane = torch.stack([first, second], -1).to(cell.dtype) @ rows[:, :2]
    along = (in_plane @ axis[:, :, None]).squeeze(-1)
    lowest = in_plane.square().sum(-1) - along.square()
    keep = (lowest <= k_cutoff**2 * (1.0 + 1e-5)).any(0)
    return first[keep], second[keep], (m1, m2, m3)


def _table(coordinate: Tensor, limit: int) -> Tensor:
    """Calculate exp(2πi n s) for each n from -limit to limit."""
    grid = torch.arange(-limit, limit + 1, device=coordinate.device).to(coordinate.dtype)
    angle = 2.0 * pi * grid[:, None, None] * coordinate
    return torch.complex(angle.cos(), angle.sin())


def truncate_weight(weight: Tensor, in_plane: Tensor, third: Tensor, height: float) -> Tensor:
    """Weights v̂(k) of the interaction cut at half the height, for slabs (see `slab`).

    Parameters
    ----------
    weight : Tensor, shape (B, P, T)
    in_plane : Tensor, shape (B, P), Å⁻²
        Squared wave number G² within the slab.
    third : Tensor, shape (T,)
        Index n along the normal.
    """
    flat = in_plane == 0
    g = torch.where(flat, torch.ones_like(in_plane), in_plane).sqrt()
    decay = torch.where(flat, torch.ones_like(g), torch.exp(-0.5 * height * g))
    sign = 1.0 - 2.0 * third.remainder(2).to(weight.dtype)
    origin = flat[:, :, None] & (third == 0)
    constant = -(height**2) / (8.0 * EPSILON_0)
    return torch.where(origin, constant, weight * (1.0 - decay[:, :, None] * sign))
