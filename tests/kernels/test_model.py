"""A whole model with kernels and without, and what decides between them."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from lrcalc.captured.stage import Stage
from lrcalc.kernels import choice
from lrcalc.models.potential import Potential
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.prediction import Options, call_model, predict
from lrcalc.system import as_frames, from_ase, from_frames
from tests.kernels import DEVICE, needs_kernels, same, torch_only  # noqa: F401

MODELS = {
    "one round": ({"level": "u"}, ("energy", "forces", "stress", "born_effective_charges")),
    "two rounds": (
        {"level": "uQ", "layers": 2, "charges": "atomic"},
        ("energy", "forces", "stress", "born_effective_charges"),
    ),
}


def water(n, seed):
    """Molecules in a triclinic cell."""
    rng = np.random.default_rng(seed)
    whole = None
    for k in range(n):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate([3.1 * k, 0.3 * k, 0])
        whole = one if whole is None else whole + one
    whole.set_cell([[3.1 * n, 0, 0], [1.0, 4.0, 0], [0.5, 0.7, 5.0]])
    whole.pbc = True
    return whole


def model_of(options, system):
    torch.manual_seed(1)
    model = Potential((1, 8), **options).to(DEVICE, torch.float64)
    model.calibrate(system, build_pairs(system, model.cutoff))
    return model


def padded_pairs(pairs, count):
    """Pairs with ``count`` more of the last centre, so far away that they carry nothing."""
    last = pairs.i[-1:].expand(count)
    far = torch.tensor([[1000, 0, 0]], device=pairs.i.device).expand(count, -1)
    return Pairs(
        torch.cat([pairs.i, last]), torch.cat([pairs.j, last]), torch.cat([pairs.shift, far])
    )


@needs_kernels
@pytest.mark.parametrize("structures", [[water(2, 1)], [water(1, 2), water(2, 3)]])
@pytest.mark.parametrize("name", MODELS)
def test_properties_are_those_of_torch(name, structures, torch_only):  # noqa: F811
    options, properties = MODELS[name]
    system = from_ase(structures, device=DEVICE)
    model = model_of(options, system)
    pairs = padded_pairs(build_pairs(system, model.cutoff), 5)
    expected = torch_only(predict, model, system, pairs, None, properties)
    for key, found in predict(model, system, pairs, None, properties).items():
        assert same(found, expected[key], 1e-11), key


@needs_kernels
def test_step_of_fixed_shapes(torch_only):  # noqa: F811
    """Pairs that fill up arrays carry nothing, and vectors are those of a search and what moved."""
    atoms = water(2, 7)
    model = model_of({"level": "u"}, from_ase(atoms, device=DEVICE))
    names = {"energy", "forces"}

    def step():
        frames = as_frames(atoms)
        host = from_frames([frames])
        settings = (model.cutoff, model.readout.transfer_cutoff, 0.6, torch.float64)
        stage = Stage(host, torch.device(DEVICE), *settings)
        for shift in (0.0, 0.05):
            moved = frames.positions.reshape(-1, 3) + shift * np.sin(np.arange(18)).reshape(6, 3)
            stage.load(moved, frames.cells, (0.0, 0.0, 0.0))
            stage.search_if_due()
            system, pairs, _ = stage.ready()
        assert stage.searches == 1
        return call_model(model, system, pairs, None, names, Options(1.0)).results(names)

    expected = torch_only(step)
    for key, found in step().items():
        assert same(found, expected[key], 1e-11), key


@needs_kernels
def test_forces_by_finite_differences():
    system = from_ase(water(2, 4), device=DEVICE)
    model = model_of({"level": "u"}, system)
    way = torch.randn(6, 3, dtype=torch.float64).to(DEVICE)
    forces = predict(model, system)["forces"]
    ends = [
        predict(model, system._replace(positions=system.positions + s * way))["energy"]
        for s in (1e-4, -1e-4)
    ]
    slope = float((ends[0] - ends[1]).sum()) / 2e-4
    assert slope == pytest.approx(-float((forces * way).sum()), rel=1e-6)


@needs_kernels
def test_atoms_that_are_neighbours_only(torch_only):  # noqa: F811
    """Ghosts come last and start no pairs."""
    system = from_ase(water(2, 5), device=DEVICE)
    model = model_of({"level": "u"}, system)
    pairs = build_pairs(system, model.cutoff)
    own = pairs.i < 3
    pairs = Pairs(pairs.i[own], pairs.j[own], pairs.shift[own])
    vectors = torch.randn(len(pairs.i), 3, dtype=torch.float64).to(DEVICE).requires_grad_()
    system = system._replace(centres=3, once=True)
    both = []
    for call in (lambda f: f(), torch_only):
        features = call(lambda: model.backbone(system, pairs, vectors))
        assert len(features.scalars) == 3
        total = sum((x * x).sum() for x in features[:3])
        both.append(torch.autograd.grad(total, vectors)[0])
    assert same(*both, 1e-12)


@needs_kernels
def test_training_takes_torch():
    """Gradients of forces by weights are those without kernels, as nothing is fused for them."""
    system = from_ase(water(1, 6), device=DEVICE)
    model = model_of({"level": "u"}, system)
    forces = predict(model, system, properties=("forces",), create_graph=True)["forces"]
    assert torch.autograd.grad(forces.square().sum(), model.backbone.layer1)[0].abs().max() > 0


def test_switched_off(monkeypatch):
    monkeypatch.setenv("LRCALC_KERNELS", "0")
    assert not choice.available(torch.zeros(1, device=DEVICE))


def test_not_on_a_cpu(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not choice.available(torch.zeros(1))


def test_second_derivatives_are_refused():
    with pytest.raises(RuntimeError, match="create_graph"):
        choice.refuse_second_derivatives()
    with torch.no_grad():
        choice.refuse_second_derivatives()
