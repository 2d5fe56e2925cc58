"""The words behind `pair_style lrcalc` in an input that is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.electrostatics.validate import check_accuracy
from lrcalc.fields import Field
from lrcalc.lammps.kinds import WORD, Kind

STYLE_WORDS = {
    "dtype": "dtype", "accuracy": "accuracy", "epsilon_infinity": "epsilon", "device": "device",
    "block": "block", "compile": "compile",
}  # fmt: skip
"""Settings of the model → words of `pair_style lrcalc`."""


def style_words(
    model: str,
    workdir: Path,
    field: Field | None,
    settings: dict[str, Any],
    plan: Kind,
    charge: float,
) -> str:
    """Words behind `pair_style lrcalc`.

    Raises
    ------
    ValueError
        For a setting that does not exist or is out of range, or a path that LAMMPS cannot read.
    """
    words = [_quoted(_model_from(workdir, model))]
    if field is not None:
        words += [WORD[field.kind], *(f"{x:.16g}" for x in field.value)]
    given = {"dtype": plan.dtype} | {k: v for k, v in settings.items() if v is not None}
    unknown = sorted(set(given) - set(STYLE_WORDS))
    if unknown:
        raise ValueError(f"`settings` has {unknown[0]!r}, but knows {', '.join(STYLE_WORDS)}")
    if given["dtype"] not in ("float32", "float64"):
        raise ValueError(f"`dtype` is {given['dtype']!r}, but the choice is float32 or float64")
    if "accuracy" in given:
        check_accuracy(given["accuracy"])
    epsilon = given.get("epsilon_infinity")
    if epsilon is not None and not (np.isfinite(epsilon) and epsilon >= 1.0):
        raise ValueError(f"`epsilon_infinity` is {epsilon} but must be a number from 1 on")
    for name, usual in (("device", "cpu"), ("compile", False)):
        if given.get(name) == usual:
            del given[name]
    for name, word in STYLE_WORDS.items():
        if name in given:
            value = given[name]
            if value is True:  # the word alone
                words.append(word)
                continue
            words += [word, f"{value:.10g}" if isinstance(value, float) else str(value)]
    if charge:
        words += ["charge", f"{charge:.12g}"]
    return " ".join(words)


def _model_from(workdir: Path, model: str) -> str:
    """Return a model as it is found from where LAMMPS runs."""
    if os.sep not in model and not model.endswith(".pt"):
        return model
    return str(Path(model).resolve()) if workdir.resolve() != Path.cwd() else model


def _quoted(word: str) -> str:
    if any(mark in word for mark in "\"'$&#"):
        raise ValueError(
            f"`model` is {word!r}, but LAMMPS cannot read \" ' $ & # in it: rename the file or "
            "folder"
        )
    return f'"{word}"' if " " in word else word
