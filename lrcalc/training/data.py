"""Training data: extended xyz to labelled structures, checked before a minute is spent on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.formats import UnknownFileTypeError, filetype, open_with_compression
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from lrcalc import structures as structure_files
from lrcalc.electrostatics.hosted import moved
from lrcalc.hashing import hash_of
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.structures.formats import XYZ, find, kind_of
from lrcalc.system import System, from_ase
from lrcalc.training.composition import composition_fit
from lrcalc.training.electrical import Labelled
from lrcalc.training.labels import LabelKeys, at_frame, check_labels, take_labels
from lrcalc.training.loss import LabelledBatch

B = TypeVar("B", bound=NamedTuple)

ENTRY = re.compile(r"(?:^|\s)([A-Za-z_][\w.\-]*)\s*=")
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|\{[^}]*\}")
"""Names of entries of a comment line, and values that may hold something like them."""


class Frame(NamedTuple):
    """One structure with its labels and its neighbour list.

    Attributes
    ----------
    system : System
        One structure, float64.
    pairs : Pairs
    energy : float
        eV.
    forces : Tensor, shape (N, 3), eV/Å
    stress : Tensor or None, shape (3, 3), eV/Å³
    source : int
        Index of the file it came from.
    """

    system: System
    pairs: Pairs
    energy: float
    forces: Tensor
    stress: Tensor | None
    source: int


class Batch(NamedTuple):
    """Several frames as one system, with their labels.

    Attributes
    ----------
    system : System
    pairs : Pairs
    energy : Tensor, shape (S,), eV
    forces : Tensor, shape (N, 3), eV/Å
    stress : Tensor, shape (S, 3, 3), eV/Å³
        Zero where there is none.
    stress_rows : Tensor, shape (S',), int64
        Structures that have a stress.
    n_atoms, source : Tensor, shape (S,)
    """

    system: System
    pairs: Pairs
    energy: Tensor
    forces: Tensor
    stress: Tensor
    stress_rows: Tensor
    n_atoms: Tensor
    source: Tensor


def read_structures(path: str | Path, keys: LabelKeys | None = None) -> list[Atoms]:
    """Read all frames of a file, with their labels where ASE keeps them.

    Parameters
    ----------
    path : path-like
        Extended xyz (optionally compressed) unless its name or content says that it is of another
        format that ASE reads.
    keys : LabelKeys, optional
        Names of the labels in the file, if they are not ASE's.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing, empty or unreadable file, or labels that are there twice.
    """
    path = find(path, "data")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it holds no structures")
    extended = _is_extended(path)
    frames = structure_files.read_structures(path, argument="data", extended=extended)
    if extended:
        check_entries(path)
    return take_labels(frames, keys or LabelKeys(), path)


def _is_extended(path: Path) -> bool:
    """Whether a file is extended xyz, which is what a file of no known format is taken for."""
    if kind_of(path) in XYZ:
        return True
    try:
        return filetype(str(path)) in ("xyz", "extxyz")
    except (UnknownFileTypeError, OSError, EOFError):
        return True


def check_entries(path: Path) -> None:
    """Refuse a comment line that names an entry twice: readers keep the last, without a word."""
    with open_with_compression(str(path)) as file:
        for index, (count, comment) in enumerate(_heads(file)):
            names = ENTRY.findall(QUOTED.sub("", comment))
            twice = [name for name, n in Counter(names).items() if n > 1]
            if twice:
                raise ValueError(
                    f"{path}: frame {index} ({count} atoms): {twice[0]}= stands twice in the "
                    "comment line; keep one of them"
                )


def _heads(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield number of atoms and comment line of each frame."""
    lines = iter(lines)
    for head in lines:
        if not head.strip().isdigit():
            return
        yield int(head), next(lines, "")
        for _ in islice(lines, int(head)):
            pass


def make_frames(
    structures: Sequence[Atoms],
    path: str | Path,
    cutoff: float,
    source: int = 0,
    *,
    allow_images: bool = False,
    numbers: Sequence[int] | None = None,
) -> list[Frame]:
    """Label, validate and find the neighbours of all structures of one file.

    Parameters
    ----------
    structures : sequence of Atoms
    path : path-like
        Named in errors.
    cutoff : float
        Å.
    source : int
        Index of the file.
    allow_images : bool
        Accept cells so small that an atom sees its own periodic image, whose forces cancel and
        cannot be learned from.
    numbers : sequence of int, optional
        Which frames of the file they are, for errors; the first ones by default.
    """
    numbers = range(len(structures)) if numbers is None else numbers
    has_stress = check_labels(structures, path, numbers)
    frames = []
    for index, atoms in zip(numbers, structures, strict=True):
        with at_frame(path, index):
            system = from_ase(atoms)
            if not allow_images:
                check_cutoff(atoms, cutoff)
            pairs = build_pairs(system, cutoff)
        # not get_forces(): it sets those of fixed atoms to zero
        labels = atoms.calc.results
        stress = None
        if has_stress and atoms.pbc.all():
            stress = torch.tensor(voigt_6_to_full_3x3_stress(labels["stress"]))
        forces = torch.tensor(np.asarray(labels["forces"], dtype=float))
        energy = float(labels["energy"])
        frames.append(Frame(system, pairs, energy, forces, stress, source))
    return frames


def check_boundaries(
    structures: Sequence[Atoms], path: str | Path, level: str, numbers: Sequence[int]
) -> None:
    """Refuse one periodic direction, for which there is no electrostatic sum, naming the frame."""
    for index, atoms in zip(numbers, structures, strict=True):
        if level != "sr" and int(np.sum(atoms.pbc)) == 1:
            raise ValueError(
                f"{path}: frame {index} has pbc {atoms.pbc.tolist()}: one periodic direction is "
                "not supported with charges; use none, two (a slab) or three, or --level sr"
            )


def check_cutoff(atoms: Atoms, cutoff: float) -> None:
    """Refuse a cutoff with which an atom would see its own periodic image."""
    lengths = np.asarray(atoms.cell.lengths())[np.asarray(atoms.pbc)]
    if len(lengths) and cutoff >= lengths.min():
        raise ValueError(
            f"`cutoff` is {cutoff:g} Å but the cell repeats after {lengths.min():.2f} Å: an atom "
            "would see its own image, about which the data say nothing; use a smaller --cutoff, "
            "larger cells, or --allow-images"
        )


def check_species(train: Sequence[Frame], used: Sequence[Frame], part: str) -> None:
    """Refuse frames of another part with elements that no training frame has."""
    known, needed = (
        {int(z) for f in frames for z in f.system.numbers.unique()} for frames in (train, used)
    )
    if needed - known:
        names = ", ".join(chemical_symbols[z] for z in sorted(needed - known))
        raise ValueError(
            f"the {part} frames have {names}, which no training frame has; train on frames "
            "with it, or leave those frames out"
        )


def labelled_hash(one: Labelled) -> str:
    """Short hash of a structure with its electrical labels."""
    names = sorted(one.labels)
    tensors = [one.system.positions, one.system.cell, *(one.labels[name] for name in names)]
    if one.reference is not None:
        tensors.append(one.reference[0].positions)
    return hash_of(repr(names), *(t.numpy() for t in tensors), length=16)


def frame_hash(frame: Frame) -> str:
    """Short hash of a structure with its labels: all that a training run sees of a frame."""
    system = frame.system
    values = (system.numbers, system.positions, system.cell, system.pbc,
              system.total_charge, frame.forces, frame.stress)  # fmt: skip
    parts = [b"none" if value is None else value.numpy() for value in values]
    return hash_of(repr((frame.energy, frame.source)), *parts, length=16)


def reference_energies(
    frames: Sequence[Frame], species: tuple[int, ...], known: Sequence[float] = ()
) -> Tensor:
    """Per-species energies (eV, float64) that fit the totals (`composition_fit`).

    ``known`` (eV), if given, is the part of each frame's energy that a model has already.
    """
    energies = np.array([f.energy for f in frames])
    if len(known):
        energies = energies - np.array(known)
    numbers = [f.system.numbers.numpy() for f in frames]
    return torch.from_numpy(composition_fit(energies, numbers, species))


def join(
    structures: Sequence[tuple[System, Pairs]], pairs: Pairs | None = None
) -> tuple[System, Pairs, Tensor]:
    """Join structures, one each, into one system; with the number of atoms of each, (S,).

    ``pairs``, if given, are theirs joined already.
    """
    systems, lists = [s for s, _ in structures], [p for _, p in structures]
    counts = torch.tensor([len(s.numbers) for s in systems])
    offsets = torch.cumsum(counts, 0) - counts
    system = System(
        torch.cat([s.positions for s in systems]),
        torch.cat([s.cell for s in systems]),
        torch.cat([s.numbers for s in systems]),
        torch.cat([s.pbc for s in systems]),
        torch.repeat_interleave(torch.arange(len(systems)), counts),
        torch.cat([s.total_charge for s in systems]),
    )
    if pairs is None:
        pairs = Pairs(
            torch.cat([p.i + o for p, o in zip(lists, offsets, strict=True)]),
            torch.cat([p.j + o for p, o in zip(lists, offsets, strict=True)]),
            torch.cat([p.shift for p in lists]),
        )
    return system, pairs, counts


def collate_labelled(structures: Sequence[Labelled]) -> LabelledBatch:
    """Join structures with electrical labels into one batch, with those they are compared with."""
    before = [s.reference for s in structures if s.reference is not None]
    system, pairs, counts = join([*((s.system, s.pairs) for s in structures), *before])
    first = torch.cumsum(counts, 0) - counts
    minus = torch.full_like(counts, -1)
    has_reference = [k for k, s in enumerate(structures) if s.reference is not None]
    minus[has_reference] = len(structures) + torch.arange(len(before))
    values, rows = {}, {}
    for name in dict.fromkeys(name for s in structures for name in s.labels):
        which = [k for k, s in enumerate(structures) if name in s.labels]
        parts = [structures[k].labels[name] for k in which]
        if name == "born":
            values[name] = torch.cat(parts)
            rows[name] = torch.cat([first[k] + torch.arange(int(counts[k])) for k in which])
        else:
            values[name], rows[name] = torch.stack(parts), torch.tensor(which)
    return LabelledBatch(system, pairs, values, rows, counts, minus)


def collate(frames: Sequence[Frame], pairs: Pairs | None = None) -> Batch:
    """Join frames into one batch; ``pairs``, if given, are theirs joined already."""
    system, pairs, counts = join([(f.system, f.pairs) for f in frames], pairs)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    return Batch(
        system,
        pairs,
        torch.tensor([f.energy for f in frames], dtype=torch.float64),
        torch.cat([f.forces for f in frames]),
        torch.stack([zero if f.stress is None else f.stress for f in frames]),
        torch.tensor([k for k, f in enumerate(frames) if f.stress is not None], dtype=torch.int64),
        counts,
        torch.tensor([f.source for f in frames]),
    )


def batch_to(batch: B, device: str | torch.device) -> B:
    """Copy a batch to a device, without waiting for it."""
    copied: B = moved(batch, torch.device(device))
    return copied
