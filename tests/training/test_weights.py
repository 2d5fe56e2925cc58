"""What weights are fitted by, and averaged with: the loss, the average, the sizes with names."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.models.options import NATIVE_DEFAULTS, PRESETS
from lrcalc.training import fit, loop
from lrcalc.training.batches import Batches
from lrcalc.training.data import collate
from lrcalc.training.loss import HUBER, huber, loss, scales_of
from lrcalc.training.settings import TrainingSettings
from tests.training.labelled import labelled
from tests.training.test_loop import SMALL, mixed, started

CONFIG = {"level": "q", **SMALL}


def test_huber_has_the_gradient_of_its_formula():
    """2 r within the scale, 2 δ r/|r| beyond: also at zero, and at the scale from both sides."""
    scale = 0.3
    rows = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[0] = 0.0
    rows[1:3] = scale * torch.tensor([[0.6, 0.0, 0.8]]) * torch.tensor([[1 - 1e-9], [1 + 1e-9]])
    rows[3:20] *= 0.1
    rows.requires_grad_(True)
    huber(rows, scale).backward()
    r = rows.detach().numpy()
    length = np.linalg.norm(r, axis=1, keepdims=True)
    far = length > scale
    assert 5 < far.sum() < 35
    expected = 2 * r * np.where(far, scale / np.where(far, length, 1.0), 1.0)
    np.testing.assert_allclose(rows.grad, expected, rtol=1e-13)
    value = np.where(far, 2 * scale * length - scale**2, length**2).sum()
    assert float(huber(rows.detach(), scale)) == pytest.approx(value, rel=1e-13)


def test_huber_does_not_hang_on_the_axes_and_is_mse_of_small_errors():
    generator = torch.Generator().manual_seed(1)
    forces = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    stress = torch.randn(4, 3, 3, dtype=torch.float64, generator=generator)
    turn = torch.tensor(Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix())
    for errors, turned in ((forces, forces @ turn), (stress, turn.T @ stress @ turn)):
        one, two = (float(huber(x, 0.5)) for x in (errors, turned))
        assert one == pytest.approx(two, rel=1e-12)
        assert one < 0.9 * float(errors.square().sum())
    settings = TrainingSettings(loss="huber", huber_scale=0.2)
    scales = scales_of(settings)
    assert scales == {"forces": 0.2, "energy": 0.2 * HUBER["energy"], "stress": 0.004}
    small = {"forces": 1e-3 * forces, "energy": 1e-4 * forces[:, 0], "born": 5.0 + stress}
    weights = {"forces": 1.0, "energy": 20.0, "born": 0.3}
    assert float(loss(small, weights, None, scales)) == float(loss(small, weights))
    large = {"forces": 1e3 * forces}
    mean = 2 * 0.2 * 1e3 * forces.norm(dim=1).mean() / 3
    assert float(loss(large, weights, None, scales)) == pytest.approx(float(mean), rel=1e-3)


def test_the_loss_of_a_batch_is_that_of_its_shares():
    """Shares of two ranks over common counts add up to the loss of one."""
    frames = mixed()
    potential = started(frames)
    shifts = torch.zeros(1, dtype=torch.float64)
    weights = {"energy": 20.0, "forces": 1.0, "stress": 100.0}
    scales = scales_of(TrainingSettings(loss="huber", huber_scale=0.1))

    def errors(chosen):
        batch = collate([frames[k] for k in chosen])
        return loop.residuals(potential, batch, shifts, training=True, stress=True)

    whole = errors([0, 3, 1, 4])
    counts = {name: torch.tensor(float(x.numel())) for name, x in whole.items()}
    parts = [float(loss(errors(k), weights, counts, scales).detach()) for k in ([3, 4], [0, 1])]
    assert float(loss(whole, weights, None, scales).detach()) == pytest.approx(sum(parts), rel=1e-5)


def test_a_wrong_force_pulls_no_harder_than_the_scale():
    """Where a constant is fitted, squares give the mean; huber is pulled by δ/n, however far."""
    right = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    right = 0.01 * right
    for distance in (5.0, 500.0):
        far = torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64) * distance
        data, found = torch.cat([right, far]), {}
        for name in ("mse", "huber"):
            scales = scales_of(TrainingSettings(loss=name, huber_scale=0.1))
            fitted = right.mean(0).clone().requires_grad_(True)
            solver = torch.optim.LBFGS([fitted], max_iter=100, tolerance_grad=1e-12)

            def value(fitted=fitted, scales=scales, data=data, solver=solver):
                solver.zero_grad()
                now = loss({"forces": data - fitted}, {"forces": 1.0}, None, scales)
                now.backward()
                return now

            solver.step(value)
            found[name] = fitted.detach()
        torch.testing.assert_close(found["mse"], data.mean(0), rtol=1e-8, atol=1e-10)
        aside = far[0] - found["huber"]
        pulled = right.mean(0) + 0.1 / 9 * aside / aside.norm()
        torch.testing.assert_close(found["huber"], pulled, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.995])
def test_the_average_is_that_of_a_formula(decay):
    frames = mixed()
    settings = TrainingSettings(ema=decay)
    state = fit._start(frames, CONFIG, settings, {}, None, None, False)
    shifts = torch.zeros(1, dtype=torch.float64)
    prepared = Batches(frames, state.potential)
    measured = loop.Accumulator(1, prepared.device)
    weights = loop.weights_of(settings)

    def values(model):
        return np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])

    mean = values(state.potential)
    for step in range(1, 31):
        errors = loop.compare(state.potential, prepared, [step % 4], shifts, settings, measured)
        loop.step(state, errors, weights, 1e-2, settings)
        kept = min(decay, (1 + step) / (10 + step))
        mean = kept * mean + (1 - kept) * values(state.potential)
    np.testing.assert_allclose(values(state.averaged), mean, atol=1e-6)
    moved = np.abs(values(state.averaged) - values(state.potential)).max()
    assert moved == 0 if decay == 0 else moved > 1e-3


def test_a_killed_run_keeps_weights_average_and_optimizer_to_the_last_bit(tmp_path):
    frames = mixed()
    settings = TrainingSettings(epochs=4, loss="huber", huber_scale=0.02)

    def kill(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    def run(name, settings=settings, report=None):
        fit.fit(frames[:4], frames[4:], CONFIG, settings, tmp_path / f"{name}.pt", report=report)

    run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("parts", report=kill)
    run("parts")
    whole, parts = (
        torch.load(tmp_path / f"{name}.state.pt", weights_only=True) for name in ("whole", "parts")
    )
    for part in ("potential", "average"):
        for name, value in whole[part].items():
            assert torch.equal(value, parts[part][name]), (part, name)
    assert any(
        not torch.equal(value, whole["potential"][name]) for name, value in whole["average"].items()
    )
    for one, two in zip(*(list(s["optimizer"]["state"].values()) for s in (whole, parts)),
                        strict=True):  # fmt: skip
        assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(ValueError, match="`huber_scale` was 0.02, now 0.03"):
        run("parts", settings._replace(huber_scale=0.03))
    with pytest.raises(ValueError, match="`loss` was huber, now None"):
        run("parts", TrainingSettings(epochs=4))


def test_states_from_before_huber_go_on(tmp_path):
    """A state that says nothing of a loss was one of squares."""
    frames = mixed()
    fit.fit(frames[:4], frames[4:], CONFIG, TrainingSettings(epochs=1), tmp_path / "m.pt")
    state = torch.load(tmp_path / "m.state.pt", weights_only=True)
    assert '"loss"' not in state["run"]
    assert "huber" not in state["run"]


def test_settings_in_vain_are_refused(tmp_path):
    frames = mixed()
    for wrong, said in (
        ({"huber_scale": 0.1}, "`huber_scale` is 0.1 but the loss, mse, has no scale; give"),
        ({"loss": "rmse"}, "`loss` is rmse but must be mse or huber"),
        ({"loss": "huber", "huber_scale": 0.0}, "`huber_scale` is 0.0 but must be positive"),
    ):
        settings = TrainingSettings(epochs=1, **wrong)
        with pytest.raises(ValueError, match=said):
            fit.fit(frames[:4], frames[4:], CONFIG, settings, tmp_path / "m.pt")


def test_presets_are_sizes_and_options_have_the_last_word(tmp_path, capsys):
    from ase.io import write

    data = tmp_path / "water.xyz"
    write(data, labelled(4), format="extxyz")
    common = ["train", "--train", str(data), "--epochs", "1", "--cutoff", "3", "--valid-every", "3"]
    out = tmp_path / "m.pt"
    assert main([*common, "--preset", "large", "--channels", "4", "--hidden", "8", "--out",
                 str(out)]) == 0  # fmt: skip
    model = load(out)
    assert [model.config[k] for k in ("channels", "hidden")] == [4, 8]
    assert model.backbone.layers == PRESETS["large"]["layers"] == 2
    assert model.metadata["preset"] == "large with channels 4, hidden 8"
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    card = capsys.readouterr().out
    assert "preset" in card
    assert "squared errors; weights averaged over steps with decay 0.995; seed 0" in card
    assert PRESETS["medium"].items() <= NATIVE_DEFAULTS.items()
    refused = ["--preset", "small", "--backbone-file", str(out), "--out", str(tmp_path / "n.pt")]
    assert main([*common, *refused]) == 2
    assert "`--preset` is small, a size of the native backbone, but" in capsys.readouterr().err
