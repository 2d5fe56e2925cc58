"""The settings of a driver, as i-PI passes them on: words and numbers, split on commas."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from lrcalc import zoo
from lrcalc.fields import KINDS, Field
from lrcalc.information.actions import ACTIONS, SCORES
from lrcalc.properties import extras
from lrcalc.structures import describe_intake, read_structure, total_charge


class DriverSettings(NamedTuple):
    """What a driver computes. Field in V/Å, displacement in e/Å², reduced field in V.

    `electric_field`, `electric_displacement` and `reduced_field` (the voltages E·a along the
    lattice vectors) exclude each other. `extras` names what goes into
    the extras string of each bead. `virial` False leaves the stress out, which only a run at
    constant pressure needs. `exit_file` is the file that stops i-PI (``EXIT`` in the folder it
    runs in): the driver makes it when it has to refuse a force. Frames with a force above
    `max_force` (eV/Å) are refused too, when they are the first that a driver sees: the species
    are probably in another order. Zero turns this off. Structures are evaluated together up to
    `atoms_per_call` atoms; zero is no limit. None takes 1000 on a CPU, where larger batches leave
    the cache (192 atoms: 31 ms alone, 26 ms each by four, 58 ms by 32), and no limit elsewhere.
    With `watch` ("model", a model, or a file of data) every `watch_every`-th call looks at how far
    a bead is from these data (`lrcalc.ipi.watch`); `watch_action` is warn, stop or save;
    `watch_score` is delta-h, features or committee, of the run's model and those that
    `watch_committee` names; `watch_limit` takes the place of the limits of the data. Without a
    stride it is the usual one of the score.
    `compile` is as for `lrcalc.Evaluator`.
    """

    model: str = "water"
    template: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    electric_field: tuple[float, float, float] | None = None
    electric_displacement: tuple[float, float, float] | None = None
    reduced_field: tuple[float, float, float] | None = None
    epsilon_infinity: float | None = None
    extras: tuple[str, ...] = ()
    virial: bool = True
    exit_file: str = ""
    max_force: float = 50.0
    atoms_per_call: int | None = None
    watch: str = ""
    watch_every: int | None = None
    watch_action: str = ACTIONS[0]
    watch_score: str = SCORES[0]
    watch_committee: tuple[str, ...] = ()
    watch_limit: float | None = None
    compile: bool = False

    @property
    def field(self) -> Field | None:
        """What is held.

        Raises
        ------
        ValueError
            If two kinds are given.
        """
        return Field.from_arguments(**{name: getattr(self, name) for name in KINDS})

    def holding(self, field: Field | None) -> "DriverSettings":
        """Return the settings with another field."""
        held: dict[str, Any] = dict.fromkeys(KINDS)
        if field is not None:
            held[field.kind] = field.value
        return self._replace(**held)


DTYPES = ("float32", "float64")
"""Precisions of a model."""

IGNORED = ("verbosity", "verbose", "batch_size")
"""Words that i-PI itself adds."""


def parse_vector(name: str, value: Any) -> tuple[float, float, float] | None:
    """Three numbers from ``"0 0 0.1"`` (or with semicolons), a sequence, or None.

    Commas separate settings in i-PI, so they cannot separate components.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.replace(";", " ").replace(",", " ").strip(" []()")
        if text.lower() in ("", "none"):
            return None
        parts: list[Any] = text.split()
    else:
        parts = list(np.atleast_1d(value))
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not np.all(np.isfinite(numbers)):
        raise ValueError(f"`{name}` is {value!r} but must be three numbers, such as '0 0 0.1'")
    return (numbers[0], numbers[1], numbers[2])


def parse_extras(value: Any) -> tuple[str, ...]:
    """Names of extras from ``"dipole BEC"`` or a sequence."""
    words = value.replace(";", " ").replace(",", " ").split() if isinstance(value, str) else value
    names = tuple(word for word in words or () if word != "none")
    known = extras()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"`extras` has {unknown[0]!r}, but the choice is {', '.join(known)}")
    return names


def parse_flag(name: str, value: Any) -> bool:
    """Accept True/False as words, numbers or themselves."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    key = str(value).strip().lower()
    if key not in words:
        raise ValueError(f"`{name}` is {value!r} but must be True or False")
    return words[key]


def parse_number(name: str, value: Any, least: float) -> float:
    """Accept finite numbers that are not below `least`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number >= least):
        raise ValueError(f"`{name}` is {value!r} but must be a number, {least:g} or more")
    return number


def make_settings(values: Mapping[str, Any]) -> DriverSettings:
    """Check and convert settings given by name (see `DriverSettings`).

    Raises
    ------
    ValueError
        For a name that does not exist, a value that cannot be read, or two kinds of field.
    """
    given = {key: value for key, value in values.items() if key not in IGNORED}
    unknown = sorted(set(given) - set(DriverSettings._fields))
    if unknown:
        raise ValueError(
            f"unknown setting {unknown[0]!r} of the lrcalc driver:"
            f" the choice is {', '.join(DriverSettings._fields)}"
        )
    for name in KINDS:
        if name in given:
            given[name] = parse_vector(name, given[name])
    if "extras" in given:
        given["extras"] = parse_extras(given["extras"])
    for name in ("virial", "compile"):
        if name in given:
            given[name] = parse_flag(name, given[name])
    for name, least in (("epsilon_infinity", 1.0), ("max_force", 0.0), ("atoms_per_call", 0.0)):
        if given.get(name) is not None:
            given[name] = parse_number(name, given[name], least)
    if given.get("atoms_per_call") is not None:
        given["atoms_per_call"] = int(given["atoms_per_call"])
    for name in ("model", "template", "device", "dtype", "exit_file", "watch", "watch_action",
                 "watch_score"):  # fmt: skip
        if name in given:
            given[name] = str(given[name])
    _parse_watch(given)
    if given.get("dtype", "float32") not in DTYPES:
        raise ValueError(f"`dtype` is {given['dtype']!r}, but the choice is {' or '.join(DTYPES)}")
    settings = DriverSettings(**given)
    _ = settings.field  # refuses two kinds
    return settings


