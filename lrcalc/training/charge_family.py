"""Which charges a model is given: a family (`lrcalc train --charges`), and what ions carry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from lrcalc.models.readout import Readout
from lrcalc.training.data import Frame
from lrcalc.training.electrical import Labelled
from lrcalc.training.label_units import OPTION
from lrcalc.training.slopes import Slope, slope

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential

AUTO = "auto"
"""Choice that leaves it to the data."""

REASONS = {
    "atomic": "all training structures are open, where atomic charges are exact too and learn more "
    "of the dipoles",
    "local": "some training structures are periodic, where only local charges have an energy in a "
    "field",
}
"""Family → why the data ask for it."""


def choose_charges(choice: str, frames: Sequence[Frame], level: str) -> tuple[str, str | None]:
    """Return the family of charges, and why where the data decide.

    Atomic charges in open structures have an exact enthalpy (physics §4) and learn dipoles sooner
    (docs/local-charges.md); in periodic ones only local charges have one.

    Parameters
    ----------
    choice : {"auto", "local", "atomic"}
    frames : sequence of Frame
        Training frames.
    level : str
        Without charges ("sr") there is nothing to say.
    """
    if choice != AUTO:
        return choice, None
    periodic = any(bool(frame.system.pbc.any()) for frame in frames)
    family = "local" if periodic else "atomic"
    return family, None if level == "sr" else REASONS[family]


OXIDATION = "oxidation_states"
"""Entry of a card: symbol → charge (e) that its atoms carry through a periodic cell, held fixed."""


def parse_oxidation(words: Sequence[str]) -> dict[str, float]:
    """``["H=1", "O=-2"]`` → ``{"H": 1.0, "O": -2.0}``.

    Raises
    ------
    ValueError
        For what is no symbol or no finite number, and for a symbol that comes twice.
    """
    states: dict[str, float] = {}
    for word in words:
        symbol, _, value = word.partition("=")
        try:
            if symbol not in atomic_numbers or symbol in states or not math.isfinite(float(value)):
                raise ValueError
            states[symbol] = float(value)
        except ValueError:
            raise ValueError(
                f"`--oxidation-states` has {word!r} but must be symbols, each once, "
                "and charges: H=1 O=-2"
            ) from None
    return states


def check_oxidation(
    states: Mapping[str, float], charges: str, level: str, frames: Sequence[Frame]
) -> None:
    """Refuse oxidation states where nothing could carry them, or that do not fit the frames."""
    if not states:
        return
    if charges != "local" or level not in ("q", "u", "uQ"):
        raise ValueError(
            f"`--oxidation-states` are what local charges of levels q, u and uQ carry through a "
            f"cell, and these are {charges} charges of level {level}; leave them out"
        )
    for frame in frames:
        symbols = [chemical_symbols[z] for z in frame.system.numbers.tolist()]
        missing = sorted(set(symbols) - set(states))
        if missing:
            raise ValueError(f"`--oxidation-states` say nothing of {', '.join(missing)}")
        total = sum(states[symbol] for symbol in symbols)
        if abs(total - float(frame.system.total_charge.sum())) > 1e-6:
            raise ValueError(
                f"`--oxidation-states` sum to {total:g} e in a training frame whose total charge "
                f"is {float(frame.system.total_charge.sum()):g} e"
            )


def check_seen(states: Mapping[str, float], frames: Sequence[Frame]) -> None:
    """Refuse oxidation states of species that no frame has: a slip of the pen."""
    there = {chemical_symbols[z] for frame in frames for z in frame.system.numbers.tolist()}
    if unseen := sorted(set(states) - there):
        raise ValueError(
            f"`--oxidation-states` are given of {', '.join(unseen)}, which no training frame has"
        )


OPPOSITE = -0.5
"""Correlation of labels with oxidation states below which they have the other sign."""

TELLS = 0.1
"""Part of the size of what oxidation states make, from which on the sign of labels says something:
of CO, whose dipole is that of C⁻O⁺, it is 0.01, of water 0.3."""


def check_signs(states: Mapping[str, float], labelled: Sequence[Labelled]) -> None:
    """Refuse Born charges and dipoles whose sign is opposite to that of oxidation states.

    Raises
    ------
    ValueError
        With both, and how to turn either.
    """
    if not states:
        return
    born, dipoles = born_pair(states, labelled), dipole_pair(states, labelled)
    for name, label, made in (("Born charges", *born), ("dipoles", *dipoles)):
        found = slope(label, made)
        if not is_opposite(found):
            continue
        raise ValueError(
            f"the {name} of the labels have the sign opposite to that of the oxidation states "
            f"{in_words(states)} (correlation {found.correlation:.2f}, {found.ratio:.2g} times "
            f"what these make): {OPTION} born=-e dipole=-eA turns the sign of labels that count "
            "electrons positive (where it was given, leave it out); if it is the states that are "
            "wrong, they are given where a model is trained, which keeps them"
        )


def odd_signs(states: Mapping[str, float], labelled: Sequence[Labelled]) -> list[str]:
    """Say how many frames have Born charges of the other sign than oxidation states, in a line.

    Where all together have it, `check_signs` refuses them.
    """
    with_born = [one for one in labelled if "born" in one.labels] if states else []
    odd = [
        one.frame
        for one in with_born
        # those of one element sum to the total charge, whatever their sign
        if len(set(one.system.numbers.tolist())) > 1
        and is_opposite(slope(*born_pair(states, [one])))
    ]
    if not odd:
        return []
    path, index = min(odd)
    return [
        f"the Born charges of {len(odd)} of {len(with_born)} frames that have some have the sign "
        f"opposite to that of the oxidation states {in_words(states)}, the first: {path}, frame "
        f"{index}; they are learned as they are: turn the sign of these labels, or leave the "
        "frames out"
    ]


def is_opposite(found: Slope) -> bool:
    """Whether labels go against oxidation states, and are large enough for that to tell."""
    return found.correlation <= OPPOSITE and abs(found.ratio) >= TELLS


def in_words(states: Mapping[str, float]) -> str:
    """Oxidation states as they are given: ``H=1 O=-2``."""
    return " ".join(f"{symbol}={charge:g}" for symbol, charge in states.items())


def born_pair(
    states: Mapping[str, float], labelled: Sequence[Labelled]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean Born charges of species, e, and their states, each as often as its atoms there are."""
    found: dict[str, list[float]] = {}
    for one in labelled:
        if "born" in one.labels:
            traces = one.labels["born"].diagonal(dim1=1, dim2=2).mean(1).tolist()
            for z, trace in zip(one.system.numbers.tolist(), traces, strict=True):
                found.setdefault(chemical_symbols[z], []).append(trace)
    weight = [len(values) ** 0.5 for values in found.values()]
    label = [np.mean(values) for values in found.values()]
    return np.multiply(weight, label), np.multiply(weight, [states[s] for s in found])


