"""`step_memory`: first gradients that are a million times too large are forgotten."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from lrcalc.cli import main
from lrcalc.training.data import make_frames
from lrcalc.training.fit import fit
from lrcalc.training.settings import TrainingSettings
from lrcalc.training.state import make_optimizer


def displaced(n):
    """Copper, atoms 0.01 Å from their places: forces of 0.04 eV/Å."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(scale=0.01, size=(4, 3))
        atoms.calc = EMT()
        atoms.get_potential_energy()
        frames.append(atoms)
    return frames


def test_small_forces_are_learned_that_amsgrad_does_not(tmp_path):
    frames = make_frames(displaced(25), "emt", 3.5, allow_images=True)
    config = {"level": "sr", "cutoff": 3.5, "channels": 4, "hidden": 8}
    errors = {}
    for memory in (0, 20):
        how = TrainingSettings(epochs=15, step_memory=memory)
        made = fit(frames[5:], frames[:5], config, how, tmp_path / f"{memory}.pt")
        errors[memory] = made.metadata["errors"]["valid_forces"]
        assert ("steps by the gradients of 20" in made.metadata["training"]) == (memory == 20)
    assert errors[20] < 0.5 * errors[0]


def test_size_of_a_step_is_that_of_adam_with_so_short_a_memory():
    """Two gradients g and 1e-6 g, then steps by hand (Kingma & Ba, 2015)."""
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    settings = TrainingSettings(step_memory=20, weight_decay=0.0, learning_rate=1e-2)
    optimizer = make_optimizer(model, settings)
    weight = float(model.weight.detach())
    mean = square = 0.0
    for step, gradient in enumerate([1.0, *[1e-6] * 400], 1):
        model.weight.grad = torch.full_like(model.weight, gradient)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.95 * square + 0.05 * gradient**2
        size = (square / (1 - 0.95**step)) ** 0.5 + 1e-8
        weight -= 1e-2 * mean / (1 - 0.9**step) / size
        assert float(model.weight.detach()) == pytest.approx(weight, rel=1e-9)


def test_one_step_remembers_nothing(tmp_path, capsys):
    line = ["train", "--train", "x.xyz", "--step-memory", "1", "--out", str(tmp_path / "m.pt")]
    assert main(line) == 2
    assert "`--step-memory` is 1 but must be 0" in capsys.readouterr().err
