"""NequIP and Allegro under our readout, trained by our command: every check, and i-PI."""

import pytest

from lrcalc import load
from tests.adapters.trained import check_trained, check_under_ipi, train_few_steps

pytest.importorskip("allegro", reason="nequip-allegro is not installed: make test-nequip")

TINY = {
    "nequip": ["l_max=1", "num_features=3", "radial_mlp_width=4", "num_bessels=4"],
    "allegro": [
        "l_max=1", "num_scalar_features=4", "num_tensor_features=2", "num_bessels=4",
        "scalar_embed_mlp_hidden_layers_width=4", "allegro_mlp_hidden_layers_width=4",
    ],
}  # fmt: skip
LAYERS = {"nequip": 2, "allegro": 1}
"""Rounds of messages between atoms: Allegro's layers pass none."""


@pytest.fixture(scope="module", params=TINY)
def trained(request, tmp_path_factory):
    name = request.param
    path = train_few_steps(tmp_path_factory.mktemp(name), name, TINY[name])
    assert load(path).config["backbone"] == name
    assert load(path).backbone.layers == LAYERS[name]
    return path


def test_trained_they_pass_every_check(trained):
    check_trained(trained)


@pytest.mark.timeout(120)
def test_i_pi_is_told_what_ase_is(trained, tmp_path):
    check_under_ipi(trained, tmp_path)
