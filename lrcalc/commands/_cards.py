"""What the cards of the models that made a run say to those who analyse it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrcalc.analysis.intake import Data
    from lrcalc.models.potential import Potential


def of_model(name: str) -> float:
    """ε_∞ of a model."""
    from lrcalc.checkpoint import load

    return float(load(name).metadata["epsilon_infinity"])


def models_of(data: Data) -> list[Potential]:
    """Return the models that made the runs, as far as these are on this machine."""
    from lrcalc.checkpoint import load

    told = "" if data.conditions is None else data.conditions.model
    names = [(run.parameters.get("model", ""), run.folder) for run in data.runs]
    models: list[Potential] = []
    for name, folder in [*names, (told, Path())]:
        if name:
            beside = folder / name
            try:
                models.append(load(str(beside) if beside.is_file() else name))
            except (OSError, ValueError, KeyError, RuntimeError):
                continue  # of another machine, perhaps
    return models


def remarks_of_models(args: argparse.Namespace, data: Data) -> list[str]:
    """Return what the models that made the runs say of their charges, and of their dipoles."""
    from lrcalc.models.card import electric_notes

    given = args.epsilon_infinity if args.epsilon_infinity is not None else given_to_run(data)
    models = models_of(data)
    lines = [line for model in models for line in electric_notes(model.metadata, given)]
    if not getattr(args, "from_current", False):
        lines += remarks_of_dipoles(data)
    return list(dict.fromkeys(lines))


def remarks_of_dipoles(data: Data) -> list[str]:
    """Return what is to be said of dipoles whose derivatives are not the Born charges."""
    from lrcalc.models.card import dipole_warning

    told = [dipole_warning(m.config, where="unless the run was open, ") for m in models_of(data)]
    return list(dict.fromkeys(line for line in told if line))


def remarks_of_transport(data: Data) -> list[str]:
    """Return what the moments of the models that made the runs can carry through a cell.

    Of local charges an atom that has gone round a periodic cell has carried the part that stays on
    it, whatever its Born charge was on the way: what was handed to neighbours is taken back. So
    the conductivity of Born charges is that of these constants (Grasselli & Baroni, Nat. Phys. 15,
    967 (2019)). Matter is neutral: differences between species are all that counts.
    """
    from ase.data import chemical_symbols

    lines = []
    for model in models_of(data):
        if model.config.get("charges") != "local" or model.config.get("level") == "sr":
            continue
        if "oxidation_states" in model.metadata:  # they are what was asked for
            continue
        kept = getattr(model.readout, "species_charge", None)
        if kept is None or len(kept) < 2:
            continue
        charges = [model.screening * float(q) for q in kept]
        first = chemical_symbols[model.species[0]]
        others = ", ".join(
            f"{q - charges[0]:+.2g} e ({chemical_symbols[z]})"
            for z, q in zip(model.species[1:], charges[1:], strict=True)
        )
        lines.append(
            "the current of a model with local charges conducts as if each atom carried a "
            f"constant: against {first}, {others}, where it should be the difference of oxidation "
            "states. Where ions diffuse, take velocities and these: --charges, e.g. O=-2,H=1"
        )
    return list(dict.fromkeys(lines))


def remarks_of_response(data: Data) -> list[str]:
    """Return what the cards of the models that made the runs lack for polarizabilities.

    A surface was taught computed ones, which hang on no ε_∞.
    """
    from lrcalc.models.card import permittivity_notes

    if given_to_run(data) is not None:
        return []
    cards = [m.metadata for m in models_of(data) if "polarizability" not in m.metadata]
    return list(dict.fromkeys(line for card in cards for line in permittivity_notes(card)))


def given_to_run(data: Data) -> float | None:
    """ε_∞ that a run was given, whatever the card of its model says; None if it was not."""
    told: list[str | float | None] = [r.parameters.get("epsilon_infinity") for r in data.runs]
    if data.conditions is not None and data.conditions.epsilon_infinity != 1.0:
        told.append(data.conditions.epsilon_infinity)
    return next((float(value) for value in told if value is not None), None)
