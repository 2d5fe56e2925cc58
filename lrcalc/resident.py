"""Resident: structures that stay on a device, evaluated again and again where they are.

Tensors in, tensors out; for engines that move atoms on the device themselves. What structures and
model can have is checked when it is first asked for, not in every step (`lrcalc.door`). Each
structure gets the numbers that it would get alone (`lrcalc.electrostatics.alone`), which are those
of `lrcalc.LRCalculator`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.captured.kept_pairs import KeptPairs
from lrcalc.compiled import one_torch_thread
from lrcalc.door import Door
from lrcalc.fields import Field
from lrcalc.frames import Frames
from lrcalc.models.potential import Potential
from lrcalc.neighbors import SKIN, NeighborList, Pairs
from lrcalc.prediction import Options, call_model, is_lean
from lrcalc.properties import as_names
from lrcalc.system import System


class Kind(NamedTuple):
    """What of structures stays as it is, on the host.

    Attributes
    ----------
    numbers : ndarray, shape (N,), int64
        Atomic numbers, structure after structure.
    pbc : ndarray, shape (S, 3), bool
        Periodic directions.
    sizes : ndarray, shape (S,), int64
        Atoms of each structure.
    charges : ndarray, shape (S,), e
        Total charges.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    sizes: np.ndarray
    charges: np.ndarray

    @property
    def ends(self) -> np.ndarray:
        """Where the atoms of each structure end, (S,)."""
        return np.cumsum(self.sizes)

    def same(self, other: Kind) -> bool:
        """Whether they are equal."""
        return all(np.array_equal(a, b) for a, b in zip(self, other, strict=True))

    def frames(self, positions: np.ndarray, cells: np.ndarray) -> list[Frames]:
        """Structures at positions (N, 3) in cells (S, 3, 3), Å."""
        return [
            Frames(
                self.numbers[end - size : end], self.pbc[k], float(self.charges[k]),
                cells[k][None], positions[end - size : end][None],
            )
            for k, (end, size) in enumerate(zip(self.ends, self.sizes, strict=True))
        ]  # fmt: skip


class Resident:
    """Evaluates the same structures wherever their atoms go.

    Parameters
    ----------
    potential : Potential
        On the device where positions will be.
    kind : Kind
    screening : float
        s (`lrcalc.models.screening`).
    asr_projection, allow_net_charge, compile
        As for `lrcalc.Evaluator`.

    Attributes
    ----------
    charge_forces : Tensor or None, shape (N, 3), eV/Å
        Of the last call that asked for forces: those of a field on atomic charges in periodic
        cells, which are among the forces but have no energy (physics §4). None where all have.
    """

    def __init__(
        self,
        potential: Potential,
        kind: Kind,
        *,
        screening: float,
        asr_projection: bool = True,
        allow_net_charge: bool = False,
        compile: bool = False,
    ) -> None:
        self.potential, self.kind = potential, kind
        self.screening, self.asr_projection = screening, asr_projection
        self.allow_net_charge, self.compile = allow_net_charge, compile
        self.charge_forces: Tensor | None = None
        device = next(potential.parameters()).device
        batch = np.repeat(np.arange(len(kind.sizes)), kind.sizes)
        self._fixed = [
            torch.as_tensor(x, device=device) for x in (kind.numbers, kind.pbc, batch, kind.charges)
        ]
        self._door = Door()
        self._passed: set[tuple[frozenset[str], str | None]] = set()
        self._on_host = device.type == "cpu"
        self._list = NeighborList(potential.cutoff, SKIN)
        self._kept = KeptPairs(potential.cutoff, kind.pbc, SKIN)
        # slabs are planned by how thick they are now, which only the device knows
        slabs = bool((kind.pbc.sum(1) == 2).any())
        self._planned_here = not (self._on_host or slabs)
        self._cells: tuple[Tensor, int, np.ndarray] | None = None
        self._held: tuple[Field, Tensor] | None = None

    def __call__(
        self,
        positions: Tensor,
        cell: Tensor,
        properties: Iterable[str],
        field: Field | None = None,
        velocities: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute properties of all structures, where they are.

        Parameters
        ----------
        positions : Tensor, shape (N, 3), Å
            float64.
        cell : Tensor, shape (S, 3, 3), Å
            Rows are the lattice vectors. The same tensor as in the last call, not written to, is
            not read again by the host.
        properties : iterable of str
            Among `lrcalc.properties.PROPERTIES`.
        field : Field or None
            What is held, constant.
        velocities : Tensor, shape (N, 3), Å/fs, optional
            For the current.

        Returns
        -------
        dict of str to Tensor
            (N, *shape) or (S, *shape), float64, detached. Not looked at: whoever shows them to
            somebody looks for NaN.

        Raises
        ------
        ValueError
            For what the model or a structure cannot have, overlapping atoms, or positions that are
            not finite.
        """
        names = as_names(properties)
        cells = self._on_the_host(cell)
        self._check(names, field, positions, cells)
        numbers, pbc, batch, charges = self._fixed
        system = System(positions.detach(), cell.detach(), numbers, pbc, batch, charges, alone=True)
        if self._planned_here:
            system = system._replace(host=self._stand_in(cells))
        options = Options(
            self.screening, self.asr_projection, velocities, held=self._on_device(field),
            compile=self.compile,
        )  # fmt: skip
        pairs = self._pairs(system, cells)
        with one_torch_thread(is_lean(self.potential, names, self.compile)):
            prediction = call_model(self.potential, system, pairs, field, names, options)
            values = prediction.results(names)
        self.charge_forces = None
        if names & {"forces", "stress"}:
            self.charge_forces = prediction.charge_forces
        return values

    def _pairs(self, system: System, cells: np.ndarray) -> Pairs:
        return self._list(system) if self._on_host else self._kept(system, cells)

    def _check(
        self, names: set[str], field: Field | None, positions: Tensor, cells: np.ndarray
    ) -> None:
        """Refuse what cannot be had, the first time that it is asked for."""
        key = (frozenset(names), None if field is None else field.kind)
        if key in self._passed:
            return
        frames = self.kind.frames(positions.detach().cpu().double().numpy(), cells)
        self._door.check(
            self.potential, frames, names, field, allow_net_charge=self.allow_net_charge
        )
        self._passed.add(key)

    def _on_the_host(self, cell: Tensor) -> np.ndarray:
        """Cells in the host's memory, read again only if they may have changed."""
        known = self._cells
        if known is None or known[0] is not cell or known[1] != cell._version:
            cells = cell.detach().cpu().double().numpy().copy()
            self._cells = known = (cell, cell._version, cells)
        return known[2]

    def _on_device(self, field: Field | None) -> Tensor | None:
        """Value of the field (3,) on the device, sent when it changes."""
        if field is None:
            return None
        if self._held is None or self._held[0] != field:
            value = torch.tensor(field.value, dtype=torch.float64, device=self._fixed[0].device)
            self._held = (field, value)
        return self._held[1]

    def _stand_in(self, cells: np.ndarray) -> System:
        """Put the structures in the host's memory, for plans, which only count positions."""
        kind = self.kind
        batch = np.repeat(np.arange(len(kind.sizes)), kind.sizes)
        positions = torch.zeros((len(kind.numbers), 3), dtype=torch.float64)
        parts = (cells, kind.numbers, kind.pbc, batch, kind.charges)
        cell, numbers, pbc, of, charges = (torch.as_tensor(x) for x in parts)
        return System(positions, cell, numbers, pbc, of, charges)
