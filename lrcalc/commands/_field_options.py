"""Options for what is held and its course in time: all that `lrcalc.fields` knows has one."""

import argparse
from typing import Any, Protocol

from lrcalc.commands._naming import flag, naming
from lrcalc.fields import COURSES, KINDS, TABLE, Field


class Group(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Declare one option."""


OPTIONS = {name: f"--{kind.option}" for name, kind in TABLE.items()}
"""Kind of field → its short option; the long one is spelt like the kind."""

NUMBERS = {
    f"{name}.{number.name}": f"--{name}{f' {number.name}' if len(course.numbers()) > 1 else ''}"
    for name, course in COURSES.items()
    for number in course.numbers()
}
"""Number of a course → the option that sets it."""


def add_field_arguments(group: Group, note: str = "") -> None:
    """Declare an option for each kind of field; `note` is added to the help of those in x, y, z."""
    for name, kind in TABLE.items():
        group.add_argument(
            OPTIONS[name], flag(name), dest=name, type=float, nargs=3,
            metavar=tuple(kind.axes.upper()),
            help=f"{kind.meaning}, {kind.unit}{note if kind.axes == 'xyz' else ''}",
        )  # fmt: skip


def add_course_arguments(group: Group) -> None:
    """Declare an option for each course in time."""
    for name, course in COURSES.items():
        numbers = course.numbers()
        units = ", ".join(f"{n.name} in {n.metadata['unit']}" for n in numbers)
        about = (course.__doc__ or "").splitlines()[0].rstrip(".")
        group.add_argument(
            f"--{name}", type=float, nargs=len(numbers),
            metavar=tuple(n.name.upper() for n in numbers),
            help=f"{about[0].lower()}{about[1:]}; {units}",
        )  # fmt: skip


def given_field(args: argparse.Namespace) -> Field | None:
    """Return what is held, with its course; None if nothing is.

    Raises
    ------
    ValueError
        For two kinds, numbers that make no sense, or a course of nothing; the option is named.
    """
    with naming(OPTIONS | NUMBERS):
        held = Field.from_arguments(**{name: getattr(args, name) for name in KINDS})
        name = given_course(args)
        if name is None:
            return held
        if held is None:
            raise ValueError(f"{_listed(COURSES, 'and')} need {_listed(TABLE, 'or')}")
        return Field(held.kind, COURSES[name](held.value, *getattr(args, name)))


def given_course(args: argparse.Namespace) -> str | None:
    """Name of the course that was given."""
    return next((name for name in COURSES if getattr(args, name) is not None), None)


def _listed(names: Any, word: str) -> str:
    options = [OPTIONS.get(name, f"--{name}") for name in names]
    return f"{', '.join(options[:-1])} {word} {options[-1]}"


def as_given(args: argparse.Namespace) -> str:
    """Spell what is held as it was asked for: ``--field 0.0 0.0 0.1 --ramp 5.0``."""
    names = [name for name in (*KINDS, *COURSES) if getattr(args, name) is not None]
    words = [
        f"{OPTIONS.get(name, f'--{name}')} {' '.join(map(str, getattr(args, name)))}"
        for name in names
    ]
    return " ".join(words) or "nothing"
