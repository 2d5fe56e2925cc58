"""Steps recorded once and replayed: the same training, however they are launched."""

import itertools

import pytest
import torch

from lrcalc.checkpoint import load
from lrcalc.cuda_graph import Recorded
from lrcalc.training import fit, recorded
from lrcalc.training.batches import Batches, shuffled
from lrcalc.training.settings import TrainingSettings
from tests.training.test_loop import SMALL, mixed

EPOCHS, SEED = 5, 1  # a seed with which no two frames stay together


def again(function, pool=None):
    """Stand in for CUDA graphs: run it anew, and put what it returns where it was first."""
    function()
    result = function()

    def tensors(made):
        return [*made.errors.values(), made.value]

    def replay():
        for old, new in zip(tensors(result), tensors(function()), strict=True):
            old.copy_(new)

    return Recorded(result, replay, "pool")


def settings(**other):
    return TrainingSettings(epochs=EPOCHS, batch_size=2, ema=0.5, **other)


def test_frames_stay_together_while_their_order_changes():
    sizes, kept = [3] * 7, TrainingSettings(batch_size=2, keep_batches=3)
    plans = [shuffled(sizes, kept, epoch) for epoch in range(6)]
    for early, late in itertools.pairwise(plans[:3]):
        assert early != late
        assert sorted(early) == sorted(late)
    assert sorted(plans[2]) != sorted(plans[3])
    for plan in plans:
        assert sorted(k for batch in plan for k in batch) == list(range(7))


@pytest.mark.parametrize("level", ["u", "uiu"])
def test_recorded_steps_are_those_that_were_not(level, tmp_path, monkeypatch):
    """Weights after several epochs, one regrouping among them, and the learning curve."""
    frames = mixed()
    chosen = settings(keep_batches=3, seed=SEED)
    calls = []

    def counting(function, pool=None):
        calls.append(pool)
        return again(function, pool)

    rows = {}
    for name in ("plain", "recorded"):
        if name == "recorded":
            monkeypatch.setattr(fit, "can_record", lambda *_: True)
            monkeypatch.setattr(recorded, "record", counting)
        rows[name] = []
        fit.fit(frames[:4], frames[4:], {"level": level, **SMALL}, chosen,
                tmp_path / f"{name}.pt", report=rows[name].append)  # fmt: skip
    # each batch when it comes again, those after the regrouping likewise
    assert calls == [None, "pool", None, "pool"]
    for one, two in zip(*rows.values(), strict=True):
        for key in ("loss", "train_energy", "train_forces", "valid_forces"):
            assert one[key] == pytest.approx(two[key], rel=1e-4)
    plain, other = (load(tmp_path / f"{name}.pt").state_dict() for name in rows)
    for name in plain:
        torch.testing.assert_close(plain[name], other[name], rtol=1e-3, atol=1e-5)


def test_what_cannot_be_recorded_is_told_once_and_trained_all_the_same(tmp_path, monkeypatch):
    def refuse(function, pool=None):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(fit, "can_record", lambda *_: True)
    monkeypatch.setattr(recorded, "record", refuse)
    with pytest.warns(UserWarning, match="not recorded as CUDA graphs: operation not") as told:
        fit.fit(mixed()[:4], mixed()[4:], {"level": "q", **SMALL}, settings(keep_batches=9),
                tmp_path / "m.pt")  # fmt: skip
    assert len(told) == 1
    assert (tmp_path / "m.pt").is_file()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("level", ["u", "uiu"])
def test_graphs_give_the_gradients_of_single_kernels(level):
    frames = mixed()
    chosen = settings(device="cuda")
    state = fit._start(frames, {"level": level, **SMALL}, chosen, {}, None, None, False)
    train = Batches(frames, state.potential)
    made = recorded.RecordedGradients(state.potential, train, 2, chosen)
    weights = {"energy": 2.0, "forces": 1.0, "stress": 3.0}
    plan = [[0, 1, 3], [2, 4]]
    found = []
    for _ in range(3):  # launched one by one, recorded, replayed
        made.prepare(plan, torch.zeros(2, dtype=torch.float64), weights)
        for frames_of_step in plan:
            one = made(frames_of_step)
            gradients = [p.grad.clone() for p in state.potential.parameters() if p.grad is not None]
            found.append([one.value.clone(), *gradients])
    assert len(made._kept) == 2
    for first, *others in (found[::2], found[1::2]):
        for other in others:
            for a, b in zip(first, other, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