def dipole_pair(
    states: Mapping[str, float], labelled: Sequence[Labelled]
) -> tuple[np.ndarray, np.ndarray]:
    """Dipoles (e Å) of open structures and changes of those of crystals; what states make of them.

    Those of crystals are known modulo the quanta e·a, so only changes that are small beside these
    count; those of molecules in a periodic cell are not small, and say nothing here.
    """
    label, made = [], []
    for one in labelled:
        whole = not bool(one.system.pbc.any())
        if "dipole" not in one.labels or not (whole or one.reference):
            continue
        charges = np.array([states[chemical_symbols[z]] for z in one.system.numbers.tolist()])
        places = one.system.positions.numpy()
        before = places.mean(0) if one.reference is None else one.reference[0].positions.numpy()
        moved, stated = charges @ (places - before), one.labels["dipole"].numpy()
        if whole:  # about the middle: those of ions hang on the origin
            stated = stated - charges.sum() * places.mean(0)
        else:
            quanta = one.system.cell[0].numpy()[one.system.pbc[0].numpy()]
            if np.linalg.norm(moved) > 0.5 * np.linalg.norm(quanta, axis=1).min():
                continue
            stated = stated - np.rint(stated @ np.linalg.pinv(quanta)) @ quanta
        label.append(stated)
        made.append(moved)
    return np.ravel(label), np.ravel(made)


def hold_oxidation(potential: Potential) -> None:
    """Give the constant charges of species the oxidation states of the card, and hold them there.

    What is handed to neighbours is taken back on the way through a cell, so these constants are
    what diffusing ions conduct with (Grasselli and Baroni, Nat. Phys. 15, 967 (2019)); forces and
    Born charges at single positions hardly tell them.
    """
    states = potential.metadata.get(OXIDATION)
    if not states or not isinstance(potential.readout, Readout):
        return
    constants = potential.readout.species_charge
    values = [states[chemical_symbols[z]] / potential.screening for z in potential.species]
    with torch.no_grad():
        constants.copy_(torch.tensor(values, dtype=constants.dtype))
    constants.requires_grad_(False)
