"""Courses: fields that depend on time, as an amplitude times a number, `Course.shape`.

Another one (a boundary condition in time) is another class here with its name in `COURSES`;
calculators, `lrcalc.dynamics`, the accounts of work and the options of `lrcalc md` then have it.
Any function of time serves as well, but only courses say what they are, are equal when their
numbers are, and can be pickled. `lrcalc.fields` has their names too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field as Number
from dataclasses import dataclass, field, fields, replace
from math import cos, exp, isfinite, pi, sin
from typing import Any, Self

import numpy as np

from lrcalc.units import WAVENUMBER_TO_ANGULAR

Vector = tuple[float, float, float]


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
            if not isinstance(value, int | float | np.number):
                raise ValueError(
                    f"`{self.name()}.{entry.name}` is {value!r} but must be a number in "
                    f"{range_['unit']}"
                )
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
