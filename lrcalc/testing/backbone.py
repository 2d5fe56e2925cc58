"""Whether a backbone keeps what `lrcalc.models.backbone.Backbone` promises."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lrcalc.models.backbone import Backbone, Features
from lrcalc.multipoles import quadrupole_from_spherical
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import System
from lrcalc.testing.electrostatics import difference
from lrcalc.testing.smooth import unsmooth

NEAREST = 0.9
"""Å; atoms of the random structures are no closer."""

WIDER = {"slope": 1e2, "curvature": 1e3, "float32": 1e5}
"""How many times the tolerance these checks may be off: differences, and single precision."""

ASKS = {
    "rotation": "scalars stay and vectors and tensors turn with the structure",
    "inversion": "vectors change their sign, scalars and tensors do not",
    "translation": "nothing changes, also as single atoms move by lattice vectors",
    "permutation": "features go with their atoms",
    "batch": "a structure does not hear the others",
    "isolated": "features of an atom alone are zero: take them off, or leave out biases",
    "beyond": "pairs beyond the cutoff carry nothing",
    "reach": "atoms beyond layers × cutoff are not heard",
    "cutoff": "features vanish as a cubic where a neighbour leaves",
    "smooth": "no jump or kink as a neighbour passes another and leaves",
    "slope": "derivatives by the pair vectors are those of the features",
    "curvature": "second derivatives are there, for training on forces",
    "float32": "single precision gives the same",
}
"""What each check asks for."""


def check_backbone(
    backbone: Backbone, *, tolerance: float = 1e-8, seed: int = 0
) -> dict[str, float]:
    """Check symmetry, locality, smoothness, derivatives and precision on random structures.

    Parameters
    ----------
    backbone : Backbone
        Not changed: copies in double and single precision are looked at.
    tolerance : float
        Largest error allowed, relative to the largest feature; times `WIDER`.
    seed : int
        For the structures.

    Returns
    -------
    dict
        Error of each check: ``rotation`` and ``inversion`` (scalars stay, vectors and tensors
        turn), ``translation`` (also of single atoms by lattice vectors, which shows in positions
        only), ``permutation``, ``batch`` (a structure does not hear the others), ``isolated``
        (features of a lone atom), ``beyond`` (pairs beyond the cutoff), ``reach`` (atoms beyond
        ``layers * cutoff``), ``cutoff`` (what is missing to a cubic decay as a neighbour leaves),
        ``smooth`` (jumps and kinks on the way there, `lrcalc.testing.smooth`),
        ``slope`` and ``curvature`` (derivatives by the pair vectors against differences),
        ``float32`` (against double precision).

    Raises
    ------
    ValueError
        For features of another shape, type or size, or naming the checks that failed.
    """
    _declared(backbone)
    generator = torch.Generator().manual_seed(seed)
    model = _copy(backbone, torch.float64)
    box = random_system(model.species, model.cutoff, 7, generator, periodic=True)
    cluster = random_system(model.species, model.cutoff, 5, generator, periodic=False)
    features = _look(model, box)
    scale = max(float(x.abs().max()) for x in features[:3] if x.numel())
    if not 0 < scale < float("inf"):
        raise ValueError(f"the largest feature of a random structure is {scale}: nothing is heard")

    errors = {}
    turn = torch.linalg.qr(_normal(generator, 3, 3))[0]
    turn = turn * torch.linalg.det(turn)
    for name, matrix in {"rotation": turn, "inversion": -turn}.items():
        turned = box._replace(positions=box.positions @ matrix.T, cell=box.cell @ matrix.T)
        errors[name] = _distance(_look(model, turned), _turned(features, matrix))
    steps = torch.randint(-2, 3, box.positions.shape, generator=generator).double()
    moved = box._replace(positions=box.positions + steps @ box.cell[0] + _normal(generator, 3))
    errors["translation"] = _distance(_look(model, moved), features)
    errors["permutation"] = 0.0
    for order in (torch.randperm(7, generator=generator), torch.arange(7).roll(-1)):
        shuffled = box._replace(positions=box.positions[order], numbers=box.numbers[order])
        error = _distance(_look(model, shuffled), _rows(features, order))
        errors["permutation"] = max(errors["permutation"], error)
    joined = _each(lambda *parts: torch.cat(parts), features, _look(model, cluster))
    errors["batch"] = _distance(_look(model, join(box, cluster)), joined)
    lone = [_look(model, _chain([z], 1.0)) for z in model.species]
    errors["isolated"] = max(float(x.abs().sum()) for alone in lone for x in alone[:3])
    errors["beyond"] = _distance(_look(model, box, reach=1.2), features)
    errors["reach"] = _beyond_reach(model)
    errors = {name: error / scale for name, error in errors.items()}

    errors["cutoff"] = _missing_decay(model, scale)
    errors["smooth"] = unsmooth(model.call, scale, nearest=NEAREST)
    errors |= _derivatives(model, box, generator)
    single = _each(lambda x: x.double(), _look(_copy(backbone, torch.float32), box))
    errors["float32"] = _distance(single, features) / scale
    failed = {k: e for k, e in errors.items() if not e <= tolerance * WIDER.get(k, 1.0)}
    if failed:
        listed = "; ".join(f"{name} {error:.1e} ({ASKS[name]})" for name, error in failed.items())
        raise ValueError(f"this backbone fails beyond `tolerance` {tolerance:.0e}: {listed}")
    return errors


class _Model(NamedTuple):
    """A copy of the backbone, and the precision that it is in."""

    call: Any
    dtype: torch.dtype

    @property
    def species(self) -> tuple[int, ...]:
        return cast("tuple[int, ...]", self.call.species)

    @property
    def cutoff(self) -> float:
        return float(self.call.cutoff)


def _declared(backbone: Backbone) -> None:
    """Refuse attributes that are not what the protocol says."""
    if not isinstance(backbone, torch.nn.Module):
        raise ValueError(f"`backbone` is {backbone!r} but must be a torch.nn.Module: a `Backbone`")
    cutoff, layers = backbone.cutoff, backbone.layers
    if not 0 < cutoff < float("inf"):
        raise ValueError(f"`cutoff` of this backbone is {cutoff} but must be a length in Å")
    if not isinstance(layers, int) or layers < 1:
        raise ValueError(f"`layers` of this backbone is {layers!r} but must be an int, at least 1")
    species = tuple(backbone.species)
    if not species or list(species) != sorted(set(species)):
        raise ValueError(f"`species` of this backbone is {species} but must ascend")


def _copy(backbone: Backbone, dtype: torch.dtype) -> _Model:
    return _Model(copy.deepcopy(cast("Any", backbone)).to(dtype).requires_grad_(False), dtype)


def _look(model: _Model, system: System, *, reach: float = 1.0) -> Features:
    """Features with pairs out to ``reach`` times the cutoff; their shapes and type are checked."""
    pairs = build_pairs(system, reach * model.cutoff)
    vectors = pair_vectors(system, pairs).to(model.dtype).requires_grad_()
    features: Features = model.call(system, pairs, vectors)
    if not isinstance(features, Features):
        raise ValueError(
            f"this backbone returns a {type(features).__name__} but must return Features "
            "(lrcalc.models.backbone)"
        )
    if len(pairs.i) and not any(x.requires_grad for x in features[:3]):
        raise ValueError("the features do not go back to `vectors`, which derivatives go through")
    features = _each(torch.Tensor.detach, features)
    n, channels = len(system.numbers), model.call.n_channels
    shapes = ((n, model.call.n_scalars), (n, channels, 3), (n, channels, 5))
    for name, value, shape in zip(Features._fields[:3], features[:3], shapes, strict=True):
        if tuple(value.shape) != shape or value.dtype != model.dtype:
            raise ValueError(
                f"`{name}` of the features is {tuple(value.shape)} of {value.dtype} but must be "
                f"{shape} of {model.dtype}"
            )
    return features


def _beyond_reach(model: _Model) -> float:
    """Change of an atom at the end of a chain as one out of its reach moves."""
    species = [model.species[k % len(model.species)] for k in range(model.call.layers + 3)]
    chain = _chain(species, 0.95 * model.cutoff)
    moved = chain.positions.clone()
    moved[-2:] += 0.02 * model.cutoff
    before, after = (_look(model, chain._replace(positions=x)) for x in (chain.positions, moved))
    return _distance(_rows(after, slice(0, 1)), _rows(before, slice(0, 1)))


def _missing_decay(model: _Model, scale: float) -> float:
    """How far halving the gap to the cutoff is from an eighth (a seventh will do), over all pairs.

    Value, slope and curvature that vanish at the cutoff leave a cubic at least.
    """
    worst = 0.0
    for z in model.species[:4]:
        pair = [model.species[0], z]
        far, near = (
            max(
                float(x.abs().max())
                for x in _look(model, _chain(pair, model.cutoff * (1 - gap)))[:3]
                if x.numel()
            )
            for gap in (0.01, 0.005)
        )
        if near > 1e-12 * scale:
            worst = max(worst, near / far - 1.0 / 7.0)
    return worst


def _derivatives(model: _Model, system: System, generator: torch.Generator) -> dict[str, float]:
    """First and second derivative of a random sum of features along a random direction."""
    pairs = build_pairs(system, model.cutoff)
    vectors = pair_vectors(system, pairs)
    direction = _normal(generator, *vectors.shape)
    weights = [_normal(generator, *x.shape) for x in _look(model, system)[:3]]

    def total(x: Tensor) -> Tensor:
        features = model.call(system, pairs, x)
        return torch.stack(
            [(f * w).sum() for f, w in zip(features[:3], weights, strict=True)]
        ).sum()

    def slope(x: Tensor, *, keep: bool) -> Tensor:
        return torch.autograd.grad(total(x), x, create_graph=keep)[0]

    def at(step: float) -> Tensor:
        return (vectors + step * direction).requires_grad_()

    leaf = at(0.0)
    first = slope(leaf, keep=True)
    (second,) = torch.autograd.grad((first * direction).sum(), leaf)
    numeric = difference(lambda h: total(at(h)), 1e-3)
    curved = difference(lambda h: slope(at(h), keep=False), 1e-3)
    along = (first.detach() * direction).sum()
    return {
        "slope": float((along - numeric).abs() / (first.detach() * direction).abs().sum()),
        "curvature": float((second - curved).abs().max() / curved.abs().max()),
    }


def random_system(
    species: tuple[int, ...],
    cutoff: float,
    n: int,
    generator: torch.Generator,
    *,
    periodic: bool,
    nearest: float = NEAREST,
) -> System:
    """Atoms of all kinds (at most four) in a skew cell that is smaller than the cutoff's sphere."""
    edge = max(1.1 * cutoff, 1.6 * nearest * n ** (1 / 3))
    cell = edge * (torch.eye(3).double() + 0.2 * torch.randn(3, 3, generator=generator).double())
    kinds = species[:: max(1, len(species) // 4)]
    numbers = torch.tensor([kinds[k % len(kinds)] for k in range(n)])
    while True:
        positions = torch.rand(n, 3, generator=generator, dtype=torch.float64) @ cell
        system = System(
            positions,
            cell[None] * periodic,
            numbers,
            torch.full((1, 3), periodic),
            torch.zeros(n, dtype=torch.int64),
            torch.zeros(1, dtype=torch.float64),
        )
        try:
            close = build_pairs(system, nearest)
        except ValueError:  # on top of one another
            continue
        if not len(close.i):
            return system


def _chain(numbers: list[int], spacing: float) -> System:
    """Atoms along a line, open."""
    n = len(numbers)
    line = torch.arange(n, dtype=torch.float64)[:, None] * torch.tensor([0.6, 0.0, 0.8]).double()
    return System(
        spacing * line,
        torch.zeros(1, 3, 3, dtype=torch.float64),
        torch.tensor(numbers),
        torch.zeros((1, 3), dtype=torch.bool),
        torch.zeros(n, dtype=torch.int64),
        torch.zeros(1, dtype=torch.float64),
    )


def join(one: System, two: System) -> System:
    """Structures of both."""
    positions, cell, numbers, pbc, batch, charge = (
        torch.cat(pair) for pair in zip(one[:6], two[:6], strict=True)
    )
    batch = torch.cat([one.batch, two.batch + one.n_structures])
    return System(positions, cell, numbers, pbc, batch, charge)


def _turned(features: Features, turn: Tensor) -> Features:
    """Features of the structure turned (or turned and inverted), tensors as matrices."""
    matrices = turn @ _matrices(features.tensors) @ turn.T
    return Features(features.scalars, features.vectors @ turn.T, matrices)


def _matrices(tensors: Tensor) -> Tensor:
    """(N, C, 5) → (N, C, 3, 3); matrices stay as they are."""
    if tensors.dim() == 4:
        return tensors
    flat = quadrupole_from_spherical(tensors.flatten(0, 1))
    return flat.view(*tensors.shape[:2], 3, 3)


def _rows(features: Features, rows: Tensor | slice) -> Features:
    return _each(lambda x: x[rows], features)


def _each(change: Callable[..., Tensor], *features: Features) -> Features:
    """Features of what ``change`` makes of scalars, vectors and tensors."""
    scalars, vectors, tensors = (
        change(*parts) for parts in zip(*(f[:3] for f in features), strict=True)
    )
    return Features(scalars, vectors, tensors)


def _distance(one: Features, two: Features) -> float:
    """Largest difference."""
    pairs = (
        (one.scalars, two.scalars),
        (one.vectors, two.vectors),
        (_matrices(one.tensors), _matrices(two.tensors)),
    )
    return max(float((a - b).abs().max()) for a, b in pairs if a.numel())


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
