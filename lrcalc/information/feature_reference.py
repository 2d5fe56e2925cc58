"""Makes the reference of training features (`lrcalc.information.features`) of a model and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.information.colder import colder, mean_structure
from lrcalc.information.entropy import delta_entropy
from lrcalc.information.features import FeatureReference, Found, Space, backbone_features
from lrcalc.information.given import check_potential, check_structure, structures_given
from lrcalc.information.parting import MOST_FRAMES, chosen_frames, parted, rows_of
from lrcalc.information.reference import calibrated, compressed, tail_limit
from lrcalc.structures.species import find_unknown, refuse_unknown

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential

DIRECTIONS = 16
"""Of largest variance, of each species."""

ROWS = 200
"""Environments of each species and number that are kept, where there is room."""

FEWEST = 30
"""Environments below which a reference is none."""

BYTES = 40_000
"""Of all directions and rows."""

MARGIN = 4.0
"""Nats that a limit of ``around`` is beyond what unseen frames of the same run reach: so far go
runs of the model itself at the temperature and density of its data."""

SMALLEST = 1e-3
"""Of the size of features: a width below this counts as this, for rounding is no news."""


def make_features(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    bytes_kept: int = BYTES,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> FeatureReference:
    """Compress the features of training frames, and calibrate what is outside of them.

    Parameters
    ----------
    potential : Potential
    frames : sequence of Atoms, or one
        As for `make_reference`: every fourth calibrates only.
    bytes_kept : int, optional
        Two bytes a number of directions and rows.
    seed : int, optional
    about : mapping, optional
        Plain values that are kept with it.

    Raises
    ------
    ValueError
        For no frames, bad structures (the frame is named), a backbone with no scalar features, or
        so many species and features that nothing is left for environments.
    """
    check_potential(potential)
    frames = structures_given(frames)
    chosen = [frames[k] for k in chosen_frames(frames)]
    names = [f"frame {k} of the reference" for k in chosen_frames(frames)]
    for atoms, name in zip(chosen, names, strict=True):
        check_structure(atoms, name)
    numbered = zip(chosen_frames(frames), chosen, strict=True)
    refuse_unknown([find_unknown(numbered, potential.species, "the reference")], potential.species)
    found = [backbone_features(potential, a, n) for a, n in zip(chosen, names, strict=True)]
    width = found[0].own.shape[1]
    species = sorted({int(z) for a in chosen for z in a.numbers})
    k = min(DIRECTIONS, width - 1)
    if k < 1:
        raise ValueError(f"the backbone has {width} scalar features; 2 are needed for a distance")
    room = (bytes_kept // (2 * len(species)) - (2 * k + 4) * width) // (2 * (k + 1))
    if room < FEWEST:
        raise ValueError(
            f"{width} features of {len(species)} species leave no room for environments in "
            f"{bytes_kept} bytes"
        )
    crystal = mean_structure(chosen)
    cold: list[Found] = []
    rng = np.random.default_rng(seed)
    spaces: dict[int, list[Space]] = {z: [] for z in species}
    unseen: list[dict[int, np.ndarray]] = []
    bandwidths = []
    for n in range(2):
        made = [_by_species(a, x[n]) for a, x in zip(chosen, found, strict=True)]
        inside, apart, held = parted(made, rng)
        if crystal is not None and not cold:
            some = [a for a, out in zip(chosen, held, strict=True) if not out][: MOST_FRAMES // 4]
            between = [crystal, *colder(some, crystal)]
            cold = [backbone_features(potential, a) for a in between]
        for z in species:
            known = inside[z]
            space = _space(known, k)
            if crystal is not None:
                colds = [_by_species(a, x[n]) for a, x in zip(between, cold, strict=True)]
                known = np.concatenate([known, rows_of(colds, z)])
            rows = compressed(space.places(known), min(room, ROWS), rng)
            if crystal is not None:  # of thousands a few, and the ones that must be there
                rest = compressed(space.places(colds[0][z]), max(len(rows) // 20, 1), rng)
                rows = np.concatenate([rows, rest])[-min(room, ROWS) :]
            spaces[z].append(space._replace(rows=rows))
        places = {z: spaces[z][n].places(x) for z, x in apart.items()}
        h = calibrated(places, {z: spaces[z][n].rows for z in species})
        bandwidths.append(h)
        unseen.append({z: delta_entropy(x, spaces[z][n].rows, h) for z, x in places.items()})
    own, around = unseen
    return FeatureReference(
        potential, {z: (two[0], two[1]) for z, two in spaces.items()},
        (bandwidths[0], bandwidths[1]),
        {z: float(np.quantile(x, 0.99)) for z, x in own.items()},
        {z: tail_limit(x) for z, x in own.items()},
        tail_limit(np.concatenate(list(around.values())), margin=MARGIN),
        {"frames": len(frames), **(about or {})},
    )  # fmt: skip


def _by_species(atoms: Atoms, x: np.ndarray) -> dict[int, np.ndarray]:
    return {int(z): x[atoms.numbers == z] for z in np.unique(atoms.numbers)}


def _space(x: np.ndarray, k: int) -> Space:
    """Directions of features (n, F), in half precision as they are kept; no rows yet."""
    mean = x.mean(axis=0).astype(np.float32).astype(float)
    variances, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    least = max(SMALLEST * float(np.sqrt((x**2).mean())), 1e-6)
    axes = vectors[:, ::-1][:, :k].T.astype(np.float16).astype(float)
    widths = np.maximum(np.sqrt(np.maximum(variances[::-1][:k], 0.0)), least)
    bare = Space(mean, axes, widths.astype(np.float32).astype(float), (0.0, 1.0), x[:0, : k + 1])
    beside = bare.places(x)[:, -1]
    return bare._replace(beside=(float(beside.mean()), max(float(beside.std()), least)))
