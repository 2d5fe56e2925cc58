"""Structures to be judged, one at a time, and references by the name of a model or of data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lrcalc.information.given import names_given
from lrcalc.ipi_files.xyz import is_ipi_xyz
from lrcalc.structures import read_structures
from lrcalc.structures.formats import XYZ, find, kind_of

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.information.reference import Reference
    from lrcalc.models.potential import Potential


def frames_of_file(path: str | os.PathLike[str], index: slice = slice(None)) -> Iterator[Atoms]:
    """Structures of a file; of plain extended xyz one at a time, however long it is.

    Parameters
    ----------
    path : path-like
        What `lrcalc.structures.read_structure` reads: also packed, i-PI's, LAMMPS', ASE's.
    index : slice, optional
        Frames; bounds from the end, and steps back, read the whole.
    """
    path = find(Path(path), "data")
    ahead = all(x is None or x >= 0 for x in (index.start, index.stop, index.step))
    if not ahead or path.suffix.lower() not in XYZ or is_ipi_xyz(path) or not _plain(path):
        yield from read_structures(path, index, argument="data")
        return
    from ase.io import iread

    found = iread(path, index=index, format="extxyz")
    while True:
        try:
            atoms = next(found)
        except StopIteration:
            return
        except (ValueError, KeyError, OSError, AssertionError) as error:
            raise ValueError(f"{path} cannot be read further: {error}") from error
        yield atoms


def _plain(path: Path) -> bool:
    """Whether ASE reads the first frame as it is: elements, and its own words of the header."""
    with path.open(errors="replace") as file:
        lines = list(islice(file, 500))
    labels = [line.split()[0] for line in lines[2:] if line.strip() and line[:1].isalpha()]
    isotopes = {"D", "T", "d", "t"} & set(labels)
    return not isotopes and len(lines) > 2 and "Properties=" in lines[1]


def kind_is_model(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a model: bundled, or a file that ends in .pt."""
    from lrcalc.checkpoint import bundled

    text = os.fspath(name)
    return text in bundled() or kind_of(Path(text)) == ".pt"


def reference_of_model(potential: Potential, name: str = "the model") -> Reference | None:
    """Return the reference that a model carries; None if it has none."""
    from lrcalc.information.reference import Reference

    content = potential.environments
    if content is None:
        return None
    try:
        return Reference.of_content(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def open_reference(
    names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> Reference:
    """Return the reference of one model, or of data files taken together; a name alone will do.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that are missing or cannot be read, a model without a reference, a model together
        with data.
    """
    from lrcalc.checkpoint import load
    from lrcalc.information.reference import make_reference

    names = names_given(names)
    if not names:
        raise ValueError("`reference` is empty: give data files, or a model that carries its own")
    models = [name for name in names if kind_is_model(name)]
    if models and len(names) > 1:
        raise ValueError(
            f"`reference` has the model {models[0]} beside others: give one model, or data"
        )
    if models:
        found = reference_of_model(load(models[0]), str(models[0]))
        if found is None:
            raise ValueError(
                f"the model {models[0]} carries no reference of its training environments: add it "
                f"with `lrcalc reference {models[0]} --data FILES -o NEW.pt`, or give the data here"
            )
        return found
    frames = [atoms for name in names for atoms in frames_of_file(name)]
    return make_reference(frames, about={"data": [Path(name).name for name in names]})
