"""States of torch-sim, 0.3 to 0.6, as what `lrcalc.resident` evaluates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.resident import Kind

CHARGES = ("total_charge", "charge")
"""Names under which a state may hold total charges, e (torch-sim 0.6: its system extras)."""


class Read(NamedTuple):
    """What a state says that an evaluation reads, as it is.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor, shape (S, 3, 3), Å
        Columns are the lattice vectors.
    numbers : Tensor, shape (N,)
    batch : Tensor, shape (N,)
        Structure of each atom.
    pbc : bool, or Tensor of shape (3,) or (S, 3)
    charge : Tensor or None, shape (S,), e
    """

    positions: Tensor
    cell: Tensor
    numbers: Tensor
    batch: Tensor
    pbc: Any
    charge: Tensor | None


def read(state: Any) -> Read:
    """Read a state, or a dictionary of its attributes."""

    def get(name: str, other: Any = None) -> Any:
        return state.get(name, other) if isinstance(state, dict) else getattr(state, name, other)

    positions = get("positions")
    batch = get("system_idx")
    if batch is None:
        batch = torch.zeros(len(positions), dtype=torch.int64, device=positions.device)
    charge = next((x for x in map(get, CHARGES) if x is not None), None)
    cell = get("cell")
    cell = cell if cell.ndim == 3 else cell[None]
    return Read(positions, cell, get("atomic_numbers"), batch, get("pbc"), charge)


class Kinds:
    """The kind of structures that states hold; read from the device when it may have changed.

    Integrators hand over the tensors of species and structures that they got: while these are the
    same, and not written to, nothing is read.

    Parameters
    ----------
    total_charge : float
        e, of each structure, where states hold no charge.
    """

    def __init__(self, total_charge: float = 0.0) -> None:
        self.total_charge = total_charge
        self._seen: tuple[Any, ...] = ()
        self._kind: Kind | None = None

    def of(self, given: Read) -> Kind:
        """Kind of the structures; the same object as in the last call, if they are the same.

        Raises
        ------
        ValueError
            For atoms that are not in the order of their structures.
        """
        tensors = (given.numbers, given.batch, given.pbc, given.charge)
        now = tuple((x, x._version) if isinstance(x, Tensor) else (x, 0) for x in tensors)
        if (
            self._kind is not None
            and _identical(self._seen, now)
            and len(given.cell) == len(self._kind.sizes)
        ):
            return self._kind
        kind = self._read(given)
        if self._kind is None or not kind.same(self._kind):
            self._kind = kind
        self._seen = now
        return self._kind

    def _read(self, given: Read) -> Kind:
        batch = given.batch.cpu().numpy()
        structures = len(given.cell)
        if len(batch) and ((np.diff(batch) < 0).any() or batch[0] < 0 or batch[-1] >= structures):
            raise ValueError(
                "`system_idx` of the state must ascend from 0 to the number of cells, but is "
                f"{batch.tolist()[:12]} … with {structures} cells"
            )
        pbc = given.pbc.cpu().numpy() if isinstance(given.pbc, Tensor) else np.asarray(given.pbc)
        charges = np.full(structures, self.total_charge, dtype=float)
        if given.charge is not None:
            charges = given.charge.detach().cpu().double().numpy().reshape(structures)
        return Kind(
            given.numbers.cpu().numpy().astype(np.int64),
            np.broadcast_to(pbc.astype(bool), (structures, 3)).copy(),
            np.bincount(batch, minlength=structures).astype(np.int64),
            charges,
        )


def _identical(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether they are the same objects at the same versions; plain values by value."""
    if len(before) != len(now):
        return False
    for (old, version), (new, its) in zip(before, now, strict=True):
        tensors = isinstance(old, Tensor) or isinstance(new, Tensor)
        if version != its or (old is not new if tensors else old != new):
            return False
    return True
