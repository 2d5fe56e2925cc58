"""How far atoms are from training data in the features of the model's own backbone.

The score is δH (`lrcalc.information.entropy`) of features in place of descriptors: invariants of an
atom, in the few directions in which those of training frames vary most, each in units of its
standard deviation, and how far they lie beside these directions. Again there are two numbers:

* ``own``: of the features of the atom;
* ``around``: of their mean over the atom and its neighbours. What differs a little and everywhere,
  as ice does from water, is nothing on one atom and much in a mean: the classical ice that no score
  of single atoms tells from the liquid (area under the curve 0.4 with descriptors, 0.3 with
  features) is told from it by means (0.99). A mean of means, over twice the distance, sees it yet
  better, and calls a liquid of the model's own outside of its data: it tells every level of theory
  from every other.

Any backbone will do; features belong to its weights, whose hash is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix

from lrcalc.hashing import hash_of
from lrcalc.information.entropy import delta_entropy
from lrcalc.information.given import check_potential, check_structure
from lrcalc.information.judging import FEATURES, Labels, Scores, check_species, each
from lrcalc.models.blocks import features_of
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import as_frames, from_frames

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential


class Found(NamedTuple):
    """Features of the atoms of a structure.

    Attributes
    ----------
    own : ndarray, shape (N, F)
    around : ndarray, shape (N, F)
        Means over atoms and their neighbours.
    """

    own: np.ndarray
    around: np.ndarray


class Space(NamedTuple):
    """Directions in which features of training frames vary, and where these frames are in them.

    Attributes
    ----------
    mean : ndarray, shape (F,)
    axes : ndarray, shape (K, F)
        Of unit length.
    widths : ndarray, shape (K,)
        Standard deviations along them.
    beside : tuple of float
        Mean and standard deviation of the distance from the space of the axes.
    rows : ndarray, shape (n, K + 1)
        Places of training environments.
    """

    mean: np.ndarray
    axes: np.ndarray
    widths: np.ndarray
    beside: tuple[float, float]
    rows: np.ndarray

    def places(self, x: np.ndarray) -> np.ndarray:
        """Places of features (N, F), in units of the standard deviations, shape (N, K + 1)."""
        away = x - self.mean
        along = away @ self.axes.T
        beside = np.linalg.norm(away - along @ self.axes, axis=1)
        mean, width = self.beside
        return np.column_stack([along / self.widths, (beside - mean) / width])

    def content(self) -> list[Any]:
        """Tensors and plain values, for a file."""
        half = (torch.from_numpy(x.astype(np.float16)) for x in (self.axes, self.rows))
        axes, rows = half
        mean, widths = (torch.from_numpy(x.astype(np.float32)) for x in (self.mean, self.widths))
        return [mean, axes, widths, list(self.beside), rows]

    @classmethod
    def of_content(cls, content: Sequence[Any]) -> Space:
        """Return what `content` wrote."""
        mean, axes, widths, beside, rows = content
        arrays = [x.double().numpy() for x in (mean, axes, widths, rows)]
        (f,), (k, g), n = arrays[0].shape, arrays[1].shape, arrays[3].shape
        if f != g or arrays[2].shape != (k,) or n[1:] != (k + 1,) or not n[0]:
            raise ValueError(f"features of {f} and {g} numbers, {k} directions and rows {n}")
        if not all(np.isfinite(x).all() for x in (*arrays, beside)) or min(arrays[2]) <= 0:
            raise ValueError("NaN or infinite numbers")
        two = float(beside[0]), float(beside[1])
        return cls(arrays[0], arrays[1], arrays[2], two, arrays[3])


class FeatureReference(NamedTuple):
    """Features of a set of data, and the limits of what is like them.

    Attributes
    ----------
    potential : Potential
        Whose backbone they are of.
    spaces : dict
        Atomic number → two `Space`, of ``own`` and ``around``.
    h : tuple of float
        Bandwidths of the two, in standard deviations.
    usual, limit : dict
        Atomic number → 99 % quantile and limit of ``own`` of unseen frames, nats.
    limit_around : float
        Limit of ``around``, nats.
    about : dict
        Plain values: where it is from, how many frames.
    """

    potential: Potential
    spaces: dict[int, tuple[Space, Space]]
    h: tuple[float, float]
    usual: dict[int, float]
    limit: dict[int, float]
    limit_around: float
    about: dict[str, Any]

    @property
    def labels(self) -> Labels:
        """Names of the score."""
        return FEATURES

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(sorted(self.spaces))

    @property
    def ranges(self) -> dict[int, tuple[float, float, float]]:
        """Nothing is known of charges and forces here."""
        return {}

    @property
    def needs_charges(self) -> bool:
        """Charges are not looked at."""
        return False

    @property
    def described(self) -> dict[str, Any]:
        """Bandwidths, directions, origin."""
        k, f = next(iter(self.spaces.values()))[0].axes.shape
        return {
            "bandwidths": list(self.h), "features": f, "directions": k,
            "reference": str(self.about),
        }  # fmt: skip

    def with_limit(self, limit: float) -> FeatureReference:
        """Return the same with one limit of the feature distance of an atom."""
        everywhere = dict.fromkeys(self.limit, float(limit))
        return self._replace(limit=everywhere, limit_around=np.inf)

    def scores(
        self, atoms: Atoms, name: str = "atoms", results: Mapping[str, Any] | None = None
    ) -> Scores:
        """Judge all atoms of a structure.

        Raises
        ------
        ValueError
            For species that the reference or the model does not have, or positions that are none.
        """
        check_structure(atoms, name)
        check_species(self, atoms.numbers, name)
        found = backbone_features(self.potential, atoms, name)
        two = np.empty((2, len(atoms)))
        for z in np.unique(atoms.numbers):
            mine = atoms.numbers == z
            for n, (x, space) in enumerate(zip(found, self.spaces[int(z)], strict=True)):
                two[n, mine] = delta_entropy(space.places(x[mine]), space.rows, self.h[n])
        own, around = two
        outside = (own > each(atoms.numbers, self.limit)) | (around > self.limit_around)
        return Scores(own, around, outside, own <= each(atoms.numbers, self.usual))

    def content(self) -> dict[str, Any]:
        """Tensors and plain values, for a file."""
        return {
            "weights": weights_hash(self.potential), "h": list(self.h),
            "limit_around": self.limit_around, "about": dict(self.about),
            "species": {
                z: {"spaces": [space.content() for space in two],
                    "levels": [self.usual[z], self.limit[z]]}
                for z, two in self.spaces.items()
            },
        }  # fmt: skip

    @classmethod
    def of_content(cls, content: Mapping[str, Any], potential: Potential) -> FeatureReference:
        """Return what `content` wrote, for the model that it is of.

        Raises
        ------
        ValueError
            For anything else, or weights of a backbone that have changed.
        """
        again = "make it anew with `lrcalc reference`"
        try:
            species = {int(z): part for z, part in content["species"].items()}
            spaces = {}
            for z, part in species.items():
                first, second = map(Space.of_content, part["spaces"])
                spaces[z] = (first, second)
            usual, limit = (
                {z: float(part["levels"][n]) for z, part in species.items()} for n in range(2)
            )
            one, other = map(float, content["h"])
            around, about = float(content["limit_around"]), dict(content["about"])
            weights = content["weights"]
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(
                f"the reference of training features cannot be read ({error}); {again}"
            ) from error
        if weights != weights_hash(potential):
            raise ValueError(
                "the reference of training features was made with other weights of the backbone "
                f"than the model has now; {again}"
            )
        return cls(potential, spaces, (one, other), usual, limit, around, about)


def backbone_features(potential: Potential, atoms: Atoms, name: str = "atoms") -> Found:
    """Scalar features of all atoms, and their means over surroundings.

    Parameters
    ----------
    potential : Potential
        Its backbone is asked, on its own device and in its own precision.
    atoms : Atoms
    name : str, optional
        Named in errors.

    Raises
    ------
    ValueError
        For unknown species, positions or a cell that are not finite, no atoms.
    """
    check_potential(potential)
    check_structure(atoms, name)
    frames = as_frames(atoms, name)
    if not len(frames.numbers):
        raise ValueError(f"{name} has no atoms; give structures")
    if not (np.isfinite(frames.positions).all() and np.isfinite(frames.cells).all()):
        raise ValueError(f"{name} has NaN or infinite positions or cell vectors; mend the file")
    potential.check_species(frames.numbers)
    system = from_frames([frames], device=str(potential.reference_energy.device))
    pairs = build_pairs(system, potential.cutoff)
    with torch.no_grad():
        vectors = pair_vectors(system, pairs).to(potential.dtype)
        found = features_of(potential.backbone, system, pairs, vectors)
    own = found.scalars.double().cpu().numpy()
    i, j = (x.cpu().numpy() for x in (pairs.i, pairs.j))
    to = csr_matrix((np.ones(len(i)), (i, j)), shape=(len(own), len(own)))
    around = (own + to @ own) / (1 + np.bincount(i, minlength=len(own)))[:, None]
    return Found(own, np.asarray(around))


def weights_hash(potential: Potential) -> str:
    """Hash of the backbone's weights in single precision: the same in any precision."""
    state = sorted(potential.backbone.state_dict().items())  # type: ignore[attr-defined]
    arrays = [x.detach().cpu().numpy() for _, x in state]
    return hash_of(*[x.astype(np.float32) if x.dtype.kind == "f" else x for x in arrays])
