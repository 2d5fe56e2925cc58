"""Refuses by name what was given in place of structures, frames, descriptors or a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms


def check_structure(atoms: object, name: str = "atoms", way: str = "") -> None:
    """Refuse what is not one structure.

    Parameters
    ----------
    atoms : object
    name : str, optional
        Of the argument.
    way : str, optional
        What to do with several structures.

    Raises
    ------
    TypeError
        For the name of a file, a list, anything else that is no `ase.Atoms`.
    """
    from ase import Atoms

    if isinstance(atoms, Atoms):
        return
    if _is_name(atoms):
        raise TypeError(
            f"`{name}` is {os.fspath(atoms)!r} but must be one structure (ase.Atoms): "  # type: ignore[call-overload]
            "read it, lrcalc.structures.read_structure(FILE)"
        )
    way = way or "give the frames of a trajectory one after the other"
    raise TypeError(
        f"`{name}` is a {type(atoms).__name__} but must be one structure (ase.Atoms); {way}"
    )


def frames_of_given(frames: Iterable[Atoms], name: str = "frames") -> Iterable[Atoms]:
    """Return frames as they are, of one structure a list of it; nothing is read yet.

    Raises
    ------
    TypeError
        For the name of a file, or what has no frames.
    """
    from ase import Atoms

    if isinstance(frames, Atoms):
        return [frames]
    if _is_name(frames):
        raise TypeError(
            f"`{name}` is {os.fspath(frames)!r} but must be structures (ase.Atoms): read them, "  # type: ignore[call-overload]
            "lrcalc.structures.read_structures(FILE)"
        )
    if not isinstance(frames, Iterable):
        raise TypeError(
            f"`{name}` is a {type(frames).__name__} but must be a sequence of structures "
            "(ase.Atoms)"
        )
    return frames


def structures_given(frames: Iterable[Atoms], name: str = "frames") -> Sequence[Atoms]:
    """Return a list of structures, each of them one; refuses as `frames_of_given`."""
    found = list(frames_of_given(frames, name))
    for number, atoms in enumerate(found):
        check_structure(atoms, f"{name}[{number}]")
    return found


def check_mappings(frames: object, name: str) -> None:
    """Refuse frames that are not mappings of descriptors by atomic number.

    Raises
    ------
    TypeError
        For structures, arrays, one mapping alone.
    """
    parts = frames if isinstance(frames, Sequence) and not _is_name(frames) else [frames]
    whole = parts is frames
    bad = next((part for part in parts if not (whole and isinstance(part, Mapping))), None)
    if bad is not None:
        what = f"has a {type(bad).__name__}" if whole else f"is a {type(bad).__name__}"
        raise TypeError(
            f"`{name}` {what} but must have a mapping {{atomic number: descriptors (n, d)}} for "
            "each frame: make it with lrcalc.information.reference.by_species(atoms, form, species)"
        )


def check_descriptors(values: object, name: str) -> None:
    """Refuse structures, names and mappings where descriptors (N, d) are wanted.

    Raises
    ------
    TypeError
        With what makes descriptors.
    """
    from ase import Atoms

    first = next(iter(values), None) if isinstance(values, list | tuple) else values
    if isinstance(first, Atoms | Mapping) or _is_name(first):
        where = "has" if first is not values else "is"
        raise TypeError(
            f"`{name}` {where} a {type(first).__name__} but must be an array of descriptors "
            "(N, d): make it with lrcalc.information.descriptors.descriptors(atoms)"
        )


def check_potential(potential: Any, name: str = "potential") -> None:
    """Refuse the name of a model where the model is wanted.

    Raises
    ------
    TypeError
    """
    if _is_name(potential):
        raise TypeError(
            f"`{name}` is {os.fspath(potential)!r} but must be a model: load it, "
            "lrcalc.checkpoint.load(NAME or FILE)"
        )


def names_given(names: str | os.PathLike[str] | Sequence[Any]) -> Sequence[Any]:
    """Return names of files as a list, also a single one."""
    return [names] if isinstance(names, str | os.PathLike) else names


def _is_name(value: object) -> bool:
    return isinstance(value, str | os.PathLike)
