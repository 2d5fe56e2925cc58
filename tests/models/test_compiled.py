"""Densities, products and transfers in C++ against torch, and the properties made of them."""

import pickle
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch

import lrcalc
from lrcalc import Evaluator, Potential, compiled, from_ase, predict
from lrcalc.fields import FIELD, Field
from lrcalc.models import compiled_transfers, repulsion
from lrcalc.models.blocks import features_of
from lrcalc.models.compiled_transfers import compiled_weights
from lrcalc.models.fused_transfers import Reach
from lrcalc.models.native import cpu, cpu_messages, cpu_speech
from lrcalc.models.prior import build_prior
from lrcalc.models.transfers import transfer_weights
from lrcalc.models.wall import build_wall
from lrcalc.neighbors import Pairs, build_pairs, pair_vectors
from lrcalc.structures import read_structure
from lrcalc.testing import cases, check_model, identities, model
from tests.conftest import random_potential
from tests.models.compiler import needs_compiler
from tests.sample_structures import cluster, water_box

pytestmark = needs_compiler


@pytest.fixture
def calls(monkeypatch):
    """Names of the compiled functions that were called."""
    found = []
    own = (
        cpu._Densities, cpu._Described, cpu_speech._Said, cpu_messages._Messages,
        compiled_transfers._Weights, repulsion._Repulsion,
    )  # fmt: skip
    for owner in own:
        name = owner.__name__

        def apply(*args, owner=owner, name=name, known=owner.apply):
            found.append(name)
            return known(*args)

        monkeypatch.setattr(owner, "apply", apply)
    return found


def features(potential, system, pairs, *, once, seed=0):
    """Features and their product with something random, differentiated."""
    vectors = pair_vectors(system, pairs).to(potential.dtype).requires_grad_()
    made = potential.backbone(system._replace(once=once, compiled=True), pairs, vectors)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in made[:3]]
    total = sum((x * d.to(x.dtype)).sum() for x, d in zip(made[:3], drawn, strict=True))
    return [x.detach() for x in made[:3]] + list(torch.autograd.grad(total, vectors))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("channels", "hidden", "n_basis", "layers"),
    [(8, 16, 8, 2), (5, 7, 3, 1), (3, 5, 3, 3)],
    ids=["two rounds", "odd sizes", "odd sizes of three rounds"],
)
def test_features_and_their_gradients(calls, dtype, channels, hidden, n_basis, layers):
    """With neighbours beyond the cutoff, lonely atoms and blocks that are not full."""
    atoms = cluster(n=3) + cluster(n=1)
    atoms.positions[-3:] += 40.0
    sizes = {"channels": channels, "hidden": hidden, "n_basis": n_basis, "layers": layers}
    potential = random_potential(water_box(n=2), dtype=dtype, **sizes)
    for structure in (water_box(n=2), atoms, water_box(n=1)[[0, 1]]):
        system = from_ase([structure, structure])
        pairs = build_pairs(system, potential.cutoff + 0.7)
        expected = features(potential, system, pairs, once=False)
        assert not calls
        found = features(potential, system, pairs, once=True)
        further = ["_Said", "_Messages", "_Described"] * (layers - 1)
        assert calls == ["_Densities", "_Described", *further]
        calls.clear()
        limit = 1e-12 if dtype == torch.float64 else 1e-5
        for one, other in zip(expected, found, strict=True):
            assert float((one - other).abs().max()) <= limit * float(one.abs().max().clamp(min=1))


@pytest.mark.parametrize("layers", [1, 2])
def test_no_atoms_and_no_pairs(calls, layers):
    potential = random_potential(water_box(n=1), layers=layers)
    for size in (0, 2):
        system = from_ase(water_box(n=1)[[0, 1]])
        system = system._replace(numbers=system.numbers[:size])
        empty = torch.zeros(0, dtype=torch.int64)
        pairs = Pairs(empty, empty, torch.zeros(0, 3, dtype=torch.int64))
        vectors = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
        made = potential.backbone(system._replace(once=True, compiled=True), pairs, vectors)
        assert float(made.scalars.detach().abs().sum()) == 0.0
        assert len(made.scalars) == size
        assert len(torch.autograd.grad(made.scalars.sum(), vectors)[0]) == 0
    assert calls


