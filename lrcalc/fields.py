"""Fields: E, D or the voltages of a cell that are held, constant or along a `lrcalc.courses`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lrcalc.courses import COURSES, Chirp, Course, Cycle, Pulse, Ramp, Vector, as_vector, number

__all__ = [
    "COURSES", "DISPLACEMENT", "FIELD", "KINDS", "TABLE", "VOLTAGE", "Chirp", "Course", "Cycle",
    "Field", "Kind", "Pulse", "Ramp", "Vector", "as_vector", "at_time", "check_field", "number",
]  # fmt: skip

FIELD, DISPLACEMENT, VOLTAGE = "electric_field", "electric_displacement", "reduced_field"
"""What can be held; the reduced field is the voltage E·a along each lattice vector a."""


class Kind(NamedTuple):
    """What is known of a kind of field.

    Attributes
    ----------
    unit : str
    symbol, name : str
        For people: in an equation, in a sentence.
    option : str
        Of commands, without its dashes.
    axes : str
        Along which its components are: "xyz", which do not turn with a structure, or "abc".
    meaning : str
        For the help of commands.
    """

    unit: str
    symbol: str
    name: str
    option: str
    axes: str
    meaning: str


TABLE = {
    FIELD: Kind("V/Å", "E", "field E", "field", "xyz", "electric field E"),
    DISPLACEMENT: Kind(
        "e/Å²", "D", "electric displacement D", "displacement", "xyz", "electric displacement D"
    ),
    VOLTAGE: Kind(
        "V", "voltage", "voltage", "voltage", "abc",
        "E·a along each lattice vector a; what to hold when the cell changes (npt)",
    ),
}  # fmt: skip
"""Name → what is known of it."""

KINDS = {name: kind.unit for name, kind in TABLE.items()}
"""Name → unit."""


@dataclass(frozen=True, init=False, repr=False)
class Field:
    """One of E, D and the voltages, constant or a function of time; "no field" is None.

    Immutable, hashable, equal by value; picklable unless it holds a function that is not.

    Parameters
    ----------
    kind : str
        Among `KINDS`.
    value : array-like (3,), or callable
        Three numbers in the unit of the kind, or a function of the time in fs that returns them
        (a `Course` is one). A function is checked whenever it is called.

    Raises
    ------
    ValueError
        For an unknown kind, what are not three finite numbers, or a course that makes no sense.

    Examples
    --------
    >>> from lrcalc.fields import Field, Ramp
    >>> print(Field("electric_field", (0, 0, 0.1)))
    E = (0, 0, 0.1) V/Å
    >>> ramp = Field("electric_field", Ramp((0, 0, 0.1), 100.0))
    >>> print(ramp)
    E = (0, 0, 0.1) V/Å, ramp (duration 100 fs)
    >>> ramp.at(50.0).value
    (0.0, 0.0, 0.05)
    """

    kind: str
    source: Vector | Callable[[float], Any]

    def __init__(self, kind: str, value: Any) -> None:
        if kind not in KINDS:
            raise ValueError(f"`kind` of a field is {kind!r} but must be one of {list(KINDS)}")
        if value is None:
            raise ValueError(f"`{kind}` is None, which is no field; use None instead of the Field")
        if isinstance(value, Field):
            raise ValueError(f"`{kind}` is {value!r}, a Field already: give it as `field`")
        if isinstance(value, Course):
            value.check(KINDS[kind])
        object.__setattr__(self, "kind", kind)
        object.__setattr__(
            self, "source", value if callable(value) else as_vector(value, kind, KINDS[kind])
        )

    @classmethod
    def from_arguments(
        cls,
        electric_field: Any = None,
        electric_displacement: Any = None,
        reduced_field: Any = None,
        *,
        field: Field | None = None,
    ) -> Field | None:
        """Return the one that is given, perhaps as a `Field` already; None if none is.

        Raises
        ------
        ValueError
            If two are given, or the value is refused.
        """
        values = (electric_field, electric_displacement, reduced_field)
        given = {kind: cls(kind, v) for kind, v in zip(KINDS, values, strict=True) if v is not None}
        if field is not None:
            given = {"field": check_field(field), **given}
        if len(given) > 1:
            one, other, *_ = given
            raise ValueError(
                f"`{one}` and `{other}` are both given, but exclude each other: "
                "leave one of them out"
            )
        return next(iter(given.values()), None)

    @property
    def unit(self) -> str:
        """Of the value."""
        return KINDS[self.kind]

    @property
    def varies(self) -> bool:
        """Whether it depends on time."""
        return callable(self.source)

    @property
    def cartesian(self) -> bool:
        """Whether it is along x, y, z, and does not turn with a structure or follow its cell."""
        return TABLE[self.kind].axes == "xyz"

    def at(self, time: float) -> Field:
        """Return the constant field of a time in fs.

        Raises
        ------
        ValueError
            If the function cannot be called, or does not return three finite numbers.
        """
        if not callable(self.source):
            return self
        return Field(self.kind, at_time(self.kind, self.source, time))

    @property
    def value(self) -> Vector:
        """Three numbers of a constant field; of one that varies, ask `at` a time."""
        if callable(self.source):
            raise ValueError(f"{self} depends on time: it has a value `at(time)` only")
        return self.source

    @property
    def array(self) -> np.ndarray:
        """Value as float64 (3,), read-only."""
        array = np.array(self.value)
        array.flags.writeable = False  # changing it in place would pass by whoever holds it
        return array

    @property
    def amplitude(self) -> Vector | None:
        """Value of a constant field, amplitude of a course, None of another function of time."""
        if isinstance(self.source, Course):
            return self.source.amplitude
        return None if callable(self.source) else self.source

    def turned(self, rotation: np.ndarray) -> Field:
        """Return the field as it is for a structure turned by ``rotation`` (3, 3): new = R old.

        Voltages turn with the structure and stay as they are.
        """
        if not self.cartesian:
            return self
        if isinstance(self.source, Course):
            return Field(self.kind, self.source.turned(rotation))
        if callable(self.source):
            function = self.source
            return Field(self.kind, lambda time: rotation @ np.asarray(function(time)))
        return Field(self.kind, rotation @ self.array)

    def __str__(self) -> str:
        """For people: symbol, value, unit and course."""
        if self.amplitude is None:
            return f"{TABLE[self.kind].symbol} = a function of time, {self.unit}"
        vector = ", ".join(f"{x:g}" for x in self.amplitude)
        course = f", {self.source}" if self.varies else ""
        return f"{TABLE[self.kind].symbol} = ({vector}) {self.unit}{course}"

    def __repr__(self) -> str:
        """As it is made."""
        return f"Field({self.kind!r}, {self.source!r})"


def check_field(field: Any) -> Field:
    """Return ``field``; refuse what is no `Field`."""
    if not isinstance(field, Field):
        raise ValueError(
            f"`field` is {field!r} but must be a lrcalc.Field, such as "
            "Field('electric_field', (0, 0, 0.1)), or None"
        )
    return field


def at_time(name: str, function: Callable[[float], Any], time: float) -> Any:
    """Value of a time-dependent field; it has to have one."""
    try:
        value = function(time)
    except TypeError as error:
        raise ValueError(
            f"`{name}` is a function that cannot be called with the time in fs as its only "
            f"argument: {error}"
        ) from error
    if value is None:
        raise ValueError(
            f"`{name}` returned None at time {time:g} fs but must return three numbers; does the "
            "function lack a `return`?"
        )
    return value
