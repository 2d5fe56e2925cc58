"""Layers of trained NequIP and Allegro files as backbones, against nequip's own energies."""

import pytest
import torch
from ase.build import molecule

from lrcalc.models.adapters.nequip_files import read_nequip
from lrcalc.models.adapters.nequip_pretrained import load_weights
from lrcalc.models.adapters.nequip_settings import settings_of_backbone
from lrcalc.models.backbone import build_backbone
from lrcalc.testing import check_backbone
from tests.adapters.nequip_judged import energies, loaded, made, name_of, saved_calculator
from tests.adapters.nequip_made import COMMON, FILES, MODELS, trained_files
from tests.sample_structures import water_box

pytest.importorskip("allegro", reason="nequip-allegro is not installed: make test-nequip")

BASE = {**COMMON, "type_names": ["O", "C", "H"], "avg_num_neighbors": 11.0, "r_max": 4.5}
NEQUIP, ALLEGRO = "nequip.model.", "allegro.model."
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal",
       "chemical_species": ["O", "C", "H"]}  # fmt: skip
BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 5,
          "polynomial_cutoff_p": 5}  # fmt: skip
SPECIES = {"O": 12.0, "C": 9.0, "H": 6.5}
ARCHITECTURES = {
    "nequip": {
        **BASE, "_target_": NEQUIP + "NequIPGNNModel", "l_max": 2, "parity": True, "num_layers": 3,
        "num_features": [5, 4, 3], "radial_mlp_width": 8, "readout_mlp_hidden_layers_depth": 1,
        "per_type_energy_shifts": {"O": -20.0, "C": -5.0, "H": -1.0}, "pair_potential": ZBL,
    },
    "full nequip": {
        **{k: v for k, v in BASE.items() if k not in ("num_layers", "l_max")},
        "_target_": NEQUIP + "FullNequIPGNNModel", "irreps_edge_sh": "1x0e + 1x1o + 1x2e",
        "feature_irreps_hidden": ["4x0e + 4x1o + 2x2e", "4x0e + 4x1o + 2x2e", "6x0e"],
        "radial_mlp_depth": [1, 2, 1], "radial_mlp_width": [8, 6, 4], "convnet_resnet": True,
        "type_embed_num_features": 7, "bessel_trainable": True, "avg_num_neighbors": SPECIES,
        "per_edge_type_cutoff": {"H": {"H": 2.5, "O": 3.5, "C": 4.5}, "O": 4.0, "C": 4.5},
    },
    "preset nequip": {
        **{k: v for k, v in BASE.items() if k not in ("num_layers", "l_max")},
        "_target_": NEQUIP + "PresetNequIPGNNModel", "preset": "S", "num_features": [4, 4],
    },
    "allegro": {
        **BASE, "_target_": ALLEGRO + "AllegroModel", "l_max": 2, "parity": True, "num_layers": 3,
        "num_scalar_features": 6, "num_tensor_features": 3, "radial_chemical_embed": BESSEL,
        "pair_potential": ZBL, "per_type_energy_scales": 1.3,
    },
    "full allegro": {
        **{k: v for k, v in BASE.items() if k != "l_max"},
        "_target_": ALLEGRO + "allegro_models.FullAllegroModel",
        "irreps_edge_sh": "1x0e + 1x1o + 1x2e", "num_scalar_features": 6, "num_tensor_features": 3,
        "tensor_track_allowed_irreps": "1x0e + 1x1o + 1x2e", "radial_chemical_embed": BESSEL,
        "radial_chemical_embed_dim": 4, "avg_num_neighbors": SPECIES,
        "tp_path_channel_coupling": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return trained_files(tmp_path_factory)


def check_energies(calculator, backbone):
    for atoms in (water_box(n=3), water_box(n=2, seed=3), molecule("H2O")):
        own, ours, none, error = energies(calculator, backbone, atoms)
        assert abs(ours - own) < 1e-10
        assert abs(none - own) > 1e-3
        assert error < 1e-10


@pytest.mark.parametrize("file", FILES)
def test_energies_of_files_are_made_of_our_features_by_nequips_readout(file, files):
    path = files / file
    check_energies(saved_calculator(path), loaded(name_of(file), path))


@pytest.mark.parametrize("which", ARCHITECTURES)
def test_layers_of_every_builder_are_nequips(which, tmp_path):
    calculator, path = made(ARCHITECTURES[which], tmp_path)
    backbone = loaded(name_of(which), path)
    check_energies(calculator, backbone)
    errors = check_backbone(backbone)
    assert errors["isolated"] == 0
    assert errors["rotation"] < 1e-12
    assert backbone.filled[0] > 0


def test_a_file_in_single_precision_is_nequips_to_that_precision(tmp_path):
    single = {**ARCHITECTURES["nequip"], "model_dtype": "float32"}
    calculator, path = made(single, tmp_path)
    backbone = loaded("nequip", path)
    own, ours, none, _ = energies(calculator, backbone.float(), water_box(n=3))
    assert abs(ours - own) < 1e-4
    assert abs(none - own) > 1e-3


REFUSED = {
    "graph": ({"categorical_graph_field_embed": [{}]}, "values for each structure"),
    "types": ({"type_names": ["O1", "H"]}, "types of this model are called O1, H"),
    "anything": ({"_target_": "os.system"}, "made by 'os.system'; known are"),
    "abrupt": ({"polynomial_cutoff_p": 2}, "`polynomial_cutoff_p` is 2 but must be at least 3"),
    "unknown": ({"no_such_setting": 3}, "does not take these settings.*no_such_setting"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_files_whose_layers_are_no_backbone_are_refused_by_name(what):
    changes, said = REFUSED[what]

    def backbone(architecture):
        return build_backbone("nequip", (1, 8), settings_of_backbone("nequip", architecture))

    assert backbone(MODELS["nequip"]).layers == 2
    with pytest.raises(ValueError, match=said):
        backbone({**MODELS["nequip"], **changes})


def test_weights_are_all_taken_or_known_or_refused(files):
    """No weight is left out silently, and no layer keeps the random ones it was made with."""
    found = read_nequip(files / "nequip.ckpt", trust_pickle=True, flag="")
    settings = settings_of_backbone("nequip", found.settings)
    backbone = build_backbone("nequip", (1, 8), settings)
    name = "layer1_convnet.conv.linear_1.weight"
    less = {k: v for k, v in found.tensors.items() if k != name}
    assert len(less) == len(found.tensors) - 1
    with pytest.raises(ValueError, match="weights do not fit its settings: missing .*linear_1"):
        load_weights(backbone, found._replace(tensors=less, averages=[]))
    more = {**found.tensors, "layer1_convnet.bias": torch.ones(3)}
    with pytest.raises(ValueError, match="left out .*layer1_convnet.bias"):
        load_weights(backbone, found._replace(tensors=more))
    backbone.convnets = backbone.convnets[:1]
    with pytest.raises(ValueError, match="left out .*layer1_convnet"):
        load_weights(backbone, found)


def test_settings_that_say_something_else_than_the_architecture_are_refused():
    settings = settings_of_backbone("nequip", MODELS["nequip"])
    for changes, said in (
        ({"num_layers": 3}, "`num_layers` is 3 but `architecture`, .* says 2"),
        ({"elements": None}, "`elements` is None but"),
        ({"cutoff": 5.0}, "`cutoff` is 5.0 but `architecture`"),
    ):
        with pytest.raises(ValueError, match=said):
            build_backbone("nequip", (1, 8), {**settings, **changes})
    assert build_backbone("nequip", (1,), settings).species == (1,)
