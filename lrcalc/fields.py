"""Fields: E, D or the voltages of a cell that are held, constant or along a course in time.

A course is an amplitude times a number that depends on time, `Course.shape`. Another one (a
boundary condition in time) is another class here with its name in `COURSES`; calculators,
`lrcalc.dynamics`, the accounts of work and the options of `lrcalc md` then have it. Any function of
time serves as well, but only courses say what they are, are equal when their numbers are, and can
be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field as Number
from dataclasses import dataclass, field, fields, replace
from math import cos, exp, isfinite, pi, sin
from typing import Any, NamedTuple, Self

import numpy as np

from lrcalc.units import WAVENUMBER_TO_ANGULAR

Vector = tuple[float, float, float]

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
        given = [cls(kind, v) for kind, v in zip(KINDS, values, strict=True) if v is not None]
        if field is not None:
            given.insert(0, check_field(field))
        if len(given) > 1:
            raise ValueError(
                f"`{given[0].kind}` and `{given[1].kind}` are both given, but exclude each other: "
                "keep one of them and leave the other out (None)"
            )
        return given[0] if given else None

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


def as_vector(value: Any, name: str, unit: str) -> Vector:
    """Return three finite numbers; refuse scalars, other shapes and NaN."""
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.full(1, np.nan)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(
            f"`{name}` is {value!r} but must be three finite numbers in {unit}, for instance "
            "(0, 0, 0.1)"
        )
    x, y, z = vector.tolist()
    return (x, y, z)


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


def number(unit: str, *, default: Any = ..., positive: bool = False, least: float = -np.inf) -> Any:
    """One number of a course: its unit and its range, which `Course.check` knows."""
    metadata = {"unit": unit, "positive": positive, "least": least}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Course:
    """A field that depends on time: ``amplitude * shape(time)``.

    Attributes
    ----------
    amplitude : tuple of float, length 3
        In the unit of the field.
    """

    amplitude: Vector

    def __post_init__(self) -> None:
        """Make it hashable."""
        if isinstance(self.amplitude, Sequence | np.ndarray):
            object.__setattr__(self, "amplitude", tuple(self.amplitude))

    def shape(self, time: float) -> float:
        """Return the factor at a time in fs."""
        raise NotImplementedError

    def __call__(self, time: float) -> Vector:
        """Return the field at a time in fs."""
        factor = self.shape(time)
        x, y, z = self.amplitude
        return (x * factor, y * factor, z * factor)

    def turned(self, rotation: np.ndarray) -> Self:
        """Return the course with its amplitude turned by a matrix (3, 3)."""
        return replace(self, amplitude=tuple((rotation @ np.array(self.amplitude)).tolist()))

    @classmethod
    def name(cls) -> str:
        """Name of the course, as in `COURSES`."""
        return cls.__name__.lower()

    @classmethod
    def numbers(cls) -> tuple[Number[Any], ...]:
        """Numbers that it has beside the amplitude, in their order."""
        return fields(cls)[1:]

    def check(self, unit: str) -> None:
        """Refuse numbers that make no sense; the unit is that of the amplitude."""
        as_vector(self.amplitude, f"{self.name()}.amplitude", unit)
        for entry in self.numbers():
            value, range_ = getattr(self, entry.name), entry.metadata
            if value is None and entry.default is None:
                continue
            if range_["positive"]:
                right, words = value > 0, "positive"
            else:
                right, words = value >= range_["least"], f"{range_['least']:g} or more"
            if not (right and isfinite(value)):
                # without a bound only NaN and infinities are wrong
                words = "" if words == "-inf or more" else f"{words} and "
                without = "; leave it out for none" if entry.default is None else ""
                raise ValueError(
                    f"`{self.name()}.{entry.name}` is {value:g} {range_['unit']} but must be "
                    f"{words}finite{without}"
                )

    def __str__(self) -> str:
        """For people, without the amplitude."""
        told = [
            f"{n.name} {value:g} {n.metadata['unit']}"
            for n in self.numbers()
            if (value := getattr(self, n.name)) is not None
        ]
        return f"{self.name()} ({', '.join(told)})"


@dataclass(frozen=True)
class Ramp(Course):
    """Raised linearly from zero at time 0, constant after `duration` (fs)."""

    duration: float = number("fs", positive=True)

    def shape(self, time: float) -> float:
        """``min(t / duration, 1)``."""
        return min(time / self.duration, 1.0)


@dataclass(frozen=True)
class Cycle(Course):
    """Sinusoidal from zero at time 0, with a `period` in fs."""

    period: float = number("fs", positive=True)

    def shape(self, time: float) -> float:
        """``sin(2π t / period)``."""
        return sin(2 * pi * time / self.period)


@dataclass(frozen=True)
class Pulse(Course):
    """A cosine under a Gaussian, or without an end.

    Attributes
    ----------
    frequency : float
        Wavenumber, cm⁻¹.
    peak, width : float
        fs; the envelope is ``exp(-(t - peak)²/(2 width²))``. Without a width there is none, and
        the field stays on.
    """

    frequency: float = number("cm⁻¹", default=0.0, least=0.0)
    peak: float = number("fs", default=0.0)
    width: float | None = number("fs", default=None, positive=True)

    def shape(self, time: float) -> float:
        """``cos(2π c ν t) exp(-(t - peak)²/(2 width²))``."""
        wave = cos(WAVENUMBER_TO_ANGULAR * self.frequency * time)
        if self.width is None:
            return wave
        return wave * exp(-0.5 * ((time - self.peak) / self.width) ** 2)

    def check(self, unit: str) -> None:
        """Refuse a peak without an envelope too."""
        super().check(unit)
        if self.width is None and self.peak != 0.0:
            raise ValueError(
                f"`pulse.peak` is {self.peak:g} fs, but without `pulse.width` the field has no"
                " envelope and no peak: give a width, or leave the peak out"
            )


@dataclass(frozen=True)
class Chirp(Course):
    """A wave that sweeps from one wavenumber to another, swelling and fading, over a time.

    One run then sees the response at all frequencies between the two.
    """

    start: float = number("cm⁻¹", least=0.0)
    stop: float = number("cm⁻¹", least=0.0)
    duration: float = number("fs", positive=True)

    def shape(self, time: float) -> float:
        """``sin(2π c (ν_0 t + (ν_1 - ν_0) t²/2T)) sin²(π t/T)``, zero before 0 and after T."""
        if not 0.0 < time < self.duration:
            return 0.0
        mean = self.start + (self.stop - self.start) * time / (2 * self.duration)
        wave = sin(WAVENUMBER_TO_ANGULAR * mean * time)
        return wave * sin(pi * time / self.duration) ** 2


COURSES: dict[str, type[Course]] = {course.name(): course for course in (Chirp, Pulse, Ramp, Cycle)}
"""Name → course."""
