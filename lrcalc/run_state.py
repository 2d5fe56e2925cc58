"""The state of a run in a file, whole or not there, and that of its random numbers."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.files import replacing
from lrcalc.run_identity import OUTPUT

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError,
              AttributeError, RuntimeError)  # fmt: skip
"""What numpy raises for a damaged or foreign file, depending on where it breaks."""


def save_state(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a state atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type]


def load_state(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_state` wrote.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return {key: file[key] for key in file.files}
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable state ({reason}); {OUTPUT}") from error


def generator_words(rng: np.random.Generator) -> np.ndarray:
    """State of the generator as eight 32-bit words and a buffered half word."""
    state: Any = rng.bit_generator.state
    numbers = [state["state"]["state"], state["state"]["inc"]]
    words = [(number >> (32 * k)) & 0xFFFFFFFF for number in numbers for k in range(4)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def generator_state(words: np.ndarray) -> dict[str, Any]:
    """State of the generator from what `generator_words` returned."""
    values = [int(w) for w in words]
    numbers = [sum(values[4 * n + k] << (32 * k) for k in range(4)) for n in range(2)]
    return {
        "bit_generator": "PCG64",
        "state": {"state": numbers[0], "inc": numbers[1]},
        "has_uint32": values[8],
        "uinteger": values[9],
    }