def test_blocks_of_centres(calls):
    """What LAMMPS does: own atoms first, and so many of them at a time."""
    atoms = water_box(n=4)
    potential = random_potential(atoms)
    system = from_ase(atoms)
    centres = 9
    pairs = build_pairs(system, potential.cutoff)
    pairs = Pairs(*(x[pairs.i < centres] for x in pairs))
    found = []
    for block, once in ((None, False), (None, True), (5, True)):
        own = system._replace(centres=centres, block=block, once=once, compiled=True)
        vectors = pair_vectors(system, pairs).requires_grad_()
        made = features_of(potential.backbone, own, pairs, vectors)
        total = made.scalars.sum() + (made.vectors**2).sum()
        found.append([*made[:3], *torch.autograd.grad(total, vectors)])
    assert calls
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 1)], ids=["direct", "mesh"])
def test_copies_and_pickles_after_a_call(calls, tmp_path, repeat):
    """What a plan holds travels: no pointers into a library."""
    atoms = read_structure("water64").repeat(repeat)
    atoms.calc = lrcalc.LRCalculator("water", compile=True)
    energy = atoms.get_potential_energy()
    assert calls
    twins = [deepcopy(atoms).calc, pickle.loads(pickle.dumps(atoms.calc))]
    torch.save(atoms.calc.evaluator.potential, tmp_path / "whole.pt")
    twins.append(lrcalc.LRCalculator(torch.load(tmp_path / "whole.pt", weights_only=False)))
    for twin in twins:
        again = atoms.copy()
        again.calc = twin
        assert again.get_potential_energy() == pytest.approx(energy, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_of_handing_charge_on(dtype):
    """Of some pairs, near and beyond the cutoff; their gradient, and that by differences."""
    make = torch.Generator().manual_seed(2)
    vectors = (1.7 * torch.randn(40, 3, dtype=dtype, generator=make)).requires_grad_()
    i, j = torch.randint(0, 5, (2, 40), generator=make)
    known = {
        "rows": torch.randperm(40, generator=make)[:33], "i": i, "j": j,
        "species": torch.tensor([0, 2, 1, 0, 2]),
        "learned": torch.randn(3, 3, 7, 4, dtype=dtype, generator=make),
        "decay": torch.linspace(0.25, 0.8, 4, dtype=dtype),
    }  # fmt: skip
    reach = Reach(**known, cutoff=2.5)
    near = vectors[reach.rows]
    couple = reach.species[i[reach.rows]] * 3 + reach.species[j[reach.rows]]
    distance = torch.linalg.vector_norm(near, dim=1)
    assert 5 < int((distance > reach.cutoff).sum()) < 28
    weights = reach.learned.flatten(0, 1)[couple]
    expected = transfer_weights(distance, weights, reach.decay, reach.cutoff)
    found = compiled_weights(vectors, reach)
    way = torch.randn(expected.shape, dtype=dtype, generator=make)
    slopes = [torch.autograd.grad((x * way).sum(), vectors)[0] for x in (found, expected)]
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    for a, b in ((found.detach(), expected.detach()), slopes):
        assert float((a - b).abs().max()) < limit * float(b.abs().max())
    if dtype == torch.float64:
        along, step = torch.randn(vectors.shape, dtype=dtype, generator=make), 1e-6
        moved = [vectors.detach() + s * along for s in (step, -step)]
        ends = [(compiled_weights(x, reach) * way).sum() for x in moved]
        slope = float(ends[0] - ends[1]) / (2 * step)
        assert float((slopes[0] * along).sum()) == pytest.approx(slope, rel=1e-7)


ALL_PAIRS = [[True, True], [True, True]]
BETWEEN = [[True, False], [False, True]]
WALL = [[1.7, 1.05], [1.05, 2.9]]
"""Å, higher than a wall would be: many pairs are inside."""


def repelled(parts, system, pairs, vectors, *, compiled):
    """Repulsion of atoms, and the gradient of a sum of it that weighs them differently."""
    vectors = vectors.clone().requires_grad_()
    species = (system.numbers == 8).long()
    system = system._replace(once=compiled, compiled=compiled)
    found = repulsion.repulsion(*parts, species, system, pairs, vectors)
    weights = torch.linspace(-1, 2, len(species), dtype=torch.float64)
    return found.detach(), torch.autograd.grad((found * weights).sum(), vectors)[0]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("between", "wall"),
    [(ALL_PAIRS, None), (BETWEEN, WALL), (None, WALL)],
    ids=["prior", "prior of contacts and wall", "wall"],
)
def test_repulsion_and_its_gradient(calls, between, wall, dtype, threads):
    """With pairs beyond the cutoff, at distances from 0.02 Å on, and some that do not repel."""
    prior = None if between is None else build_prior("zbl", (1, 8), 4.0, between)
    parts = [part and part.to(dtype) for part in (prior, build_wall(wall, (1, 8)))]
    system = from_ase(water_box(n=3))
    pairs = build_pairs(system, 5.5)
    vectors = pair_vectors(system, pairs).to(dtype)
    make = torch.Generator().manual_seed(0)  # one draw in a hundred has a pair at the wall's edge
    vectors[::7] *= torch.rand(len(vectors[::7]), 1, dtype=dtype, generator=make) ** 2 + 0.01
    exact = [part and part.double() for part in map(deepcopy, parts)]
    expected = repelled(exact, system, pairs, vectors.double(), compiled=False)
    assert not calls
    assert float(expected[0].max()) > 1.0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = repelled(parts, system, pairs, vectors, compiled=True)
    finally:
        torch.set_num_threads(before)
    assert calls == ["_Repulsion"]
    # differences of large numbers: as good as torch in the same precision, each pair at its scale
    limit = 1e-13 if dtype == torch.float64 else 2e-5
    scale = expected[1].norm(dim=1, keepdim=True).clamp(min=1e-3)
    assert float(((found[1].double() - expected[1]) / scale).abs().max()) < limit
    assert torch.allclose(found[0], expected[0], rtol=limit, atol=limit)


