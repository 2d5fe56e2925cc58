"""What a model was trained on, in 200 kB: environments, and how far out is outside.

A reference keeps some environments of each species, as half-precision descriptors: half of them
drawn at random, which tells where the data are dense, and half the farthest from one another, which
tells how far they reach. Structures are judged by two scores of each atom, both in nats:

* ``own``: δH of its environment with respect to those of its species;
* ``around``: how much δH exceeds what is usual, in the mean over the atom and its neighbours within
  the cutoff. One atom of a ring polymer often looks like a classical one (on one atom of the beads
  of water in a classical reference the area under the curve is 0.8), its surroundings never do
  (1.00).

The bandwidth and both limits come from training frames that gave no environments to the reference
(`calibrated`): the bandwidth is where the median of their ``own`` is zero, so that zero is as far
out as data usually lie from one another, and a limit is where the tail of their scores, continued
as an exponential, has fallen to `RARE`, and a `MARGIN`. Environments of a phase that is less
disordered than the data (ice, in data of the liquid) lie among those of the data, and nothing here
says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.information.colder import colder, mean_structure
from lrcalc.information.descriptors import (
    PUBLISHED,
    Form,
    check_form,
    descriptors,
    descriptors_of,
    surroundings,
)
from lrcalc.information.entropy import check_bandwidth, delta_entropy
from lrcalc.information.given import check_structure, structures_given
from lrcalc.information.judging import DELTA_H, Labels, Scores, check_species, each
from lrcalc.information.parting import MOST_FRAMES, chosen_frames, parted, rows_of
from lrcalc.information.selection import farthest

if TYPE_CHECKING:
    from ase import Atoms

BYTES = 190_000
"""Of the environments of a reference."""

RARE = 1e-6
"""Part of the atoms of unseen frames of the same run that lie beyond a limit."""

MARGIN = 1.0
"""Nats that a limit is beyond what unseen frames of the same run reach: those of another run of the
same substance differ so, another functional's by 0.8, other frames of the same by 0.3."""

_POOL = 20_000
"""Environments of a species among which are chosen those that are kept."""


