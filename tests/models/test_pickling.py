"""Potentials whose backbone is pickled as a recipe, and those that no recipe could make again."""

import pickle

import pytest
import torch

from lrcalc.models.potential import Potential
from lrcalc.prediction import predict
from lrcalc.system import from_ase
from tests.sample_structures import water_box

SMALL = {"level": "u", "channels": 4, "hidden": 8, "cutoff": 4.0}


def made():
    torch.manual_seed(0)
    return Potential((1, 8), **SMALL).double()


def composed():
    whole = made()
    return Potential.compose(whole.backbone, whole.readout, whole.ewald, species=(1, 8)).double()


@pytest.mark.parametrize("make", [made, composed])
@pytest.mark.parametrize("by_recipe", [True, False])
def test_what_comes_back_gives_the_same_energies(monkeypatch, make, by_recipe):
    potential = make()
    monkeypatch.setattr(type(potential.backbone), "by_recipe", by_recipe, raising=False)
    potential.readout.requires_grad_(False)
    again = pickle.loads(pickle.dumps(potential))
    system = from_ase(water_box(n=2))
    one, two = (predict(p, system)["energy"] for p in (potential, again))
    assert float(one.abs()) > 1e-6
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    learned = [n for n, p in potential.named_parameters() if p.requires_grad]
    assert learned == [n for n, p in again.named_parameters() if p.requires_grad]
