"""The plugin as Python sees it: the structure that both fill, and the functions that it exports."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from typing import Any

import numpy as np

LAYOUT = 2
"""Of the structure; the same number is in `plugin/lrcalc_view.h`."""

MOMENTS = 9
"""Dipole (3), field (3), energy in the field, electrostatic energy, charge."""

SETTINGS, COEFF, INIT, COMPUTE, SERIES_OPEN, SERIES = range(6)
"""What the plugin asks for."""

MESSAGE = 8192
"""Bytes of an error message, with its end."""


class View(ctypes.Structure):
    """What LAMMPS and Python show one another; `plugin/lrcalc_view.h` says what it means."""

    _fields_ = (
        ("pair", c_void_p),
        ("narg", c_int64), ("arg", POINTER(c_char_p)),
        ("cutoff", c_double), ("reach", c_double), ("ghost_pairs", c_int64),
        ("ntypes", c_int64), ("nlocal", c_int64), ("nghost", c_int64), ("natoms", c_int64),
        ("x", POINTER(c_double)), ("f", POINTER(c_double)), ("v", POINTER(c_double)),
        ("mass", POINTER(c_double)),
        ("type", POINTER(c_int32)), ("image", POINTER(c_int32)), ("tag", POINTER(c_int64)),
        ("cell", c_double * 9), ("periodic", c_int64 * 3),
        ("npairs", c_int64), ("pair_i", POINTER(c_int64)), ("pair_j", POINTER(c_int64)),
        ("closest", c_double), ("closest_i", c_int64), ("closest_j", c_int64),
        ("rebuilt", c_int64),
        ("want_energy", c_int64), ("want_atomic", c_int64), ("want_virial", c_int64),
        ("want_moments", c_int64), ("want_current", c_int64),
        ("energy", c_double), ("coulomb", c_double), ("virial", c_double * 6),
        ("atomic", POINTER(c_double)), ("moments", c_double * MOMENTS),
        ("step", c_int64), ("dt", c_double), ("temperature", c_double),
        ("message", c_char * MESSAGE),
    )  # fmt: skip


CALLBACK = ctypes.CFUNCTYPE(c_int, c_int, POINTER(View))


class Plugin:
    """A plugin that is loaded already.

    Parameters
    ----------
    path : str
        Of the shared object.

    Raises
    ------
    ValueError
        If it belongs to another lrcalc.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.library = ctypes.CDLL(path)
            self.version = int(self.library.lrcalc_lammps_version())
            layout = int(self.library.lrcalc_layout())
        except (OSError, AttributeError) as error:
            raise ValueError(f"{path} is no plugin of lrcalc for LAMMPS: {error}") from error
        expected = LAYOUT * 100000 + ctypes.sizeof(View)
        if layout != expected:
            raise ValueError(
                f"{path} was compiled from another version of lrcalc (layout {layout}, this one "
                f"has {expected}); build it anew: lrcalc lammps-plugin build"
            )
        self._exchange = self.library.lrcalc_exchange
        self._exchange.argtypes = (POINTER(View), POINTER(c_double), c_int, c_int)
        self._exchange.restype = None

    @property
    def integers(self) -> tuple[int, int, int]:
        """Bytes of LAMMPS' tagint, bigint and imageint."""
        sizes = (c_int * 3)()
        self.library.lrcalc_integers(sizes)
        return sizes[0], sizes[1], sizes[2]

    def serve(
        self, answer: Callable[[int, View], None], failed: Callable[[int, Exception], str]
    ) -> None:
        """Let ``answer`` answer all requests; of what it raises, ``failed`` makes the message."""

        def called(request: int, pointer: Any) -> int:
            view = pointer.contents
            try:
                answer(request, view)
            except Exception as error:  # must not pass through C++
                view.message = failed(request, error).encode()[: MESSAGE - 1]
                return 1
            return 0

        self._callback = CALLBACK(called)  # kept alive
        self.library.lrcalc_serve(self._callback)

    def exchange(self, view: View, rows: np.ndarray, *, reverse: bool) -> None:
        """Copy own rows of ``rows`` (N, w) to ghosts, in place; or add ghosts' rows to own ones."""
        pointer = rows.ctypes.data_as(POINTER(c_double))
        self._exchange(ctypes.byref(view), pointer, rows.shape[1], int(reverse))


def array(pointer: Any, *shape: int) -> np.ndarray:
    """Look at an array of LAMMPS; empty ones may have no address."""
    if 0 in shape or not pointer:
        return np.zeros(shape, pointer._type_)
    # not by ctypes' array types, which it keeps for ever: one for each number of pairs
    size = int(np.prod(shape)) * ctypes.sizeof(pointer._type_)
    memory = _memory(ctypes.cast(pointer, c_void_p), size, WRITABLE)
    return np.frombuffer(memory, np.dtype(pointer._type_)).reshape(shape)


WRITABLE = 0x200
"""Of CPython's buffers, PyBUF_WRITE."""

_memory = ctypes.pythonapi.PyMemoryView_FromMemory
_memory.argtypes = (c_void_p, ctypes.c_ssize_t, c_int)
_memory.restype = ctypes.py_object
