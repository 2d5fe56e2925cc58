"""The loop: batches by atoms, no look at values in a step, time limits, ranks."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from lrcalc.checkpoint import load
from lrcalc.electrostatics import Ewald
from lrcalc.models.native import local
from lrcalc.models.potential import Potential
from lrcalc.training import batches, fit, loop
from lrcalc.training.batches import Batches, grouped, in_order, shuffled
from lrcalc.training.data import collate, make_frames
from lrcalc.training.settings import TrainingSettings
from tests.electrostatics.test_ewald import NoLookAtValues
from tests.training.labelled import labelled
from tests.training.sets import label, water_box

SMALL = {"channels": 4, "hidden": 8, "cutoff": 3.0, "transfer_cutoff": 2.5}


def mixed():
    """A periodic box, molecules, a stress in one of them: what a batch may hold."""
    boxes = labelled(3, stress=True)
    for k, atoms in enumerate(boxes):
        atoms.set_cell(np.diag([0.2 * k, 0.0, 0.1]) + atoms.cell)
    water = [label(water_box(seed=k, n=2), stress=False) for k in range(2)]
    for atoms in water:
        atoms.pbc = False
    return make_frames(boxes, "a.xyz", 3.0) + make_frames(water, "b.xyz", 3.0)


def test_batches_by_atoms():
    sizes = [5, 9, 3, 3, 20, 2]
    assert grouped(range(6), sizes, 1, 10) == [[0], [1], [2, 3], [4], [5]]
    assert grouped(range(6), sizes, 4, 0) == [[0, 1, 2, 3], [4, 5]]
    settings = TrainingSettings(batch_atoms=12)
    once, again = (shuffled(sizes, settings, 3) for _ in range(2))
    assert once == again != shuffled(sizes, settings, 4)
    assert sorted(k for batch in once for k in batch) == list(range(6))
    assert all(len(batch) == 1 or sum(sizes[k] for k in batch) <= 12 for batch in once)
    assert in_order(sizes, TrainingSettings(batch_size=4)) == [[0, 1, 2, 3], [4, 5]]
    assert in_order(sizes, TrainingSettings(device="cuda")) == [list(range(6))]


@pytest.mark.parametrize("level", ["u", "uiu"])
def test_prepared_pairs_are_those_of_the_frames(level):
    """Batches as on a GPU, of pairs kept there: the same structures, energies and gradients."""
    frames = mixed()
    potential = started(frames, level)
    prepared = Batches(frames, potential, apart=True)
    for chosen in ([4, 0, 2], [3], [1, 1]):
        ours, plain = prepared(chosen), collate([frames[k] for k in chosen])
        for a, b in zip(ours.pairs, plain.pairs, strict=True):
            assert torch.equal(a, b)
        assert ours.system.host is not None
        found = [gradient(potential, batch) for batch in (ours, plain)]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5 * float(found[1].abs().max()))


def started(frames, level="u"):
    species = sorted({int(z) for f in frames for z in f.system.numbers})
    torch.manual_seed(0)
    potential = Potential(species, level=level, **SMALL)
    batch = collate(frames)
    potential.calibrate(batch.system, batch.pairs)
    return potential


def gradient(potential, batch):
    shifts = torch.zeros(1, dtype=torch.float64)
    errors = loop.residuals(potential, batch, shifts, training=True, stress=True)
    potential.zero_grad()
    loop.loss(errors, dict.fromkeys(errors, 1.0)).backward()
    return torch.cat([p.grad.flatten() for p in potential.parameters() if p.grad is not None])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_looks_at_no_value(device, monkeypatch, tmp_path):
    """Neither a step nor a validation, once plans are made; those are made on the host."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    frames = mixed()
    settings = TrainingSettings(batch_size=2, device=device)
    state = fit._start(
        frames,
        {"level": "uQiqiu", "anisotropic": True, "layers": 2, **SMALL},
        settings,
        {},
        None,
        None,
        False,
    )
    prepared = Batches(frames, state.potential, apart=True)
    on_host(monkeypatch, Ewald, "plan")
    on_host(monkeypatch, local, "sort_by_species")
    on_host(monkeypatch, batches, "collate")
    on_host(monkeypatch, batches, "_rows")
    state.progress["shifts"] = torch.zeros(1, dtype=torch.float64)
    shifts = torch.zeros(1, dtype=torch.float64, device=device)
    measured = loop.Accumulator(1, prepared.device)
    weights = loop.weights_of(settings)

    def step():
        errors = loop.compare(state.potential, prepared, [0, 1, 3], shifts, settings, measured)
        loop.step(state, errors, weights, 1e-3, settings)

    step()
    before = [p.detach().clone() for p in state.potential.parameters()]
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        monkeypatch.setattr(torch, "tensor", _made_on_the_host(torch.tensor))
        monkeypatch.setattr(state.optimizer, "step", _undispatched(state.optimizer.step))
        with NoLookAtValues():
            step()
    assert all((a != b).any() for a, b in zip(before, state.potential.parameters(), strict=True))


def on_host(monkeypatch, owner, name):
    """Let a function look at values: those of the host, which is where it is given them."""
    monkeypatch.setattr(owner, name, _undispatched(getattr(owner, name)))


def _made_on_the_host(function):
    """Numbers of the host may become a tensor there; given a device, they are waited for."""
    plain = _undispatched(function)
    return lambda *x, device=None, **more: (
        plain(*x, **more) if device is None else function(*x, device=device, **more)
    )


def _undispatched(function):
    def call(*arguments, **keywords):
        with _disable_current_modes():
            return function(*arguments, **keywords)

    return call


def test_a_training_stops_in_time_and_goes_on(tmp_path):
    frames = mixed()
    settings = TrainingSettings(epochs=4, batch_atoms=14)
    config = {"level": "q", **SMALL}
    fit.fit(frames[:4], frames[4:], config, settings, tmp_path / "whole.pt")
    rows, notes = [], []
    for minutes in (1e-9, 0.0):
        fit.fit(
            frames[:4], frames[4:], config, settings._replace(max_minutes=minutes),
            tmp_path / "parts.pt", report=rows.append, note=notes.append,
        )  # fmt: skip
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert notes[0].startswith("stopped after epoch 1 of 4")
    whole, parts = load(tmp_path / "whole.pt"), load(tmp_path / "parts.pt")
    for one, two in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_divergence_is_told_by_the_end_of_the_epoch(tmp_path):
    frames = mixed()
    frames[0] = frames[0]._replace(energy=float("nan"))
    with pytest.raises(ValueError, match="the loss became nan in epoch 1; lower --learning-rate"):
        fit.fit(frames[:3], frames[3:], {"level": "q", **SMALL}, TrainingSettings(epochs=1),
                tmp_path / "m.pt")  # fmt: skip


def test_energies_gain_weight_without_a_kick():
    """Adam scales by gradients of the past thousand steps, so the weight may not jump."""
    epochs, factor = 80, 4.0
    course = np.array([loop.boost(k / epochs, factor) for k in range(epochs)])
    assert course[0] == course[int(0.65 * epochs)] == 1.0
    assert course[-1] == factor
    middle = loop.boost(0.75, factor)
    assert middle == pytest.approx(2.0)  # half way in the logarithm
    steps = course[1:] / course[:-1]
    assert steps.min() >= 1.0
    assert steps.max() < 1.1
