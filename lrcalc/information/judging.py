"""What every score of a structure has in common: two numbers an atom, their limits, their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


class Scores(NamedTuple):
    """How far the atoms of a structure are from a reference.

    Attributes
    ----------
    own : ndarray, shape (N,)
        δH of each environment (nats), or what `Labels` calls it.
    around : ndarray, shape (N,)
        The same of its surroundings: mean of δH beyond what is usual over the atom and its
        neighbours (nats), or what `Labels` calls it.
    outside : ndarray, shape (N,), bool
        Whether one of the two is beyond its limit.
    usual : ndarray, shape (N,), bool
        Whether ``own`` is below what 99 % of unseen training environments have.
    """

    own: np.ndarray
    around: np.ndarray
    outside: np.ndarray
    usual: np.ndarray


class Labels(NamedTuple):
    """Names of a score and of its two numbers.

    Attributes
    ----------
    score : str
        As in ``--score``.
    own, around : str
        What the numbers are.
    aside : str
        What follows the value of the second in a sentence.
    units : tuple of str
        Of the two.
    stems : tuple of str
        What the names of their columns begin with.
    saved : tuple of str
        Their names in the frames that a monitor saves.
    beyond, then : str
        Sentences of a warning: ``{atoms}``, ``{s}`` (of a verb, for one atom) and ``{whose}`` are
        filled in.
    """

    score: str
    own: str
    around: str
    aside: str
    units: tuple[str, str]
    stems: tuple[str, str]
    saved: tuple[str, str]
    beyond: str
    then: str

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Columns: largest, 99 % quantile and mean of the first, largest of the second."""
        first, second = self.stems
        one, other = (unit.replace("/", "_per_").replace("Å", "A") for unit in self.units)
        return (
            f"{first}_max_{one}", f"{first}_99_percent_{one}", f"{first}_mean_{one}",
            f"{second}_max_{other}",
        )  # fmt: skip


class Judge(Protocol):
    """Something that scores the atoms of structures: `Reference`, `FeatureReference`, `Committee`.

    Attributes
    ----------
    labels : Labels
    species : tuple of int
        Atomic numbers that it can judge, ascending.
    limit : mapping
        Atomic number → limit of ``own``.
    limit_around : float
        Limit of ``around``.
    ranges : mapping
        Atomic number → smallest and largest latent charge (e) and largest force (eV/Å) on training
        frames; empty where they are not known.
    needs_charges : bool
        Whether it can use latent charges of the run's model.
    described : dict
        Plain values, for files.
    """

    @property
    def labels(self) -> Labels: ...  # noqa: D102

    @property
    def species(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def limit(self) -> Mapping[int, float]: ...  # noqa: D102

    @property
    def limit_around(self) -> float: ...  # noqa: D102

    @property
    def ranges(self) -> Mapping[int, tuple[float, float, float]]: ...  # noqa: D102

    @property
    def needs_charges(self) -> bool: ...  # noqa: D102

    @property
    def described(self) -> dict[str, Any]: ...  # noqa: D102

    def scores(
        self, atoms: Atoms, name: str = "atoms", results: Mapping[str, Any] | None = None
    ) -> Scores:
        """Judge all atoms of a structure; ``results`` are what the run's model makes of it."""
        ...

    def with_limit(self, limit: float) -> Judge:
        """Return the same with one limit of ``own`` for all species, and none of ``around``."""
        ...


def each(numbers: np.ndarray, of_species: Mapping[int, float]) -> np.ndarray:
    """Value of each atom's species, (N,)."""
    return np.array([of_species[int(z)] for z in numbers])


def check_species(judge: Judge, numbers: np.ndarray, name: str) -> None:
    """Refuse species of which the reference has no environments."""
    from ase.data import chemical_symbols

    unknown = sorted({int(z) for z in numbers} - set(judge.species))
    if unknown:
        known = ", ".join(chemical_symbols[z] for z in judge.species)
        raise ValueError(
            f"{name} has {chemical_symbols[unknown[0]]}, of which the reference has no "
            f"environments (it has {known}): give data of the same species"
        )


DELTA_H = Labels(
    "delta-h", "δH", "δH around an atom", "around an atom", ("nats", "nats"), ("dH", "around"),
    ("dH_max", "dH_around"),
    "{atoms} lie{s} outside of what {whose} was trained on",
    "energies and forces are extrapolated there",
)  # fmt: skip
FEATURES = DELTA_H._replace(
    score="features", own="feature distance", around="feature distance around an atom",
    stems=("feature", "feature_around"), saved=("feature_max", "feature_around"),
)  # fmt: skip
COMMITTEE = Labels(
    "committee", "spread of forces", "spread of latent charges", "e of latent charges",
    ("eV/Å", "e"), ("force_spread", "charge_spread"), ("force_spread_max", "charge_spread_max"),
    "{whose} do not agree on {atoms}", "energies and forces are doubtful there",
)  # fmt: skip
