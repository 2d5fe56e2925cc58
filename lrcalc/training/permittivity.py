"""ε_∞ that the frames of a data set state, for the card of a model trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

KEYS = ("epsilon_infinity", "eps_infinity", "epsilon_inf", "eps_inf", "epsinf", "epsilon_infty",
        "dielectric_tensor", "high_frequency_dielectric", "epsilon_electronic",
        "optical_dielectric_constant", "optical_permittivity")  # fmt: skip
"""Entries that mean the electronic permittivity, in any case, also after ``REF_`` or ``DFT_``."""

STATIC_KEYS = ("epsilon_static", "eps_static", "epsilon_0", "eps_0", "static_dielectric",
               "static_permittivity")  # fmt: skip
"""Entries that mean the static permittivity, electrons and atoms."""

VOID = 100.0
"""Å³ an atom, from which on a cell is mostly empty; liquid caesium has 120, water 10."""

AGREE = 0.10
"""Relative spread of the means over frames that one constant of a model may stand for."""


class Permittivity(NamedTuple):
    """What the card says of ε_∞.

    Attributes
    ----------
    value : float
        Mean of the diagonal.
    origin : str
        Where it comes from, in words.
    lines : list of str
        What to tell the user.
    """

    value: float
    origin: str
    lines: list[str]


class Stated(NamedTuple):
    """What one frame states of ε_∞.

    Attributes
    ----------
    where : str
        File and frame.
    tensor : ndarray (3, 3) or None
    matter : bool
        Periodic in three directions, and no molecule in an empty box.
    """

    where: str
    tensor: np.ndarray | None
    matter: bool


def stated_permittivities(structures: Sequence[Atoms], path: str) -> list[Stated]:
    """Collect what the frames of a file state of ε_∞."""
    where = [f"{path}: frame {k}" for k in range(len(structures))]
    return [
        Stated(w, stated_permittivity(a, w), bool(a.pbc.all()) and a.get_volume() < VOID * len(a))
        for w, a in zip(where, structures, strict=True)
    ]


def stated_permittivity(atoms: Atoms, where: str) -> np.ndarray | None:
    """ε_∞ (3, 3) that a structure states, or None.

    Raises
    ------
    ValueError
        For anything but one number of at least 1, or a tensor with eigenvalues of at least 1.
    """
    return _stated(atoms, where, KEYS, "ε_∞")


def static_permittivity(atoms: Atoms, where: str) -> np.ndarray | None:
    """Return the static permittivity (3, 3) that a structure states, or None; errors as for ε_∞."""
    return _stated(atoms, where, STATIC_KEYS, "the static permittivity")


def _stated(atoms: Atoms, where: str, keys: Sequence[str], what: str) -> np.ndarray | None:
    results = {} if atoms.calc is None else atoms.calc.results
    for key, value in {**results, **atoms.info}.items():
        plain = str(key).lower().removeprefix("ref_").removeprefix("dft_")
        if plain not in keys or value is None:
            continue
        try:
            numbers = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.size in (1, 3):
            tensor = np.eye(3) * numbers
        elif numbers.size == 9:
            tensor = numbers.reshape(3, 3)
        else:
            tensor = np.full((3, 3), np.nan)
        lowest = np.linalg.eigvalsh(tensor + tensor.T).min() / 2 if np.isfinite(tensor).all() else 0
        if not lowest >= 0.999:
            raise ValueError(
                f"{where}: {key} is {np.asarray(value).tolist()} but must be {what}: one number of "
                "at least 1, three on the diagonal, or nine; correct or remove it"
            )
        return tensor
    return None


def permittivity_of(stated: Sequence[Stated], given: float | None, level: str) -> Permittivity:
    """ε_∞ for the card: what was given, else what the frames state, else 1.

    Parameters
    ----------
    stated : sequence of Stated
        By the frames of all training files.
    given : float or None
        By the user.
    level : str
        Of the model; without charges ("sr") nothing needs to be said.

    Raises
    ------
    ValueError
        If nothing was given and the frames disagree by more than `AGREE`.
    """
    said = [x for x in stated if x.tensor is not None]
    if not said:
        lines = []
        if given is None and level != "sr" and any(x.matter for x in stated):
            lines = [
                "note: ε_∞ is neither given (--epsilon-infinity) nor in the frames: the card says "
                "1, with which dipoles and Born charges of matter are too small by √ε_∞"
            ]
        origin = "given" if given is not None else "not given"
        return Permittivity(1.0 if given is None else given, origin, lines)
    tensors = np.array([x.tensor for x in said])
    means = tensors.trace(axis1=1, axis2=2) / 3
    mean, spread = float(means.mean()), float(np.ptp(means))
    states = f"the frames state ε_∞ {mean:.4g}"
    if spread > 1e-3 * mean:
        states += f" ({means.min():.4g} to {means.max():.4g})"
    if given is not None:
        agree = abs(given - mean) <= 0.02 * mean
        line = f"warning: {states}, but --epsilon-infinity {given:g} goes into the card"
        return Permittivity(given, "given", [] if agree else [line])
    if spread > AGREE * mean:
        low, high = said[int(means.argmin())].where, said[int(means.argmax())].where
        raise ValueError(
            f"{states}, lowest in {low} and highest in {high}, but a model has one: give it with "
            "--epsilon-infinity, or train on one material"
        )
    origin = f"mean of {len(said)} frames that state it"
    diagonal = tensors.mean(axis=0).diagonal()
    if np.ptp(diagonal) > 0.02 * mean:
        origin += f", diagonal {' '.join(f'{x:.3f}' for x in diagonal)}"
    return Permittivity(mean, origin, [f"note: ε_∞ {mean:.4g} is read from the frames ({origin})"])
