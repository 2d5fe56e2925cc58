"""NequIP and Allegro as backbones: against themselves, the promises, and what is refused."""

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols

from lrcalc import Potential
from lrcalc.models.adapters import foreign_import
from lrcalc.models.adapters.foreign_import import quiet
from lrcalc.models.backbone import build_backbone, find_backbone
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from lrcalc.testing import check_backbone
from tests.sample_structures import water_box

pytest.importorskip("allegro", reason="nequip-allegro is not installed: make test-nequip")

SMALL = {
    "nequip": {"cutoff": 4.0, "l_max": 1, "num_features": 4, "radial_mlp_width": 8},
    "allegro": {
        "cutoff": 4.0, "l_max": 1, "num_scalar_features": 8, "num_tensor_features": 4,
        "scalar_embed_mlp_hidden_layers_width": 8, "allegro_mlp_hidden_layers_width": 8,
    },
}  # fmt: skip


def built(name, species=(1, 8), **settings):
    torch.manual_seed(0)
    return build_backbone(
        name, species, {**find_backbone(name).defaults, **SMALL[name], **settings}
    )


def looked(backbone, atoms):
    system = from_ase(atoms)
    return system, build_pairs(system, backbone.cutoff)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nequip", {}),
        ("nequip", {"parity": True, "num_features": [5, 3], "num_layers": 3}),
        ("nequip", {"l_max": 2, "num_layers": 1, "bessel_trainable": True}),
        ("allegro", {}),
        ("allegro", {"l_max": 2, "parity": False, "num_layers": 1, "avg_num_neighbors": 9.0}),
        ("allegro", {"l_max": 0}),
    ],
)
def test_they_keep_the_promises_of_a_backbone(name, settings):
    errors = check_backbone(built(name, **settings))
    assert errors["rotation"] < 1e-12
    assert errors["isolated"] == 0


def theirs(name, backbone, atoms):
    """What the package makes of positions, cell and shifts by its own way, with our weights."""
    from nequip.nn import SequentialGraphNetwork

    parts = {
        "nequip": lambda b: {**b.before, **{f"layer{k}": x for k, x in enumerate(b.convnets)}},
        "allegro": lambda b: dict(b.parts),
    }[name](backbone)
    system, pairs = looked(backbone, atoms)
    data = {
        "pos": system.positions, "cell": system.cell, "batch": system.batch,
        "atom_types": torch.tensor([(1, 8).index(z) for z in atoms.numbers]),
        "edge_index": torch.stack([pairs.i, pairs.j]),
        "edge_cell_shift": pairs.shift.double(),
    }  # fmt: skip
    return SequentialGraphNetwork(parts)(data)


@pytest.mark.parametrize("name", ["nequip", "allegro"])
def test_features_are_those_of_the_package_from_positions(name):
    backbone, atoms = built(name).double(), water_box(n=3)
    system, pairs = looked(backbone, atoms)
    vectors = pair_vectors(system, pairs)
    data = theirs(name, backbone, atoms)
    if name == "nequip":
        found = backbone.node_features(system.numbers, pairs, vectors)[-1]
        expected = data["node_features"]
    else:
        found, expected = (
            backbone.edge_features(system.numbers, pairs, vectors)[0],
            data["edge_features"],
        )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("name", ["nequip", "allegro"])
def test_modules_are_those_of_the_packages_own_builder(name):
    """Names and shapes of all parameters: what is left out are readouts and one layer more."""
    from nequip.utils.global_state import set_global_state
    from nequip.model import NequIPGNNModel  # isort: skip
    from allegro.model import AllegroModel  # isort: skip

    set_global_state()
    common = {"seed": 0, "model_dtype": "float64", "r_max": 4.0, "avg_num_neighbors": 1.0,
              "type_names": [chemical_symbols[z] for z in (1, 8)]}  # fmt: skip
    settings = {k: v for k, v in SMALL[name].items() if k != "cutoff"}
    backbone = built(name)
    with quiet():
        if name == "nequip":
            model = NequIPGNNModel(**common, **settings, parity=False, num_layers=3)
            layers = {f"layer{k}_convnet": x for k, x in enumerate(backbone.convnets)}
            parts = {**backbone.before, **layers}
        else:
            embed = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"}
            model = AllegroModel(**common, **settings, radial_chemical_embed=embed, num_layers=3)
            parts = dict(backbone.parts)
    given = {k: v.shape for k, v in model.named_parameters()}
    for path, part in parts.items():
        for key, value in part.named_parameters():
            assert given[f"model.func.{path}.{key}"] == value.shape


def test_neighbours_are_counted_and_features_brought_near_one():
    for name in ("nequip", "allegro"):
        backbone, atoms = built(name).double().requires_grad_(False), water_box(n=3)
        system, pairs = looked(backbone, atoms)
        vectors = pair_vectors(system, pairs)
        backbone.calibrate(system, pairs, vectors)
        constants = [v for k, v in backbone.named_buffers() if k.endswith("norm_const")]
        average = len(pairs.i) / len(atoms)
        for value in constants:
            assert float(value) == pytest.approx(average**-0.5, rel=1e-12)
        features = backbone(system, pairs, vectors)
        assert float(features.scalars.square().mean()) == pytest.approx(1.0, abs=0.01)
        assert constants


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nequip", {"num_features": [4]}, "`num_features` is .4. but must be a positive number"),
        ("nequip", {"cutoff": 0.0}, "`cutoff` is 0.0 but must be positive"),
        ("nequip", {"elements": [1, 7]}, "NequIP model was made for the elements H, N, not for O"),
        ("allegro", {"num_layers": 0}, "`num_layers` is 0 but must be positive"),
        ("allegro", {"num_scalar_features": 7}, "is 7 but must be even"),
        ("allegro", {"polynomial_cutoff_p": 2}, "must be at least 3"),
        ("allegro", {"hidden": 3}, "unknown model options .'hidden'."),
    ],
)
def test_settings_that_neither_has_are_refused(name, settings, said):
    with pytest.raises(ValueError, match=said):
        Potential((1, 8), backbone=name, **{**SMALL[name], **settings})


@pytest.mark.parametrize("name", ["nequip", "allegro"])
def test_another_version_is_refused(name, monkeypatch):
    monkeypatch.setattr(foreign_import.metadata, "version", lambda _: "0.6.1")
    with pytest.raises(ValueError, match="needs nequip 0.19, but 0.6.1 is installed: pip install"):
        Potential((1, 8), backbone=name, **SMALL[name])


def test_nothing_is_left_changed():
    before = torch.get_default_dtype(), np.random.get_state()[1][0]
    built("nequip")
    assert (torch.get_default_dtype(), np.random.get_state()[1][0]) == before
