"""The score that was asked for by name, made ready: one way in for runs, i-PI and trajectories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrcalc.information.actions import EVERY, SCORES
from lrcalc.information.committee import Committee
from lrcalc.information.feature_reference import make_features
from lrcalc.information.given import names_given
from lrcalc.information.intake import frames_of_file, kind_is_model, open_reference

if TYPE_CHECKING:
    from lrcalc.evaluator import Evaluator
    from lrcalc.information.features import FeatureReference
    from lrcalc.information.judging import Judge
    from lrcalc.models.potential import Potential

Name = str | os.PathLike[str]


def check_score(score: str | None, committee: Sequence[Name] | None) -> str:
    """Return the score that is meant: δH, or the committee where one is given.

    Raises
    ------
    ValueError
        For an unknown score, or a committee that another score would not look at.
    """
    if score is None:
        return "committee" if committee else SCORES[0]
    if score not in SCORES:
        raise ValueError(f"`score` is {score!r} but must be one of {', '.join(SCORES)}")
    if committee and score != "committee":
        raise ValueError(
            f"`committee` has no effect on the score {score!r}: leave one of the two out"
        )
    return score


def open_judge(
    score: str | None,
    names: Name | Sequence[Name],
    *,
    own: Evaluator | None = None,
    own_name: Name = "",
    committee: Name | Sequence[Name] = (),
    limit: float | None = None,
) -> Judge:
    """Make a score ready.

    Parameters
    ----------
    score : {"delta-h", "features", "committee"} or None
        None: the committee, if there is one, and δH else.
    names : path-like, or sequence
        A model that carries a reference, or data files taken together.
    own : Evaluator, optional
        Of the run: its backbone's features are compared with data, and it is one of the committee.
    own_name : str or path-like, optional
        Of its model.
    committee : path-like, or sequence, optional
        Models beside the run's own; one that is the run's own again is not counted twice.
    limit : float, optional
        Of the score of an atom (nats; eV/Å for a committee) in place of what data give.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that are missing or cannot be read, a model without the reference that is needed,
        data without a model, a committee of one, of other species or cutoffs, or without limits.
    """
    names, committee = names_given(names), names_given(committee)
    score = check_score(score, committee)
    if score == "delta-h":
        judge: Judge = open_reference(names)
    elif score == "features":
        judge = _features(names, own, own_name)
    else:
        judge = _committee(names, own, own_name, committee, limit)
    return judge if limit is None else judge.with_limit(limit)


def told_whose(judge: Judge, names: Sequence[Name], score: str) -> str:
    """Say of whom a score is, for messages."""
    if score == "committee":
        return "the models " + ", ".join(map(repr, judge.described["members"]))
    if len(names) == 1 and kind_is_model(names[0]):
        return f"the model {os.fspath(names[0])!r}"
    return ", ".join(os.fspath(name) for name in names)


def usual_stride(score: str, committee: Sequence[Name] = ()) -> int:
    """Return steps from look to look with which looks cost less than a twentieth of the run."""
    return EVERY * max(1, len(committee)) if score == "committee" else EVERY


def _features(names: Sequence[Name], own: Evaluator | None, own_name: Name) -> FeatureReference:
    from lrcalc.checkpoint import load

    if not names:
        raise ValueError("`reference` is empty: give data files, or a model that carries its own")
    models = [name for name in names if kind_is_model(name)]
    if models and len(names) > 1:
        raise ValueError(
            f"`reference` has the model {models[0]} beside others: give one model, or data"
        )
    if models:
        mine = own is not None and os.fspath(models[0]) == os.fspath(own_name)
        potential = own.potential if mine and own is not None else load(models[0])
        return features_of_model(potential, str(models[0]))
    if own is None:
        raise ValueError(
            "features are what a model makes of structures, and no `model` is given beside the "
            "data: give one, or a model that carries its reference in place of the data"
        )
    frames = [atoms for name in names for atoms in frames_of_file(name)]
    return make_features(own.potential, frames, about={"data": [Path(n).name for n in names]})


def features_of_model(potential: Potential, name: str = "the model") -> FeatureReference:
    """Return the reference of features that a model carries.

    Raises
    ------
    ValueError
        If it has none, or one that is of other weights.
    """
    from lrcalc.information.features import FeatureReference

    content = (potential.environments or {}).get("features")
    if content is None:
        raise ValueError(
            f"the model {name} carries no reference of its training features: add it with "
            f"`lrcalc reference {name} --data FILES -o NEW.pt`, or give the data here"
        )
    try:
        return FeatureReference.of_content(content, potential)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _committee(
    names: Sequence[Name], own: Evaluator | None, own_name: Name, committee: Sequence[Name],
    limit: float | None,
) -> Committee:  # fmt: skip
    from lrcalc.evaluator import Evaluator

    if own is None:
        members, called = [], []
        device, dtype, compiled, charged = "cpu", "float32", False, True
    else:
        members, called = [own], [os.fspath(own_name)]
        device, dtype = own.device, str(own.potential.dtype).removeprefix("torch.")
        compiled, charged = own.compile, own.allow_net_charge
    for name in committee:
        if own is not None and os.fspath(name) == os.fspath(own_name):
            continue
        members.append(
            Evaluator(name, device=device, dtype=dtype, compile=compiled, allow_net_charge=charged)
        )
        called.append(os.fspath(name))
    found = Committee(members, called, own)
    if limit is not None:
        return found
    data = [name for name in names if not kind_is_model(name)]
    if not data:
        raise ValueError(
            "the committee has no limits: give data whose frames say how well its members agree, "
            "or a `limit` in eV/Å"
        )
    frames = [atoms for name in data for atoms in frames_of_file(name)]
    return found.calibrated(frames, {"data": [Path(name).name for name in data]})
