"""The check of models that is shipped to others: ours pass it, and it names what is broken."""

import pytest
import torch

from lrcalc import Potential
from lrcalc.testing import check_model
from lrcalc.testing.cases import settled_slope, slope_of
from lrcalc.testing.identities import STEP
from lrcalc.testing.model import IDENTITIES
from tests.conftest import random_potential
from tests.models.test_backbone import Messages, Radial
from tests.sample_structures import cluster, water_box

SMALL = {"channels": 4, "hidden": 8, "cutoff": 3.5}


@pytest.mark.parametrize(
    ("config", "held"),
    [
        ({"level": "uiu", "anisotropic": True, "surface": 4}, set(IDENTITIES) - {"levers"}),
        ({"level": "u", "layers": 2}, {"electric_field", "repeated", "batched", "shifted"}),
        (
            {"level": "u", "layers": 2, "charges": "atomic"},
            {"driven", "born", "levers", "repeated"},
        ),
    ],
    ids=["surface", "two-rounds", "two-rounds-atomic"],
)
def test_native_models_pass(config, held):
    potential = random_potential(water_box(n=2), **SMALL, **config)
    errors = check_model(potential)
    assert {name.split()[0] for name in errors} >= held
    assert "repeated born_effective_charges" in errors


def test_a_step_of_the_energy_a_little_way_off_is_no_slope():
    """Wave vectors come and go as a cell is strained: some cell has one just outside."""

    def stepping(s):
        return torch.tensor([s + s**2 + 1e-6 * (s > 1.9 * STEP)])

    assert abs(float(slope_of(stepping, STEP).value) - 1.0) > 1e-5
    assert abs(float(settled_slope(stepping, STEP, torch.ones(())).value) - 1.0) < 1e-11
    torch.manual_seed(3)
    check_model(Potential((1, 8), backbone=Radial((1, 8), cutoff=4.0, width=8), level="q"))


def stretched(vectors):
    """Vectors whose derivative is not their own."""
    return 1.5 * vectors - 0.5 * vectors.detach()


class Deaf(Messages):
    """Two rounds that pass for one: levers end too soon."""

    layers = 1


class Stretched(Messages):
    def forward(self, system, pairs, vectors):
        return super().forward(system, pairs, stretched(vectors))


class Placed(Messages):
    """Hears where the atoms are."""

    def forward(self, system, pairs, vectors):
        features = super().forward(system, pairs, vectors)
        place = torch.sin(system.positions[:, :1]).to(vectors.dtype)
        return features._replace(scalars=features.scalars + 0.01 * place)


class Counting(Messages):
    """Hears with whom it was computed."""

    def forward(self, system, pairs, vectors):
        features = super().forward(system, pairs, vectors)
        return features._replace(scalars=features.scalars * system.n_structures)


class Coarse(Messages):
    """Thinks in half precision."""

    def forward(self, system, pairs, vectors):
        features = super().forward(system, pairs, vectors)
        kept = features.scalars.detach()
        return features._replace(scalars=features.scalars - kept + kept.half().to(kept.dtype))


@pytest.mark.parametrize(
    ("backbone", "failing"),
    [
        (Deaf, {"levers"}),
        (Stretched, {"forces", "stress"}),
        (Placed, {"turned energy", "wrapped energy"}),
        (Counting, {"batched energy"}),
        (Coarse, {"forces"}),
    ],
)
def test_what_is_broken_is_named(backbone, failing):
    atoms = water_box(n=2)
    torch.manual_seed(0)
    made = backbone((1, 8), cutoff=3.5, width=4)
    potential = Potential((1, 8), backbone=made, level="q", charges="atomic")
    with pytest.raises(ValueError, match="this model fails") as error:
        check_model(potential, [atoms, cluster(n=1)])
    named = [line.split(" is off by ")[0].strip() for line in str(error.value).splitlines()[1:]]
    assert failing <= set(named)
    assert "allowed 1e-06 (" in str(error.value)
