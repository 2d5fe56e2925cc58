"""Which structure the files of a phonopy folder belong to, each read by phonopy's own readers.

`phonopy.load` itself is not called: it also takes FORCE_SETS, FORCE_CONSTANTS and BORN from the
current directory, whatever folder was named. Its parts are used, in its order of priority.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

YAML = ("phonopy_params.yaml", "phonopy_disp.yaml", "phonopy.yaml")
PHONO3PY = ("phono3py_params.yaml", "phono3py_disp.yaml", "phono3py.yaml")
"""Structure and supercell for an fc2.hdf5; forces in them are of two displaced atoms."""
TOLERANCE = 1e-5
"""phonopy's own tolerance of symmetry, in the length unit of the file."""

T = TypeVar("T")


class Options(NamedTuple):
    """What a user says of a folder where its files do not.

    Attributes
    ----------
    supercell : sequence of int, optional
        3 repeats or the 9 entries of a matrix, as phonopy's DIM.
    primitive : str or array-like (3, 3), optional
        "auto", "P", "F", "I", "A", "C", "R", or a matrix.
    interface : str, optional
        phonopy's name of the program whose units the files are in.
    cell : str, optional
        File of the unit cell, where phonopy's default name is not used.
    """

    supercell: Sequence[int] | None = None
    primitive: Any = None
    interface: str | None = None
    cell: str | None = None


class Crystal(NamedTuple):
    """One file's structure, in the units of the program that phonopy calls ``interface``."""

    path: Path
    cell: Any
    """``PhonopyAtoms``."""
    supercell: np.ndarray | None
    """(3, 3) whole numbers; None where no file tells."""
    primitive: Any
    interface: str | None
    tolerance: float = TOLERANCE
    dataset: Any = None
    """Displacements, with or without forces."""
    constants: np.ndarray | None = None
    nac: dict[str, Any] | None = None
    frequency_factor: float | None = None
    """To THz, as the run that wrote the file had it."""
    masses: Sequence[float] | None = None
    """amu, of the primitive cell, where a configuration file sets them."""


def parsed(parse: Callable[..., T], path: Path, *arguments: Any, **options: Any) -> T:
    """Return what one of phonopy's parsers finds, whose errors for a cut file are of many kinds."""
    try:
        return parse(*arguments, **options)
    except (Exception, SystemExit) as error:  # RecursionError, IndexError, EOFError, …
        told = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}{': ' * bool(told)}{told[:200]}): is it "
            "complete?"
        ) from error


def find(folder: Path, *names: str) -> list[Path]:
    """Files of these names, compressed ones included, in the order of the names."""
    from phonopy.file_IO import get_supported_file_extensions_for_compression

    endings = get_supported_file_extensions_for_compression()
    paths = [folder / (name + ending) for name in names for ending in endings]
    return [path for path in paths if path.is_file()]


def check_interface(name: str | None) -> str | None:
    """Return phonopy's name of a program, or say which there are."""
    from phonopy.interface.calculator import calculator_info

    if name is not None and name not in calculator_info:
        raise ValueError(
            f"`interface` is {name!r} but must be one of phonopy's: {', '.join(calculator_info)}"
        )
    return name


def check_supercell(supercell: Sequence[int] | np.ndarray | None) -> np.ndarray | None:
    """(3, 3) matrix of whole numbers from 3 repeats, 9 entries or a matrix."""
    if supercell is None:
        return None
    found = np.asarray(supercell, dtype=float)
    if found.size == 3:
        found = np.diag(found.ravel())
    if found.size != 9 or (found != np.round(found)).any() or round(np.linalg.det(
        found.reshape(3, 3)
    )) < 1:  # fmt: skip
        raise ValueError(
            f"`supercell` is {np.asarray(supercell).tolist()} but must be three whole numbers "
            "above 0, or nine of a matrix with a positive determinant"
        )
    return found.reshape(3, 3).astype(int)


