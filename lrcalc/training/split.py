"""Which frames of which files are trained on, validate, or are kept out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms

from lrcalc.hashing import structure_hash
from lrcalc.structures.species import find_unknown, refuse_unknown
from lrcalc.training.data import (
    Frame,
    check_boundaries,
    check_species,
    make_frames,
    read_structures,
)
from lrcalc.training.electrical import describe_unused, read_labelled
from lrcalc.training.labels import LabelKeys
from lrcalc.training.permittivity import stated_permittivities
from lrcalc.training.remarks import describe_labels
from lrcalc.training.unlike import describe_units

LARGE_FORCE = 50.0
"""eV/Å; a larger component is reported as an outlier."""

FEW_FRAMES = 5
"""Fewer frames of validation choose an epoch by chance."""


def read_split(
    train: list[str],
    valid: list[str],
    cutoff: float,
    valid_every: int,
    test_every: int,
    *,
    allow_images: bool = False,
    keys: LabelKeys | None = None,
    level: str = "u",
    frames: slice = slice(None),
    max_force: float = math.inf,
    wanted: Collection[str] = (),
    complete: Callable[[list[Atoms]], None] = lambda structures: None,
    known: Collection[int] = (),
) -> dict[str, Any]:
    """Read all files and split their frames.

    Parameters
    ----------
    train, valid : list of str
        Files.
    cutoff : float
        Å.
    valid_every, test_every : int
        As for `assign`; without ``valid``.
    allow_images : bool
        As for `make_frames`.
    keys : LabelKeys, optional
        Names of the labels in the files.
    level : str
        Of the model.
    frames : slice
        Those of each training file that are looked at; the others may be anything.
    max_force : float
        eV/Å; frames with a larger force on an atom are left out, whatever part they would be.
    wanted : collection of str
        Electrical labels to read (`lrcalc.training.electrical.KEYS`).
    complete : callable
        Given the structures of a file that are looked at; may give them labels that they lack.
    known : collection of int
        Atomic numbers of a model that is gone on with; frames with others are refused first.

    Returns
    -------
    dict
        Frames for training, validation, test; those of the first two that have electrical labels
        (``labelled``, ``labelled_validation``); hashes of those used; warnings and notes; what the
        training files state of ε_∞.
    """
    keys = keys or LabelKeys()
    chosen = [(path, frames) for path in train] + [(path, slice(None)) for path in valid]
    structures = [read_structures(path, keys) for path, _ in chosen]
    if known:
        looked_at = [
            find_unknown(list(enumerate(one))[part], known, path)
            for one, (path, part) in zip(structures, chosen, strict=True)
        ]
        refuse_unknown(looked_at, known)
    read = partial(
        _read_file,
        cutoff=cutoff,
        allow_images=allow_images,
        keys=keys,
        level=level,
        max_force=max_force,
        wanted=wanted,
        complete=complete,
    )
    every = None if valid else valid_every
    files = [
        *(read(one, path, k, frames, lambda n: assign(n, every, test_every), tells=True)
          for k, (path, one) in enumerate(zip(train, structures, strict=False))),
        *(read(one, path, 0, slice(None), lambda n: ["validation"] * n, tells=False)
          for path, one in zip(valid, structures[len(train) :], strict=True)),
    ]  # fmt: skip
    split: dict[str, Any] = {key: [x for one in files for x in one[key]] for key in files[0]}
    parts = split.pop("parts")
    if "training" not in parts and split["notes"]:
        told = "; ".join(split["notes"])
        raise ValueError(f"no training frames: {told}; give a larger --max-force")
    check_parts([len(one["hashes"]) for one in files], parts, valid_every)
    for part in ("validation", "test"):
        check_species(split["training"], split[part], part)
    few = len(split["validation"])
    if few < FEW_FRAMES:
        split["warnings"].append(
            f"{'one frame chooses' if few == 1 else f'{few} frames choose'} the epoch that is "
            "kept, and by chance as much as by merit: give --valid, a smaller --valid-every or "
            "more frames"
        )
    return split


def _read_file(
    structures: Sequence[Atoms],
    path: str,
    source: int,
    chosen: slice,
    assigned: Callable[[int], list[str]],
    *,
    tells: bool,
    cutoff: float,
    allow_images: bool,
    keys: LabelKeys,
    level: str,
    max_force: float,
    wanted: Collection[str],
    complete: Callable[[list[Atoms]], None],
) -> dict[str, list[Any]]:
    """Split one file: its share of all that `read_split` returns, and the ``parts`` of its frames.

    ``assigned`` gives the part of each of so many frames; the permittivities that a file states
    are kept if it ``tells``.
    """
    numbers = list(range(len(structures)))[chosen]
    if not numbers:
        raise ValueError(f"--frames selects none of the {len(structures)} frames of {path}")
    parts = assigned(len(numbers))
    notes = []
    strong = [k for k in numbers if largest_force(structures[k]) > max_force]
    if strong:
        notes.append(describe_strong(strong, numbers, parts, max_force, path))
        parts = [part for k, part in zip(numbers, parts, strict=True) if k not in strong]
        numbers = [k for k in numbers if k not in strong]
    structures = [structures[k] for k in numbers]
    complete(structures)
    check_boundaries(structures, path, level, numbers)
    made = make_frames(structures, path, cutoff, source, allow_images=allow_images, numbers=numbers)
    # what is kept out is not looked at, not even as the frame that dipoles are compared with
    seen = [k for k, part in enumerate(parts) if part != "test"]
    read = [structures[k] for k in seen]
    labels = read_labelled(read, path, cutoff, wanted, [numbers[k] for k in seen])
    labelled = [(parts[k], one) for k, one in zip(seen, labels, strict=True) if one is not None]
    notes += describe_unused(structures, wanted, path) if level != "sr" else []
    lines = [*describe_labels(structures, keys), *describe_units(structures)]
    outliers = describe_outliers(made, parts, numbers)
    return {
        **{name: [f for f, part in zip(made, parts, strict=True) if part == name]
           for name in ("training", "validation", "test")},
        "labelled": [one for part, one in labelled if part == "training"],
        "labelled_validation": [one for part, one in labelled if part != "training"],
        "hashes": [structure_hash(atoms) for atoms in read],
        "notes": notes,
        "warnings": [f"{path}: {x}" for x in (*lines, outliers) if x],
        "stated": stated_permittivities(structures, path) if tells else [],
        "parts": parts,
    }  # fmt: skip


def largest_force(atoms: Atoms) -> float:
    """Largest labelled force on an atom, eV/Å; 0 where there is none."""
    forces = None if atoms.calc is None else atoms.calc.results.get("forces")
    return 0.0 if forces is None else float(np.linalg.norm(forces, axis=1).max(initial=0.0))


def describe_strong(
    strong: Sequence[int], numbers: Sequence[int], used: Sequence[str], limit: float, path: str
) -> str:
    """Say which frames (``strong``, among ``numbers``) are left out, and of what part they were."""
    lost = Counter(use for k, use in zip(numbers, used, strict=True) if k in strong)
    return (
        f"{path}: {len(strong)} of {len(numbers)} frames left out for a force above {limit:g} eV/Å "
        f"({', '.join(f'{n} of {part}' for part, n in lost.items())}; first: frame {strong[0]})"
    )


def assign(n_frames: int, valid_every: int | None, test_every: int) -> list[str]:
    """Part of each frame of a file: training, validation or test.

    Parameters
    ----------
    n_frames : int
    valid_every : int or None
        Every K-th frame that is not kept out validates; None for none.
    test_every : int
        Every K-th frame is kept out, from the middle of the first K on; 0 for none.
    """
    parts = []
    kept = 0
    for index in range(n_frames):
        if test_every and index % test_every == test_every // 2:
            parts.append("test")
            continue
        kept += 1
        parts.append("validation" if valid_every and kept % valid_every == 0 else "training")
    return parts


def check_parts(sizes: Sequence[int], parts: Sequence[str], valid_every: int) -> None:
    """Refuse a split without validation or training frames.

    Parameters
    ----------
    sizes : sequence of int
        Frames of each file that are not kept out.
    parts : sequence of str
        Of all frames (`assign`).
    valid_every : int
    """
    if "training" not in parts:
        raise ValueError("no training frames; --test-every keeps all of them out: give more frames")
    if "validation" not in parts:
        raise ValueError(
            f"no validation frames: --valid-every is {valid_every}, but no file leaves more than "
            f"{max(sizes)} frames to choose from; give a smaller --valid-every"
        )


def describe_outliers(
    frames: Sequence[Frame], parts: Sequence[str] = (), numbers: Sequence[int] = ()
) -> str | None:
    """One line on frames with a force component above `LARGE_FORCE`, or None.

    Parameters
    ----------
    frames : sequence of Frame
        Of one file, in its order.
    parts : sequence of str, optional
        What each frame is used for (`assign`).
    numbers : sequence of int, optional
        Which of the file they are.
    """
    large = [i for i, f in enumerate(frames) if float(f.forces.abs().max()) > LARGE_FORCE]
    if not large:
        return None
    worst = max(float(frames[i].forces.abs().max()) for i in large)
    uses = Counter(parts[i] for i in large) if parts else {}
    return (
        f"{len(large)} of {len(frames)} frames have a force above {LARGE_FORCE:g} eV/Å "
        f"(largest {worst:.0f} eV/Å; first: frame {(numbers or range(len(frames)))[large[0]]}"
        + "".join(f"; {n} in {part}" for part, n in uses.items())
        + "); consider --max-force, or removing them"
        + (": the best epoch would be chosen by them" if "validation" in uses else "")
    )