class Reference(NamedTuple):
    """Environments of a set of data, and the limits of what is like them.

    Attributes
    ----------
    form : Form
        Of the descriptors.
    h : float
        Bandwidth, 1/Å.
    environments : dict
        Atomic number → (n, d), 1/Å.
    typical, usual, limit : dict
        Atomic number → mean, 99 % quantile and limit of ``own`` of unseen frames, nats.
    limit_around : float
        Limit of ``around``, nats.
    about : dict
        Plain values: where it is from, how many frames and environments.
    ranges : dict
        Atomic number → smallest and largest latent charge (e) and largest force (eV/Å) that the
        model has on training frames (`with_ranges`); empty where no model was asked.
    """

    form: Form
    h: float
    environments: dict[int, np.ndarray]
    typical: dict[int, float]
    usual: dict[int, float]
    limit: dict[int, float]
    limit_around: float
    about: dict[str, Any]
    ranges: dict[int, tuple[float, float, float]] = {}  # noqa: RUF012 (a default, never changed)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(sorted(self.environments))

    @property
    def labels(self) -> Labels:
        """Names of the score."""
        return DELTA_H

    @property
    def needs_charges(self) -> bool:
        """Whether it knows latent charges of the model on its training frames."""
        return any(np.isfinite(low) for low, _, _ in self.ranges.values())

    @property
    def described(self) -> dict[str, Any]:
        """Bandwidth and form."""
        return {
            "bandwidth": self.h, "k": self.form.k, "cutoff": self.form.cutoff,
            "reference": str(self.about),
        }  # fmt: skip

    def with_limit(self, limit: float) -> Reference:
        """Return the same with one limit of δH."""
        everywhere = dict.fromkeys(self.limit, float(limit))
        return self._replace(limit=everywhere, limit_around=np.inf)

    def scores(
        self, atoms: Atoms, name: str = "atoms", results: Mapping[str, Any] | None = None
    ) -> Scores:
        """Judge all atoms of a structure; what a model makes of it is not looked at.

        Raises
        ------
        ValueError
            For species that the reference does not have, or a structure that no descriptor can be
            made of.
        """
        check_structure(atoms, name)
        check_species(self, atoms.numbers, name)
        found = surroundings(atoms, self.form.cutoff, name)
        made = descriptors_of(found, self.form, self.species, name)
        own = np.empty(len(atoms))
        for z in np.unique(found.numbers):
            mine = found.numbers == z
            own[mine] = delta_entropy(made[mine], self.environments[int(z)], self.h)
        around = found.mean_around(own - each(atoms.numbers, self.typical))
        outside = (own > each(atoms.numbers, self.limit)) | (around > self.limit_around)
        return Scores(own, around, outside, own <= each(atoms.numbers, self.usual))

    def content(self) -> dict[str, Any]:
        """Tensors and plain values, for a file."""
        import torch

        return {
            "form": list(self.form), "h": self.h, "limit_around": self.limit_around,
            "about": dict(self.about),
            "ranges": {z: list(three) for z, three in self.ranges.items()},
            "species": {
                z: {
                    "environments": torch.from_numpy(self.environments[z].astype(np.float16)),
                    "levels": [self.typical[z], self.usual[z], self.limit[z]],
                }
                for z in self.species
            },
        }  # fmt: skip

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Reference:
        """Return what `content` wrote.

        Raises
        ------
        ValueError
            For anything else.
        """
        try:
            species = {int(z): part for z, part in content["species"].items()}
            k, cutoff, components = content["form"]
            typical, usual, limit = (
                {z: float(part["levels"][n]) for z, part in species.items()} for n in range(3)
            )
            found = cls(
                check_form(Form(int(k), float(cutoff), bool(components))), float(content["h"]),
                {z: part["environments"].double().numpy() for z, part in species.items()},
                typical, usual, limit, float(content["limit_around"]), dict(content["about"]),
                {int(z): (float(a), float(b), float(c))
                 for z, (a, b, c) in content.get("ranges", {}).items()},
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(
                f"the reference of training environments cannot be read ({error}); make it anew "
                "with `lrcalc reference`"
            ) from error
        width = found.form.columns(len(species))
        for z, x in found.environments.items():
            if x.shape[1:] != (width,) or not len(x) or not np.isfinite(x).all():
                raise ValueError(
                    f"the reference of training environments has {x.shape} numbers for species "
                    f"{z}, but descriptors of length {width}; make it anew with `lrcalc reference`"
                )
        return found


def by_species(
    atoms: Atoms, form: Form, species: Iterable[int], name: str = "atoms"
) -> dict[int, np.ndarray]:
    """Descriptors of the atoms of each species that the structure has."""
    check_structure(atoms, name)
    found = descriptors(atoms, form, species=species, name=name)
    return {int(z): found[atoms.numbers == z] for z in np.unique(atoms.numbers)}


def make_reference(
    frames: Sequence[Atoms],
    form: Form = PUBLISHED,
    *,
    bytes_kept: int = BYTES,
    h: float | None = None,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Reference:
    """Compress the environments of training frames, and calibrate what is outside of them.

    Parameters
    ----------
    frames : sequence of Atoms, or one
        Of one run, or of all data of a model; `MOST_FRAMES` are looked at. Every fourth calibrates
        only; where there are fewer than four, atoms are held out instead of frames, and limits are
        too narrow by what frames differ.
    form : Form, optional
    bytes_kept : int, optional
        For all environments, two bytes a number.
    h : float, optional
        Bandwidth, 1/Å; by default from the data.
    seed : int, optional
        Of the random half.
    about : mapping, optional
        Plain values that are kept with it.

    Raises
    ------
    ValueError
        For no frames, bad structures (the frame is named), or species with fewer than two atoms.
    TypeError
        For what is no structure.
    """
    check_form(form)
    frames = structures_given(frames)
    if h is not None:
        check_bandwidth(h)
    chosen = chosen_frames(frames)
    species = sorted({int(z) for k in chosen for z in frames[k].numbers})
    made = [by_species(frames[k], form, species, f"frame {k} of the reference") for k in chosen]
    rng = np.random.default_rng(seed)
    inside, apart, held = parted(made, rng)
    crystal = mean_structure([frames[k] for k in chosen])
    if crystal is not None:
        some = [frames[k] for k in chosen[~held]][: MOST_FRAMES // 4] if not held.all() else []
        cold = [by_species(a, form, species) for a in [crystal, *colder(some, crystal)]]
        inside = {z: np.concatenate([inside[z], rows_of(cold, z)]) for z in species}
    room = bytes_kept // (2 * form.columns(len(species)) * len(species))
    kept = {z: compressed(inside[z], max(room, 2), rng) for z in species}
    if crystal is not None:  # a few of thousands, and the ones that must be there
        for z, x in cold[0].items():
            at_rest = compressed(x, max(room // 20, 1), rng)
            kept[z] = np.concatenate([kept[z], at_rest])[-max(room, 2) :]
    if h is None:
        h = calibrated(apart, kept)
    levels = {z: delta_entropy(apart[z], kept[z], h) for z in species}
    typical = {z: float(own.mean()) for z, own in levels.items()}
    bare = Reference(
        form, h, kept, typical, {z: float(np.quantile(own, 0.99)) for z, own in levels.items()},
        {z: tail_limit(own) for z, own in levels.items()}, np.inf,
        {"frames": len(frames), "environments": {z: len(rows_of(made, z)) for z in species},
         **(about or {})},
    )  # fmt: skip
    around = [bare.scores(frames[k]).around for k, out in zip(chosen, held, strict=True) if out]
    return bare._replace(limit_around=tail_limit(np.concatenate(around)))


def compressed(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose ``count`` of ``x`` (N, d), half at random and half far apart; in half precision."""
    if len(x) > _POOL:
        x = x[np.sort(rng.permutation(len(x))[:_POOL])]
    if count < len(x):
        some = rng.permutation(len(x))[: count - count // 2]
        far = farthest(x, count // 2)
        rest = np.setdiff1d(far, some)
        x = x[np.sort(np.concatenate([some, rest]))]
    return x.astype(np.float16).astype(float)


def calibrated(apart: Mapping[int, np.ndarray], kept: Mapping[int, np.ndarray]) -> float:
    """Bandwidth (1/Å) at which the median δH of held-out environments is zero."""
    low, high = 1e-4, 3.0
    some = {z: x[:: max(1, len(x) // 500)] for z, x in apart.items()}
    for _ in range(25):
        h = float(np.sqrt(low * high))
        own = np.concatenate([delta_entropy(some[z], kept[z], h) for z in some])
        low, high = (h, high) if np.median(own) > 0 else (low, h)
    return h


def tail_limit(scores: np.ndarray, rare: float = RARE, margin: float = MARGIN) -> float:
    """Where the upper tail of ``scores`` has fallen to ``rare``, if it goes on as an exponential.

    It is fitted to the part above the 99 % quantile (the mean excess is its decay length), and the
    limit is never below the largest score. To this comes ``margin``.
    """
    start = float(np.quantile(scores, 0.99))
    excess = scores[scores > start] - start
    decay = float(excess.mean()) if len(excess) else 0.0
    return max(start + decay * float(np.log(0.01 / rare)), float(scores.max())) + margin
