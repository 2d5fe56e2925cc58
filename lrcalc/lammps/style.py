"""The words behind `pair_style lrcalc` and `pair_coeff`, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lrcalc.electrostatics.validate import check_accuracy
from lrcalc.fields import DISPLACEMENT, FIELD, Field

USAGE = (
    "pair_style lrcalc MODEL [field Ex Ey Ez | dfield Dx Dy Dz] [dtype float32|float64] "
    "[accuracy X] [charge Q] [epsilon X] [block N] [device NAME] [compile]"
)


class Style(NamedTuple):
    """What a `pair_style` asks for.

    Attributes
    ----------
    model : str
        Bundled name or file.
    field : Field or None
    dtype : {"float32", "float64"}
    accuracy : float or None
        Relative error of the mesh; None: the model's.
    charge : float
        Of the whole system, e.
    epsilon_infinity : float or None
        Instead of the model's.
    block : int or None
        Atoms described at a time.
    device : str
        Torch device.
    compile : bool
        As for `lrcalc.Evaluator`.
    """

    model: str
    field: Field | None = None
    dtype: str = "float32"
    accuracy: float | None = None
    charge: float = 0.0
    epsilon_infinity: float | None = None
    block: int | None = None
    device: str = "cpu"
    compile: bool = False


def read_style(words: Sequence[str]) -> Style:
    """Read what stands behind `pair_style lrcalc`.

    Raises
    ------
    ValueError
        Naming the word, with the usage.
    """
    if not words:
        raise ValueError(f"pair_style lrcalc names no model; it is: {USAGE}")
    model, *rest = words
    given: dict[str, Any] = {}
    while rest:
        word, *rest = rest
        if word not in READERS:
            raise ValueError(f"pair_style lrcalc does not know {word!r}; it is: {USAGE}")
        name, count, read = READERS[word]
        if len(rest) < count:
            raise ValueError(
                f"{word!r} of pair_style lrcalc wants {count} value(s); it is: {USAGE}"
            )
        if name in given:
            raise ValueError(
                f"pair_style lrcalc is given `{name}` twice ({word!r}); it is: {USAGE}"
            )
        values, rest = rest[:count], rest[count:]
        try:
            given[name] = read(values)
        except ValueError as error:
            raise ValueError(f"{word!r} of pair_style lrcalc: {error}; it is: {USAGE}") from error
    return Style(model, **given)


def read_elements(words: Sequence[str], types: int) -> list[int]:
    """Atomic numbers of the atom types, as `pair_coeff * *` names them.

    Raises
    ------
    ValueError
        For another count than that of the types, or a word that is no element.
    """
    from ase.data import atomic_numbers

    if len(words) != types:
        raise ValueError(
            f"pair_coeff of pair_style lrcalc names {len(words)} element(s) ({' '.join(words)}) "
            f"but there are {types} atom types: one element for each"
        )
    for word in words:
        if word not in atomic_numbers or word == "X":
            raise ValueError(
                f"pair_coeff of pair_style lrcalc: {word!r} is no chemical element (such as H or O)"
            )
    return [atomic_numbers[word] for word in words]


def swapped_elements(elements: Sequence[int], masses: Sequence[float]) -> list[str]:
    """Say of which types the mass is that of another element of `pair_coeff`.

    Isotopes and heavier hydrogens have masses of no element; so nothing is refused.
    """
    from ase.data import atomic_masses, chemical_symbols

    notes = []
    for k, (own, mass) in enumerate(zip(elements, masses, strict=False), start=1):
        near = [z for z in elements if abs(mass / atomic_masses[z] - 1) < 0.02]
        if near and abs(mass / atomic_masses[own] - 1) > 0.2:
            notes.append(
                f"pair_coeff names {chemical_symbols[own]} for atom type {k}, whose mass {mass:g} "
                f"is that of {chemical_symbols[near[0]]}: are the elements in the order of the "
                "types?"
            )
    return notes


def _number(words: Sequence[str]) -> float:
    value = float(words[0])
    if not math.isfinite(value):
        raise ValueError(f"{value} must be a finite number")
    return value


def _positive(words: Sequence[str]) -> float:
    value = _number(words)
    if value <= 0:
        raise ValueError(f"{value} must be positive")
    return value


def _accuracy(words: Sequence[str]) -> float:
    value = _number(words)
    check_accuracy(value)
    return value


def _block(words: Sequence[str]) -> int:
    value = int(words[0])
    if value < 1:
        raise ValueError(f"{value} must be 1 or more")
    return value


def _dtype(words: Sequence[str]) -> str:
    if words[0] not in ("float32", "float64"):
        raise ValueError(f"{words[0]!r} must be float32 or float64")
    return words[0]


READERS: dict[str, tuple[str, int, Any]] = {
    "field": ("field", 3, lambda words: Field(FIELD, [float(x) for x in words])),
    "dfield": ("field", 3, lambda words: Field(DISPLACEMENT, [float(x) for x in words])),
    "dtype": ("dtype", 1, _dtype),
    "accuracy": ("accuracy", 1, _accuracy),
    "charge": ("charge", 1, _number),
    "epsilon": ("epsilon_infinity", 1, _positive),
    "block": ("block", 1, _block),
    "device": ("device", 1, lambda words: words[0]),
    "compile": ("compile", 0, lambda words: True),
}
"""Word → name in `Style`, how many values follow, and what reads them."""