def test_repulsion_that_is_no_number_and_second_derivatives():
    prior = build_prior("zbl", (1, 8), 4.0, BETWEEN)
    system = from_ase(water_box(n=1))
    pairs = build_pairs(system, 4.0)
    vectors = pair_vectors(system, pairs)
    vectors[3, 1] = torch.nan
    for parts in ((prior, build_wall(WALL, (1, 8))), (None, build_wall(WALL, (1, 8)))):
        values, gradient = repelled(parts, system, pairs, vectors, compiled=True)
        assert values.isnan().nonzero().tolist() == [[int(pairs.i[3])]]
        assert gradient.isnan().any(1).nonzero().tolist() == [[3]]
    vectors[3, 1] = 1.0
    vectors.requires_grad_()
    once = system._replace(once=True, compiled=True)
    energy = repulsion.repulsion(prior, None, once.numbers // 8, once, pairs, vectors).sum()
    with pytest.raises(RuntimeError, match="`create_graph`"):
        torch.autograd.grad(energy, vectors, create_graph=True)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_work(threads):
    potential = random_potential(water_box(n=2))
    system = from_ase(water_box(n=2))
    pairs = build_pairs(system, potential.cutoff)
    expected = features(potential, system, pairs, once=True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = features(potential, system, pairs, once=True)
    finally:
        torch.set_num_threads(before)
    assert all(bool((a == b).all()) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("compile", [True, False])
def test_torch_has_one_thread_where_the_work_is_in_c(monkeypatch, compile):
    """And as many as before after it, also where it fails; C++ has them all the while."""
    atoms = read_structure("water64")
    moving = atoms.copy()
    moving.set_velocities(np.ones((192, 3)))
    seen = []
    forward = Potential.forward

    def watched(self, *args, **more):
        seen.append((torch.get_num_threads(), compiled.threads()))
        return forward(self, *args, **more)

    monkeypatch.setattr(Potential, "forward", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        evaluator = Evaluator("water", compile=compile)
        evaluator([atoms], ["energy", "forces"])
        evaluator([moving], ["current"])  # second derivatives: all of it in torch
        assert seen == [(1 if compile else 3, 3), (3, 3)]
        monkeypatch.setattr(Potential, "forward", lambda *_, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluator([atoms], ["energy"])
        assert (torch.get_num_threads(), compiled.threads()) == (3, 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "config",
    [
        {"level": "uQiqiu", "anisotropic": True, "surface": 0},
        {"level": "u", "layers": 2, "charges": "atomic", "surface": 4},
    ],
    ids=["all levels", "two rounds, atomic charges"],
)
def test_the_identities_hold(monkeypatch, calls, config):
    """Differences in float64 in a skew cell and a cluster, in fields; single precision."""
    for module in (cases, identities, model):
        monkeypatch.setattr(module, "predict", partial(predict, compile=True))
    check_model(random_potential(water_box(n=2), cutoff=3.5, **config), [water_box(n=1)])
    assert calls


ALL = ["energy", "forces", "stress", "dipole", "charges", "born_effective_charges", "current"]


def test_all_properties_are_those_of_torch(calls):
    atoms = read_structure("water64")
    atoms.set_velocities(np.random.default_rng(0).normal(size=atoms.positions.shape))
    asked = [*ALL[:-1], "polarizability", "polarizability_derivative"]
    for field in (None, Field(FIELD, (0.0, 0.05, 0.1))):
        one, other = (
            Evaluator("water", dtype="float64", field=field, compile=compile)([atoms], asked)[0]
            for compile in (False, True)
        )
        assert calls
        for name in asked:
            assert np.abs(one[name] - other[name]).max() < 1e-10, name


def test_single_precision_is_as_good():
    """Both differ from double precision by as much."""
    atoms = read_structure("water64")
    exact = Evaluator("water", dtype="float64")([atoms], ALL[:2])[0]
    errors = [
        np.abs(Evaluator("water", compile=compile)([atoms], ALL[:2])[0]["forces"] - exact["forces"])
        for compile in (False, True)
    ]
    assert errors[1].max() < 2 * errors[0].max() < 1e-4
    assert np.sqrt((errors[1] ** 2).mean()) < 1.5 * np.sqrt((errors[0] ** 2).mean())


def test_what_is_differentiated_twice_stays_in_torch(calls):
    atoms = read_structure("water64")
    atoms.set_velocities(np.random.default_rng(0).normal(size=atoms.positions.shape))
    evaluator = Evaluator("water", compile=True)
    plain = Evaluator("water")
    one, other = (x([atoms], ["current"])[0]["current"] for x in (plain, evaluator))
    assert not calls
    assert np.array_equal(one, other)
    potential = lrcalc.load("water")
    system = from_ase(atoms)
    result = predict(potential, system, create_graph=True, compile=True)
    assert not calls
    assert result["forces"].requires_grad


def test_a_second_derivative_is_refused():
    potential = random_potential(water_box(n=1))
    system = from_ase(water_box(n=1))
    pairs = build_pairs(system, potential.cutoff)
    vectors = pair_vectors(system, pairs).requires_grad_()
    made = potential.backbone(system._replace(once=True, compiled=True), pairs, vectors)
    for total in (made.scalars.sum(), (made.scalars**2).sum(), made.vectors.sum()):
        with pytest.raises(RuntimeError, match="`create_graph`"):
            torch.autograd.grad(total, vectors, create_graph=True)


def test_pairs_in_disorder_are_refused():
    potential = random_potential(water_box(n=1))
    system = from_ase(water_box(n=1))._replace(once=True, compiled=True)
    pairs = build_pairs(system, potential.cutoff)
    mixed = Pairs(*(x.flip(0) for x in pairs))
    with pytest.raises(ValueError, match="`pairs` are not sorted"):
        potential.backbone(system, mixed, pair_vectors(system, mixed))


def test_nan_comes_through():
    potential = random_potential(water_box(n=1))
    system = from_ase(water_box(n=1))._replace(once=True, compiled=True)
    pairs = build_pairs(system, potential.cutoff)
    vectors = pair_vectors(system, pairs)
    vectors[0, 1] = torch.nan
    assert bool(potential.backbone(system, pairs, vectors).scalars.isnan().any())


def test_weights_that_change_are_noticed():
    potential = random_potential(water_box(n=1))
    system = from_ase(water_box(n=1))
    for name in ("density_mix", "layer1", "layer2"):
        before = predict(potential, system, compile=True)["energy"]
        with torch.no_grad():
            getattr(potential.backbone, name).mul_(1.1)
        after = predict(potential, system, compile=True)["energy"]
        assert float((after - before).abs()) > 1e-6
        torch.testing.assert_close(after, predict(potential, system)["energy"])


def test_weights_that_are_written_to_uncounted_are_noticed():
    """Torch does not count what goes through ``.data`` or numpy; averages of weights are set so."""
    potential = random_potential(water_box(n=1), level="u", layers=2)
    potential.add_surface(4)
    system = from_ase(water_box(n=1))
    names, field = ("energy", "forces"), Field(FIELD, (0.1, 0.2, 0.3))
    predict(potential, system, None, field, names, compile=True)
    for k, weight in enumerate(potential.parameters()):
        if weight.dim() == 0:
            continue
        if k % 2:
            weight.data.mul_(1.05)
        else:
            weight.detach().numpy()[...] *= 1.05
        found = predict(potential, system, None, field, names, compile=True)
        expected = predict(potential, system, None, field, names)
        for name in names:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


def test_models_that_have_no_such_functions():
    """Other backbones, and sizes beyond a cache, take the code in torch."""
    from tests.models.test_backbone import Radial

    atoms = water_box(n=1)
    for potential in (
        Potential((1, 8), backbone=Radial((1, 8), cutoff=4.0, width=8), level="q"),
        random_potential(atoms, hidden=520, channels=2, charges="atomic"),
    ):
        potential.double()  # what is compiled beside the backbone rounds otherwise
        one, other = (
            Evaluator(potential, compile=c)([atoms], ["energy"])[0] for c in (False, True)
        )
        assert one["energy"] == pytest.approx(other["energy"], abs=1e-11)


def test_without_a_compiler(monkeypatch, tmp_path, calls):
    monkeypatch.setenv("LRCALC_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiled.library.cache_clear()
    try:
        atoms = read_structure("water64")
        one, other = (Evaluator("water", compile=c)([atoms], ["energy"])[0] for c in (False, True))
        assert one == other
        assert not calls
    finally:
        compiled.library.cache_clear()
