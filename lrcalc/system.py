"""System: atoms of one or many structures as plain tensors. The only place that reads ASE atoms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.domain import Domain, shared, total
from lrcalc.frames import Frames

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
    host : System or None
        The same structures in the host's memory. Whoever needs values (how many atoms of a
        species, how large the cells are) finds them there and does not wait for a GPU. To be
        dropped by whoever changes the structures.
    field : Tensor, shape (S, 3), V/Å, or None
        Uniform field around each structure, for models with an energy of their own in one
        (`lrcalc.models.own_field`). Others do not look at it.
    domain : Domain or None
        Where several processes hold one structure: who owns the rest of it. Owned atoms come
        first then, and cell, charge and field are the same on all processes (`lrcalc.domain`).
    centres : int or None
        Pairs start from the first so many atoms only, and features of the others are not wanted:
        a backbone of one round may return these rows alone. None: all.
    block : int or None
        Describe so many centres at a time; None: all at once.
    once : bool
        Nobody will differentiate twice, or by weights: kernels that cannot may be used
        (`lrcalc.kernels`).
    compiled : bool
        Where ``once`` holds, what is compiled on this machine may be used (`lrcalc.compiler`).
    alone : bool
        Each structure's electrostatics is summed as it would be by itself, whatever the others of
        the batch are (`lrcalc.electrostatics.alone`).
    """

    positions: Tensor
    cell: Tensor
    numbers: Tensor
    pbc: Tensor
    batch: Tensor
    total_charge: Tensor
    owned: Tensor | None = None
    host: System | None = None
    field: Tensor | None = None
    domain: Domain | None = None
    centres: int | None = None
    block: int | None = None
    once: bool = False
    compiled: bool = False
    alone: bool = False

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
            self.host,
            None if self.field is None else self.field.to(device, dtype),
            self.domain,
            self.centres,
            self.block,
            self.once,
            self.compiled,
            self.alone,
        )


def volumes(cell: Tensor) -> Tensor:
    """Volume of each cell, shape (S,), Å³ (zero for an open structure without cell)."""
    # the triple product: a determinant by elimination makes the host wait for a device
    a, b, c = cell.unbind(1)
    return (a * torch.linalg.cross(b, c)).sum(1).abs()


def inverses(matrices: Tensor) -> Tensor:
    """Inverse of each of the matrices (S, 3, 3), infinite or NaN where there is none.

    By cofactors: elimination makes the host wait for a device, or cannot be part of a CUDA graph.
    """
    a, b, c = matrices.unbind(1)
    bc = torch.linalg.cross(b, c)
    columns = torch.stack([bc, torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2)
    return columns / (a * bc).sum(1)[:, None, None]


def structure_sums(system: System, values: Tensor, batch: Tensor | None = None) -> Tensor:
    """Sum ``values`` (M, ...) of atoms, or of rows in ``batch`` (M,), over structures: (S, ...).

    Over all processes, where several hold a structure.
    """
    rows = system.batch if batch is None else batch
    return total(system.domain, sum_by_structure(values, rows, system.n_structures))


def readable_pbc(system: System) -> Tensor:
    """Periodic directions (S, 3), where they can be looked at without waiting for a device."""
    return system.pbc if system.host is None else system.host.pbc


def own_cell(system: System) -> Tensor:
    """Cell (S, 3, 3) as it enters what is computed for each atom."""
    return shared(system.domain, system.cell)


def sum_by_structure(
    values: Tensor, batch: Tensor, n_structures: int, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Sum per-atom ``values`` (N, ...) over each structure: (S, ...), in ``dtype`` or their own."""
    if n_structures == 1:  # added one by one to the same place, a GPU would take them in turns
        return values.sum(0, keepdim=True, dtype=dtype)
    values = values.to(dtype or values.dtype)
    out = values.new_zeros((n_structures, *values.shape[1:]))
    return out.index_add(0, batch, values)


def sum_of_pairs(
    values: Tensor, i: Tensor, rows: Tensor | None, batch: Tensor, n_structures: int
) -> Tensor:
    """Sum ``values`` (M, ...) of pairs over each structure: (S, ...), float64.

    ``i`` are the centres of all pairs, ``rows`` (M,) says which of them these are, if not all.
    """
    if n_structures == 1:
        return values.sum(0, keepdim=True, dtype=torch.float64)
    # by atoms first: a GPU takes in turns what is added to the same place
    atoms = values.new_zeros((len(batch), *values.shape[1:]), dtype=torch.float64)
    atoms = atoms.index_add(0, i if rows is None else i[rows], values.double())
    return sum_by_structure(atoms, batch, n_structures)


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
    frames = [as_frames(a) for a in structures]
    check_frames(frames)
    return from_frames(frames, dtype=dtype, device=device)


def as_frames(atoms: Atoms, name: str = "atoms") -> Frames:
    """Arrays of one structure, its own; ``name`` is for errors of its total charge."""
    from lrcalc.structures import total_charge  # wants ase, which the sums do without

    charge = total_charge(atoms, name)
    cell, positions = np.asarray(atoms.cell)[None], atoms.positions[None]
    return Frames(atoms.numbers, atoms.pbc, charge, cell, positions)


def from_frames(
    frames: Sequence[Frames], *, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> System:
    """Build a `System` of all structures of ``frames``, copied; nothing is checked."""
    counts = [len(part.cells) for part in frames]
    sizes = np.repeat([len(part.numbers) for part in frames], counts)

    def joined(pieces: Iterable[np.ndarray], kind: torch.dtype) -> Tensor:
        return torch.as_tensor(np.concatenate(list(pieces)), dtype=kind, device=device)

    return System(
        positions=joined((part.positions.reshape(-1, 3) for part in frames), dtype),
        cell=joined((part.cells for part in frames), dtype),
        numbers=joined((np.tile(part.numbers, len(part.cells)) for part in frames), torch.int64),
        pbc=joined((np.tile(part.pbc, (len(part.cells), 1)) for part in frames), torch.bool),
        batch=torch.as_tensor(np.repeat(np.arange(len(sizes)), sizes), device=device),
        total_charge=torch.as_tensor(
            np.repeat([part.charge for part in frames], counts), dtype=dtype, device=device
        ),
    )


def velocities_of(structures: Sequence[Atoms]) -> np.ndarray:
    """Velocities (N, 3) of all atoms, Å/fs."""
    from ase.units import fs

    return np.concatenate([atoms.get_velocities() for atoms in structures]) * fs


def check_frames(frames: Sequence[Frames]) -> None:
    """Refuse structures that no potential can handle: see `validate`."""
    several = sum(len(part.cells) for part in frames) > 1
    index = 0
    for part in frames:
        for positions, cell in zip(part.positions, part.cells, strict=True):
            name = f"structure {index}" if several else "atoms"
            validate(positions, cell, part.numbers, part.pbc, name)
            index += 1


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
