"""Short hashes of numbers: by them runs, frames and models are recognized."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


def hash_of(*parts: bytes | str | np.ndarray, length: int = 12) -> str:
    """Hexadecimal digits that are the same for the same parts.

    Parameters
    ----------
    *parts : bytes, str or ndarray
        Arrays count row by row, with their data type and not with their shape:
        convert what may come in another precision.
    length : int
        Number of digits.
    """
    content = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = part.tobytes()
        content.update(part.encode() if isinstance(part, str) else part)
    return content.hexdigest()[:length]


def structure_hash(atoms: Atoms) -> str:
    """Hash of species and positions (to 1e-4 Å), by which a model knows its training frames."""
    return hash_of(np.round(np.asarray(atoms.positions), 4), atoms.numbers, length=10)