def crystals(folder: Path, chosen: Path | None, options: Options) -> list[Crystal]:
    """All structures that the files of a folder state; one, if a file is named.

    Parameters
    ----------
    chosen
        A yaml file of phonopy's that was named instead of the folder.

    Raises
    ------
    FileNotFoundError
        If there is none; it says what there is.
    """
    check_interface(options.interface)
    if chosen is not None:
        return [_of_yaml(chosen, options)]
    if options.cell is None:
        names = YAML + (PHONO3PY if (folder / "fc2.hdf5").is_file() else ())
        found = find(folder, *names)
        if found:
            return [_one_of(found, path, options) for path in found]
    conf = _settings(folder)
    interface = options.interface or conf.get("calculator")
    paths, repeated = _structure_files(folder, options.cell or conf.get("cell_filename"), interface)
    return [_of_structure(path, interface, options, conf, repeated) for path in paths]


def _one_of(paths: list[Path], path: Path, options: Options) -> Crystal:
    try:
        return _of_yaml(path, options)
    except ValueError as error:
        others = [other for other in paths if other != path]
        if not others:
            raise
        raise ValueError(
            f"{error} If it is not needed, name another (--from {others[0]})"
        ) from error


def _of_yaml(path: Path, options: Options) -> Crystal:
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml, load_yaml

    raw = parsed(load_yaml, path, path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path} is no yaml file of phonopy's")
    header = raw.get("phonopy") or raw.get("phono3py") or {}
    header = header if isinstance(header, dict) else {}
    interface = header.get("calculator") or options.interface
    if options.interface is not None and interface != options.interface:
        raise ValueError(
            f"`interface` is {options.interface!r} but {path} says that it is from {interface!r}"
        )
    check_interface(interface)
    data = parsed(load_phonopy_yaml, path, raw, calculator=interface)
    if data.unitcell is None:
        raise ValueError(
            f"{path} holds no unit cell: is it a yaml file of phonopy's, and complete?"
        )
    of_file = data.supercell_matrix
    if "phono3py" in raw and raw.get("phonon_supercell_matrix") is not None:
        of_file = np.asarray(raw["phonon_supercell_matrix"], dtype=int)
    given = check_supercell(options.supercell)
    if given is not None and of_file is not None and (given != of_file).any():
        raise ValueError(
            f"`supercell` is {given.tolist()} but {path} says {np.asarray(of_file).tolist()}"
        )
    primitive = options.primitive if options.primitive is not None else data.primitive_matrix
    return Crystal(
        path,
        data.unitcell,
        given if of_file is None else np.asarray(of_file),
        primitive,
        interface,
        float(header.get("symmetry_tolerance") or TOLERANCE),
        None if "phono3py" in raw else data.dataset,
        None if "phono3py" in raw else data.force_constants,
        data.nac_params,
        header.get("frequency_unit_conversion_factor"),
    )


def _settings(folder: Path) -> dict[str, Any]:
    """Collect what phonopy's configuration files in the folder say; they must agree."""
    from phonopy.cui.settings import PhonopyConfParser

    wanted = ("supercell_matrix", "primitive_matrix", "calculator", "cell_filename", "masses")
    found: dict[str, Any] = {}
    source: dict[str, Path] = {}
    for path in sorted(folder.glob("*.conf")):
        with contextlib.redirect_stdout(None):
            settings = parsed(
                PhonopyConfParser, path, filename=path, load_phonopy_yaml=True
            ).settings
        for name in wanted:
            value = getattr(settings, name, None)
            if value is None:
                continue
            if name in found and not np.array_equal(found[name], value):
                raise ValueError(
                    f"{source[name]} and {path} disagree about {name}: {found[name]} and {value}; "
                    "take one of them away"
                )
            found[name], source[name] = value, path
    return found


