"""System: atoms of one or many structures as plain tensors. The only place that reads ASE atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.frames import Frames
from lrcalc.structures import total_charge

if TYPE_CHECKING:
    from ase import Atoms


class System(NamedTuple):
    """N atoms in S structures.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
        Cartesian, not wrapped: a trajectory keeps its branch of the dipole.
    cell : Tensor, shape (S, 3, 3), Å
        Rows are the lattice vectors; zero rows where a direction is open.
    numbers : Tensor, shape (N,), int64
        Atomic numbers.
    pbc : Tensor, shape (S, 3), bool
        Periodic directions.
    batch : Tensor, shape (N,), int64
        Structure of each atom, ascending from 0.
    total_charge : Tensor, shape (S,), e
        Net charge of each structure.
    owned : Tensor, shape (N,), bool, or None
        Atoms whose energy counts; the others are ghosts, neighbours that another domain owns.
        None: all count.
    """

    positions: Tensor
    cell: Tensor
    numbers: Tensor
    pbc: Tensor
    batch: Tensor
    total_charge: Tensor
    owned: Tensor | None = None

    @property
    def n_structures(self) -> int:
        """Number of structures S."""
        return int(self.cell.shape[0])

    def to(self, device: str | torch.device, dtype: torch.dtype) -> System:
        """Return the system on ``device`` with floating-point entries of ``dtype``."""
        return System(
            self.positions.to(device, dtype),
            self.cell.to(device, dtype),
            self.numbers.to(device),
            self.pbc.to(device),
            self.batch.to(device),
            self.total_charge.to(device, dtype),
            None if self.owned is None else self.owned.to(device),
        )


def volumes(cell: Tensor) -> Tensor:
    """Volume of each cell, shape (S,), Å³ (zero for an open structure without cell)."""
    return torch.linalg.det(cell).abs()


def sum_by_structure(values: Tensor, batch: Tensor, n_structures: int) -> Tensor:
    """Sum per-atom ``values`` (N, ...) over each structure: (S, ...)."""
    out = values.new_zeros((n_structures, *values.shape[1:]))
    return out.index_add(0, batch, values)


def from_ase(
    atoms: Atoms | Sequence[Atoms], *, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> System:
    """Build a `System` from one ASE structure or several.

    Parameters
    ----------
    atoms : Atoms or sequence of Atoms
        Å; ``atoms.info["charge"]`` (e), if present, is the total charge.
    dtype : torch.dtype, optional
        Of the floating-point entries.
    device : str, optional
        Torch device.

    Returns
    -------
    System

    Raises
    ------
    ValueError
        For an empty list or structure, NaN positions or cell, or a periodic cell without volume.
    """
    structures: list[Atoms] = list(atoms) if isinstance(atoms, list | tuple) else [atoms]
    if not structures:
        raise ValueError("`atoms` is an empty list; give at least one structure")
    for index, structure in enumerate(structures):
        validate_atoms(structure, name=f"structure {index}" if len(structures) > 1 else "atoms")
    counts = torch.tensor([len(a) for a in structures])
    return System(
        positions=torch.as_tensor(
            np.concatenate([a.positions for a in structures]), dtype=dtype, device=device
        ),
        cell=torch.as_tensor(
            np.stack([np.asarray(a.cell) for a in structures]), dtype=dtype, device=device
        ),
        numbers=torch.as_tensor(
            np.concatenate([a.numbers for a in structures]), dtype=torch.int64, device=device
        ),
        pbc=torch.as_tensor(np.stack([a.pbc for a in structures]), device=device),
        batch=torch.repeat_interleave(torch.arange(len(structures)), counts).to(device),
        total_charge=torch.tensor(
            [total_charge(a) for a in structures], dtype=dtype, device=device
        ),
    )


def from_frames(frames: Frames, *, device: str = "cpu") -> System:
    """Build a `System`, float64, from structures of the same atoms; as `from_ase`.

    Raises
    ------
    ValueError
        As `from_ase`.
    """
    count, size = frames.positions.shape[:2]
    for index, (positions, cell) in enumerate(zip(frames.positions, frames.cells, strict=True)):
        validate(positions, cell, frames.numbers, frames.pbc, f"structure {index}")
    return System(
        positions=torch.as_tensor(frames.positions.reshape(-1, 3), device=device),
        cell=torch.as_tensor(frames.cells, device=device),
        numbers=torch.as_tensor(np.tile(frames.numbers, count), dtype=torch.int64, device=device),
        pbc=torch.as_tensor(np.tile(frames.pbc, (count, 1)), device=device),
        batch=torch.arange(count, device=device).repeat_interleave(size),
        total_charge=torch.full((count,), frames.charge, dtype=torch.float64, device=device),
    )


def validate_atoms(atoms: Atoms, name: str = "atoms") -> None:
    """Refuse a structure that no potential can handle: see `validate`."""
    validate(atoms.positions, np.asarray(atoms.cell), atoms.numbers, atoms.pbc, name)


def validate(
    positions: np.ndarray, cell: np.ndarray, numbers: np.ndarray, pbc: np.ndarray, name: str
) -> None:
    """Refuse a structure that no potential can handle, naming what is wrong.

    Raises
    ------
    ValueError
        For no atoms, NaN or infinite positions or cell, dummy atoms (atomic number 0), or a
        periodic direction whose lattice vector is missing or lies in the plane of the others.
    """
    if len(numbers) == 0:
        raise ValueError(f"`{name}` has no atoms")
    bad = ~np.isfinite(positions).all(axis=1)
    if bad.any():
        raise ValueError(
            f"`{name}` has NaN or infinite positions (first: atom {int(np.argmax(bad))}); "
            "the run that made them diverged, go back to an earlier frame"
        )
    if not np.isfinite(cell).all():
        raise ValueError(f"`{name}` has a NaN or infinite cell: {cell.tolist()}")
    if (numbers < 1).any():
        raise ValueError(f"`{name}` has atoms of atomic number 0 (X); replace or remove them")
    lengths = np.linalg.norm(cell[pbc], axis=1)
    if pbc.any() and periodic_volume(cell, pbc) <= max(1e-3, 1e-6 * lengths.prod()):
        raise ValueError(
            f"`{name}` is periodic along {pbc.tolist()} but its cell {cell.tolist()} "
            "spans no volume; set a cell or pbc=False"
        )


def periodic_volume(cell: np.ndarray, pbc: np.ndarray) -> float:
    """Length, area or volume (Å, Å², Å³) that the periodic lattice vectors span."""
    vectors = cell[np.asarray(pbc, dtype=bool)]
    return float(np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0)))
