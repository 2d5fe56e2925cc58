"""Several models of the same data: where they do not agree, none of them knows.

Members differ in the seed of their training, in which frames they saw, or in width. Two numbers an
atom, each the standard deviation over the members (divisor M - 1):

    own    = √(Σ_m |F_m - F̄|² / (M - 1))      force, eV/Å
    around = √(Σ_m (q_m - q̄)² / (M - 1))      latent charge, e

The sign of latent charges is free (physics §2): each member's is the one that agrees better with
the first's in this structure. A committee answers what no distance does, how large the error is;
it costs a whole model's forces for each further member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.information.given import check_structure, structures_given
from lrcalc.information.judging import COMMITTEE, Labels, Scores, each
from lrcalc.information.parting import chosen_frames
from lrcalc.information.ranges import SOME_FRAMES
from lrcalc.information.reference import tail_limit
from lrcalc.structures.species import find_unknown, refuse_unknown

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.evaluator import Evaluator

MARGIN = 1.5
"""Factor of a limit beyond the tail of the data: models agree better on frames that they saw."""


class Committee:
    """Scores atoms by how far the forces and charges of several models lie apart.

    Parameters
    ----------
    members : sequence of Evaluator
        Two models or more, of the same species and cutoff.
    names : sequence of str
        Of the members, for messages.
    own : Evaluator, optional
        That of the members by which a run is driven: the others hold the field that it holds, and
        its results are taken from the run where they are there.

    Raises
    ------
    ValueError
        For one model, the same weights twice, or models of other species or cutoffs.
    """

    def __init__(
        self, members: Sequence[Evaluator], names: Sequence[str], own: Evaluator | None = None
    ) -> None:
        self.members = list(members)
        check_evaluators(self.members)
        self.names = list(map(str, names))
        self.own = own
        check_members([m.potential for m in self.members], self.names)
        self.species = tuple(self.members[0].potential.species)
        self.charged = [
            m.potential.config["level"] != "sr" and not m.potential.own_field for m in self.members
        ]
        self.limit: dict[int, float] = dict.fromkeys(self.species, np.inf)
        self.usual: dict[int, float] = dict.fromkeys(self.species, np.inf)
        self.limit_around = np.inf
        self.about: dict[str, Any] = {}

    labels: Labels = COMMITTEE

    @property
    def ranges(self) -> dict[int, tuple[float, float, float]]:
        """Nothing is known of training frames here."""
        return {}

    @property
    def needs_charges(self) -> bool:
        """Whether charges are compared: at least two members have them."""
        return sum(self.charged) > 1

    @property
    def described(self) -> dict[str, Any]:
        """Members and where limits are from."""
        return {"members": self.names, "reference": str(self.about)}

    def with_limit(self, limit: float) -> Committee:
        """Return the same with one limit of the spread of forces, eV/Å."""
        made = Committee(self.members, self.names, self.own)
        made.limit, made.about = dict.fromkeys(self.species, float(limit)), {"limit": limit}
        return made

    def calibrated(
        self, frames: Sequence[Atoms], about: Mapping[str, Any] | None = None
    ) -> Committee:
        """Return the same with limits from data: the tail of the spreads of `SOME_FRAMES` of them.

        Parameters
        ----------
        frames : sequence of Atoms, or one
        about : mapping, optional
            Plain values that are kept with it.

        Raises
        ------
        ValueError
            For no frames, or frames that a member refuses.
        """
        frames = structures_given(frames)
        made = Committee(self.members, self.names, self.own)
        chosen = chosen_frames(frames)
        chosen = chosen[:: max(1, len(chosen) // SOME_FRAMES)][:SOME_FRAMES]
        made.about = {"frames": len(frames), **(about or {})}
        numbered = [(int(k), frames[k]) for k in chosen]
        refuse_unknown(
            [find_unknown(numbered, self.species, "the reference")], self.species,
            "the committee knows", "leave these frames out",
        )  # fmt: skip
        looks = [
            (frames[k].numbers, self.scores(frames[k], f"frame {k} of the reference"))
            for k in chosen
        ]
        numbers = np.concatenate([z for z, _ in looks])
        own, around = (np.concatenate([s[n] for _, s in looks]) for n in range(2))
        for z in np.unique(numbers):
            mine = own[numbers == z]
            made.usual[int(z)] = float(np.quantile(mine, 0.99))
            made.limit[int(z)] = MARGIN * tail_limit(mine, margin=0.0)
        if self.needs_charges:
            made.limit_around = MARGIN * tail_limit(around, margin=0.0)
        return made

    def scores(
        self, atoms: Atoms, name: str = "atoms", results: Mapping[str, Any] | None = None
    ) -> Scores:
        """Judge all atoms of a structure.

        Parameters
        ----------
        atoms : Atoms
        name : str, optional
            Named in errors.
        results : mapping, optional
            ``forces`` (N, 3) and ``charges`` (N,) of the run's own model for this structure.

        Raises
        ------
        ValueError
            If a member refuses the structure, or answers NaN; it is named.
        """
        check_structure(atoms, name)
        forces, charges = [], []
        for member, label, charged in zip(self.members, self.names, self.charged, strict=True):
            mine = results if member is self.own and results is not None else {}
            wanted = ["forces", *["charges"] * charged]
            if not all(key in mine for key in wanted):
                mine = self._ask(member, atoms, wanted, name, label)
            forces.append(np.asarray(mine["forces"], dtype=float))
            if charged:
                charges.append(np.asarray(mine["charges"], dtype=float))
        own = force_spread(np.array(forces))
        around = charge_spread(np.array(charges)) if len(charges) > 1 else np.zeros(len(atoms))
        outside = (own > each(atoms.numbers, self.limit)) | (around > self.limit_around)
        return Scores(own, around, outside, own <= each(atoms.numbers, self.usual))

    def _ask(
        self, member: Evaluator, atoms: Atoms, wanted: Sequence[str], name: str, label: str
    ) -> dict[str, Any]:
        if self.own is not None and member is not self.own:
            member.field = self.own.field
        try:
            (result,) = member([atoms], wanted)
        except ValueError as error:
            raise ValueError(f"{label} of the committee cannot judge {name}: {error}") from error
        return result


def force_spread(forces: np.ndarray) -> np.ndarray:
    """Return the standard deviation over members of forces (M, N, 3), shape (N,)."""
    away = forces - forces.mean(axis=0)
    return np.asarray(np.sqrt((away**2).sum(axis=(0, 2)) / (len(forces) - 1)))


def charge_spread(charges: np.ndarray) -> np.ndarray:
    """Return that of charges (M, N), whose common sign is free in each member, shape (N,)."""
    sign = np.where(charges @ charges[0] < 0, -1.0, 1.0)
    return np.asarray((sign[:, None] * charges).std(axis=0, ddof=1))


def check_evaluators(members: Sequence[Any]) -> None:
    """Refuse names of models, and models, in place of evaluators."""
    from lrcalc.evaluator import Evaluator

    for member in members:
        if not isinstance(member, Evaluator):
            told = repr(member) if isinstance(member, str) else f"a {type(member).__name__}"
            raise TypeError(
                f"`members` has {told} but must be evaluators: lrcalc.Evaluator(NAME or FILE)"
            )


def check_members(potentials: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse models that make no committee."""
    from ase.data import chemical_symbols

    if len(potentials) < 2:
        raise ValueError(
            f"the committee has one model, {names[0]!r}: give others, trained on the same data "
            "with another --seed" if names else "the committee has no models: give two or more"
        )  # fmt: skip
    first = potentials[0]
    seen: dict[str, str] = {}
    for potential, name in zip(potentials, names, strict=True):
        if potential.species != first.species:
            one, other = (
                ", ".join(chemical_symbols[z] for z in p.species) for p in (first, potential)
            )
            raise ValueError(
                f"{name!r} of the committee knows {other}, but {names[0]!r} knows {one}: give "
                "models that were trained on the same data"
            )
        if abs(potential.cutoff - first.cutoff) > 1e-6:
            raise ValueError(
                f"{name!r} of the committee has a cutoff of {potential.cutoff:g} Å, but "
                f"{names[0]!r} of {first.cutoff:g} Å: members that see different neighbours "
                "differ everywhere; give models of the same settings and another --seed"
            )
        weights = _hash(potential)
        if weights in seen:
            raise ValueError(
                f"{name!r} of the committee is the same model as {seen[weights]!r}: they agree "
                "whatever happens; give one that was trained with another --seed"
            )
        seen[weights] = name


def _hash(potential: Any) -> str:
    from lrcalc.hashing import hash_of

    state = sorted(potential.state_dict().items())
    return hash_of(*[x.detach().cpu().float().numpy() for _, x in state])