def _structure_files(
    folder: Path, name: str | None, interface: str | None
) -> tuple[list[Path], bool]:
    """Files that may hold the unit cell, and whether they are of the supercell instead."""
    from phonopy.interface.calculator import (
        calculator_info,
        get_default_cell_filename,
        get_default_supercell_filename,
    )

    if name is not None:
        for path in (folder / name, Path(name)):
            if path.is_file():
                return [path], False
        raise FileNotFoundError(f"no structure file {name} in {folder} (--cell)")
    default = get_default_cell_filename(interface)
    usual = (default, "POSCAR-unitcell") if default == "POSCAR" else (default,)
    found = [folder / one for one in usual if (folder / one).is_file()]
    if found:
        return found, False
    supercell = get_default_supercell_filename(interface)
    if supercell and (folder / supercell).is_file():
        return [folder / supercell], True
    others = {
        one: program for program in calculator_info
        if (one := get_default_cell_filename(program)) != default and (folder / one).is_file()
    }  # fmt: skip
    yaml = sorted(path.name for path in folder.glob("*.yaml*") if path.stem != "mesh")
    hints = [
        f"{one} is there: name its program (--interface, e.g. {p})" for one, p in others.items()
    ]
    hints += [f"{one} is there: name it (--from {folder / one})" for one in yaml]
    raise FileNotFoundError(
        f"no phonopy.yaml and no {' or '.join(usual)} in {folder}"
        + "".join(f"; {hint}" for hint in hints[:3])
        + ("" if hints else "; name the file of the unit cell (--cell FILE --interface PROGRAM)")
    )


def _of_structure(
    path: Path, interface: str | None, options: Options, conf: dict[str, Any], repeated: bool
) -> Crystal:
    from phonopy.interface.calculator import read_crystal_structure

    # some of phonopy's readers open further files that their input names
    with contextlib.redirect_stdout(None), contextlib.chdir(path.parent):
        cell, _ = parsed(read_crystal_structure, path, path.name, interface_mode=interface)
    if cell is None:
        raise ValueError(
            f"{path} holds no structure that phonopy could read ({interface or 'vasp'})"
        )
    given = check_supercell(options.supercell)
    if given is None and not repeated:
        given = conf.get("supercell_matrix")
    primitive = options.primitive
    if primitive is None:
        primitive = conf.get("primitive_matrix")
    return Crystal(
        path, cell, given, primitive, interface, masses=conf.get("masses"),
    )  # fmt: skip


def same(one: Crystal, other: Crystal) -> bool:
    """Whether two files state the same crystal, supercell, primitive cell and units."""
    a, b = one.cell, other.cell
    return (
        len(a) == len(b)
        and list(a.symbols) == list(b.symbols)
        and np.allclose(a.cell, b.cell, atol=1e-5)
        and np.allclose(a.masses, b.masses, atol=1e-4)
        and np.allclose(_apart(a.scaled_positions, b.scaled_positions), 0, atol=1e-5)
        and _equal(one.supercell, other.supercell)
        and _equal(one.primitive, other.primitive)
        and (one.interface or "vasp") == (other.interface or "vasp")
    )


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    delta = np.asarray(one) - np.asarray(other)
    return np.asarray(delta - np.round(delta))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str | None) or isinstance(other, str | None):
        return isinstance(one, str | None) and isinstance(other, str | None) and one == other
    return bool(np.allclose(one, other, atol=1e-6))


@contextlib.contextmanager
def plain(path: Path) -> Iterator[Path]:
    """Give a file that phonopy can open, decompressed for the while if needed."""
    import shutil
    import tempfile

    from phonopy.file_IO import get_io_module_to_decompress

    if path.suffix not in (".xz", ".lzma", ".gz", ".bz2"):
        yield path
        return
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / path.stem

        def decompress() -> None:
            opened = get_io_module_to_decompress(path).open(path, "rb")
            with opened as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)

        parsed(decompress, path)
        yield target