def _parse_watch(given: dict[str, Any]) -> None:
    """Check and convert what is said about watching, in place."""
    if given.get("watch_every") is not None:
        given["watch_every"] = int(parse_number("watch_every", given["watch_every"], 1.0))
    if given.get("watch_limit") is not None:
        given["watch_limit"] = parse_number("watch_limit", given["watch_limit"], -np.inf)
    if "watch_committee" in given:
        named = given["watch_committee"]
        words = named.replace(";", " ").split() if isinstance(named, str) else named
        given["watch_committee"] = tuple(map(str, words))
        if given["watch_committee"]:
            given.setdefault("watch_score", "committee")
    for name, choice in (("watch_action", ACTIONS), ("watch_score", SCORES)):
        if given.get(name, choice[0]) not in choice:
            raise ValueError(f"`{name}` is {given[name]!r}, but the choice is {', '.join(choice)}")
    if given.get("watch_committee") and given["watch_score"] != "committee":
        raise ValueError(
            f"`watch_committee` has no effect on the score {given['watch_score']!r}: leave one of "
            "the two out"
        )
    usual = DriverSettings._field_defaults
    names = [n for n in usual if n.startswith("watch_") and given.get(n, usual[n]) != usual[n]]
    if names and not given.get("watch"):
        raise ValueError(f"`{names[0]}` has no effect without `watch`")


def merge_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> DriverSettings:
    """Take settings from two sources (command line and i-PI's INIT); they may not disagree."""
    one, two = make_settings(first), make_settings(second)
    for name in set(first) & set(second) & set(DriverSettings._fields):
        a, b = getattr(one, name), getattr(two, name)
        if a != b:
            raise ValueError(
                f"`{name}` is given twice, as {a!r} on the command line and as {b!r} in i-PI's"
                " <parameters>: remove one"
            )
    return make_settings({**first, **second})


def parse_init(text: str) -> dict[str, str]:
    """Names and values from the INIT string that i-PI makes of ``<parameters>``.

    It looks like ``model : water , extras : dipole , batch_size:4``.
    """
    values = {}
    for part in text.split(","):
        key, colon, value = part.partition(":")
        if colon and key.strip():
            values[key.strip()] = value.strip()
    return values


def format_parameters(settings: DriverSettings) -> str:
    """Write settings that differ from the default as i-PI's ``<parameters>``."""
    words = []
    for name, value in settings._asdict().items():
        if value == DriverSettings._field_defaults[name] and name != "model":
            continue
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if any(mark in text for mark in ",{}<>&"):
            raise ValueError(
                f"`{_given_as(name, text)}` is {text!r}, but i-PI cannot pass on any of the"
                " characters , { } < > &: rename the file or folder"
            )
        words.append(f"{name}: {text}")
    return "{ " + ", ".join(words) + " }"


def _given_as(name: str, path: str) -> str:
    """Name by which a user has given a setting: template and EXIT lie in the folder of the run."""
    whole = name in ("template", "exit_file") and os.sep in path
    return "workdir" if whole else name


def check_init(settings: DriverSettings) -> None:
    """Refuse what does not survive i-PI's INIT message, by which sockets get their settings.

    i-PI sends its length in characters and the text in UTF-8, where others are longer: the end is
    cut off, and read as the next message.

    Raises
    ------
    ValueError
        For a letter that is not of ASCII.
    """
    for name, value in settings._asdict().items():
        if isinstance(value, str) and not value.isascii():
            letters = "".join(sorted({c for c in value if not c.isascii()}))
            raise ValueError(
                f"`{_given_as(name, value)}` has {letters!r} in its path {value!r}, which i-PI"
                " cannot send over a socket (it counts characters, not bytes): use a path of ASCII"
                " letters, or transport ffdirect"
            )


def read_template(settings: DriverSettings) -> Atoms:
    """Read the structure that names the species, in the order in which i-PI has them.

    Accepts what ASE reads and i-PI's own xyz (whose cell is in the comment).
    """
    if not settings.template:
        raise ValueError(
            "`template` is missing: i-PI does not tell a driver which atoms it has, so give the"
            " structure file that i-PI starts from"
        )
    if not Path(settings.template).exists() and settings.template not in zoo.structures():
        raise FileNotFoundError(
            f"`template` {settings.template!r} does not exist in {Path.cwd()}:"
            " give the path of the structure file that i-PI starts from"
        )
    return read_structure(settings.template, argument="template")


def describe_template(template: Atoms) -> list[str]:
    """Say what of a template decides forces, charge and boundary; the rest is i-PI's business."""
    charge = total_charge(template, "`template`")
    bare = Atoms(
        template.numbers, template.positions, cell=template.cell, pbc=template.pbc,
        info={"charge": charge},
    )  # fmt: skip
    return describe_intake(bare)
