"""C++ compiled on this machine when it is first needed, and kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from lrcalc.files import replacing
from lrcalc.hashing import hash_of

COMPILERS = ("g++", "c++", "clang++")

FLAGS = (
    "-O3", "-std=c++17", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip

FOR_THIS_PROCESSOR: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
"""Of the first that a compiler takes."""

LONGEST = 300.0
"""Seconds after which a compiler is given up."""

LOG = logging.getLogger("lrcalc")


def cache_folder() -> Path:
    """Folder of what was compiled: ``LRCALC_CACHE``, or ``lrcalc`` in the user's cache folder."""
    chosen = os.environ.get("LRCALC_CACHE")
    if chosen:
        return (
            Path(chosen).expanduser().absolute()
        )  # loaders look for a bare name in folders of their own
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lrcalc"


def find_compiler(asked: str | None = None) -> list[str]:
    """Words that call a C++ compiler: ``asked``, ``CXX``, or the first of `COMPILERS` there is.

    Raises
    ------
    ValueError
        If there is none.
    """
    asked = asked or os.environ.get("CXX")
    candidates = [asked] if asked else list(COMPILERS)
    for name in candidates:
        words = shlex.split(name)  # CXX may hold options, or a wrapper before the name
        if words and shutil.which(words[0]):
            return words
    raise ValueError(
        f"no C++ compiler: {', '.join(candidates)} not found. Install one (Debian, Ubuntu: apt-get "
        "install g++; conda: conda install gxx), or name yours with --compiler or CXX"
    )


def shared_library(
    name: str, sources: Sequence[Path], defines: Mapping[str, str | int]
) -> ctypes.CDLL | None:
    """Load the library that is made of ``sources``; compile it if need be.

    Parameters
    ----------
    name : str
        Of its file.
    sources : sequence of Path
        Compiled together; headers are beside the first.
    defines : mapping
        Names that the sources know as constants.

    Returns
    -------
    CDLL or None
        None where it cannot be had: no compiler, one that fails, a library that does not load.
        Why is logged (logger "lrcalc", level DEBUG).
    """
    macros = [f"-D{key}={value}" for key, value in defines.items()]
    path = cache_folder() / f"lrcalc-{name}-{_key(sources, macros)}.so"
    try:
        return _kept(path) or _made(path, sources, macros)
    except (OSError, ValueError) as error:
        LOG.debug("%s: not compiled: %s", name, error)
        return None


def _key(sources: Sequence[Path], macros: Sequence[str]) -> str:
    """Differs where another file is needed: other sources, options, processor or C library."""
    headers = sorted(sources[0].parent.glob("*.h"))
    content = [path.read_bytes() for path in [*sources, *headers]]
    return hash_of(*content, *FLAGS, *macros, _machine(), *platform.libc_ver(), sys.platform)


def _machine() -> str:
    """Processor and what it can do: a home folder may be seen from several machines."""
    told = Path("/proc/cpuinfo")
    if not told.is_file():
        return platform.machine() + platform.processor()
    lines = told.read_text().splitlines()
    wanted = ("model name", "flags", "CPU part", "Features")
    found = {line.partition(":")[0].strip(): line for line in lines}
    return "\n".join(found[key] for key in wanted if key in found) + platform.machine()


def _kept(path: Path) -> ctypes.CDLL | None:
    """Library of an earlier run, if it is there and whole."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if content[-_SEAL:] != _seal(content[:-_SEAL]):
        LOG.debug("%s is broken and made again", path)
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        LOG.debug("%s does not load and is made again: %s", path, error)
        return None


def _made(path: Path, sources: Sequence[Path], macros: Sequence[str]) -> ctypes.CDLL:
    """Compile into the cache, or for this process alone where that cannot be written."""
    compiler = find_compiler()
    _say_once(
        f"lrcalc compiles functions for this machine, once: about half a minute ({path.parent})"
    )
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / path.name
        _compile(compiler, sources, macros, alone)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(alone.read_bytes())
                return ctypes.CDLL(str(temporary))  # what does not load is not kept
        except OSError as error:
            LOG.debug("%s: compiled for this process alone: %s", path.name, error)
            _say_once(
                f"compiled functions cannot be kept, and are made by every process anew ({error}): "
                "name a folder by LRCALC_CACHE"
            )
        return ctypes.CDLL(str(alone))


@cache
def _say_once(what: str) -> None:
    """Tell who waits, through the logger: on the terminal where nobody has set up logging."""
    LOG.warning(what)


def _compile(
    compiler: list[str], sources: Sequence[Path], macros: Sequence[str], output: Path
) -> None:
    tried = []
    for own in FOR_THIS_PROCESSOR:
        command = [*compiler, *FLAGS, *own, *macros, *map(str, sources), "-o", str(output)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"{compiler[0]} took more than {LONGEST:.0f} s") from None
        if not done.returncode:
            with output.open("ab") as file:  # loaders do not look behind the end of a library
                file.write(_seal(output.read_bytes()))
            return
        tried.append((done.stderr or done.stdout).strip())
    raise ValueError(f"{compiler[0]} failed: {tried[-1][:2000]}")


def _seal(content: bytes) -> bytes:
    """Mark behind a library that is whole: loading one that is not may end the process."""
    return f"lrcalc {hash_of(content)}".encode()


_SEAL = len(_seal(b""))
