"""MACE under our readout: new, from a file, frozen; run like any model; refusals."""

import copy

import numpy as np
import pytest
import torch
from ase.io import write

from lrcalc import LRCalculator, Potential, load
from lrcalc.checkpoint import save
from lrcalc.cli import main
from lrcalc.models.adapters import foreign_import
from tests.adapters.test_mace import SMALL, foreign, looked, molecules
from tests.adapters.trained import check_trained, check_under_ipi, train_few_steps
from tests.models.test_backbone import differences, stress_component
from tests.sample_structures import water_box
from tests.training.labelled import labelled

pytest.importorskip("mace", reason="mace-torch is not installed: make test-mace")

TINY = ["hidden_irreps=3x0e + 3x1o", "max_ell=1", "correlation=2", "radial_MLP=[4]", "num_bessel=4"]


@pytest.fixture
def command(tmp_path):
    write(tmp_path / "water.xyz", labelled(4), format="extxyz")
    return ["train", "--train", str(tmp_path / "water.xyz"), "--out", str(tmp_path / "m.pt"),
            "--epochs", "2", "--valid-every", "2", "--cutoff", "3", "--backbone",
            "mace"]  # fmt: skip


def test_trained_it_has_forces_stress_born_charges_and_fields(command, tmp_path):
    assert main([*command, "--backbone-options", *TINY]) == 0
    potential = load(tmp_path / "m.pt", dtype=torch.float64)
    assert potential.config["hidden_irreps"] == "3x0e + 3x1o"
    # neighbours were counted, and features brought near 1
    neighbors = potential.backbone.interactions[0].avg_num_neighbors
    assert neighbors > 2
    assert (potential.backbone.scale != 1).any()
    atoms = water_box(n=3)
    field = LRCalculator(tmp_path / "m.pt", dtype="float64", electric_field=(0.02, -0.03, 0.1))
    plain = LRCalculator(tmp_path / "m.pt", dtype="float64")
    for calculator in (plain, field):
        force = -differences(lambda a: calculator.get_property("energy", a), atoms, 4, 1)
        assert calculator.get_property("forces", atoms)[4, 1] == pytest.approx(force, abs=1e-7)
    stress = stress_component(lambda a: plain.get_property("energy", a), atoms)
    assert plain.get_property("stress", atoms)[5] == pytest.approx(stress, abs=1e-8)
    born = differences(lambda a: plain.get_property("dipole", a), atoms, 4, 1)
    found = plain.get_property("born_effective_charges", atoms)
    np.testing.assert_allclose(found[4, :, 1], born, rtol=0, atol=1e-7)
    assert np.abs(born).max() > 1e-4
    doubled = plain.get_property("born_effective_charges", atoms * (2, 1, 1))
    np.testing.assert_allclose(doubled, np.tile(found, (2, 1, 1)), rtol=0, atol=1e-7)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two layers, whose charges are handed on by what messages tell."""
    return train_few_steps(tmp_path_factory.mktemp("mace"), "mace", TINY)


def test_trained_on_messages_it_passes_every_check(trained):
    assert load(trained).backbone.layers == 2
    check_trained(trained)


@pytest.mark.timeout(120)
def test_i_pi_is_told_what_ase_is(trained, tmp_path):
    check_under_ipi(trained, tmp_path)


def test_a_file_of_mace_is_trained_on_with_consent(command, tmp_path, capsys):
    file = tmp_path / "theirs.model"
    torch.save(foreign(atomic_numbers=[1, 8, 17]), file)
    options = [*command, "--cutoff", "4.3", "--allow-images", "--backbone-file", str(file)]
    assert main(options) == 2
    assert "a pickle is a program" in capsys.readouterr().err
    assert main([*options, "--trust-pickle", "--freeze"]) == 0
    after = load(tmp_path / "m.pt")
    assert after.metadata["backbone_file"]["frozen"]
    assert after.backbone.cutoff == pytest.approx(4.3)
    own = torch.load(file, weights_only=False)
    for name, value in after.backbone.named_parameters():
        assert torch.equal(own.get_parameter(name), value), name
    assert main([*options, "--trust-pickle"]) == 2
    assert "`freeze` was True, now False" in capsys.readouterr().err


def test_a_saved_model_keeps_constants_that_float32_has_not(tmp_path):
    torch.manual_seed(0)
    potential = Potential((1, 6, 8), backbone="mace", **SMALL)
    save(potential, tmp_path / "m.pt")
    twin = copy.deepcopy(potential)
    scripted = [m for m in twin.modules() if isinstance(m, torch.jit.ScriptModule)]
    assert not scripted
    read = load(tmp_path / "m.pt", dtype=torch.float64).backbone
    system, pairs, vectors = looked(read, molecules())
    wide = potential.double().backbone(system, pairs, vectors)
    for ours, theirs in zip(read(system, pairs, vectors)[:3], wide[:3], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_irreps": "4x1o"}, "must have scalars, and as many channels"),
        ({"hidden_irreps": "4x0e + 2x1o"}, "must have scalars, and as many channels"),
        ({"hidden_irreps": "four"}, "hidden_irreps"),
        ({"interaction": "Residual"}, "`interaction` is 'Residual' but must be one of"),
        ({"radial_type": "sine"}, "`radial_type` is 'sine' but must be one of"),
        ({"correlation": [2]}, "`correlation` is .2. but there are 2 layers"),
        ({"num_interactions": 0}, "`num_interactions` is 0 but must be at least 1"),
        ({"cutoff": -1.0}, "`cutoff` is -1.0 but must be positive"),
        ({"elements": [1, 7]}, r"made for the elements H, N, not for O"),
    ],
)
def test_settings_that_no_mace_has_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Potential((1, 8), backbone="mace", **{**SMALL, **settings})


@pytest.mark.parametrize(
    ("irreps", "level", "said"),
    [
        ("4x0e", "u", r"'u' has dipoles, which are made of vectors \(1o\), .* choose 'q'"),
        ("4x0e + 4x1o", "uQ", r"'uQ' has quadrupoles, .* tensors \(2e\), .* one without Q"),
    ],
)
def test_levels_that_would_read_zeros_are_refused(irreps, level, said):
    with pytest.raises(ValueError, match=said):
        Potential((1, 8), backbone="mace", **{**SMALL, "hidden_irreps": irreps}, level=level)
    Potential((1, 8), backbone="mace", **{**SMALL, "hidden_irreps": irreps}, level="q")


def test_another_version_of_mace_is_refused(monkeypatch):
    monkeypatch.setattr(foreign_import.metadata, "version", lambda _: "0.3.10")
    with pytest.raises(ValueError, match="needs mace-torch 0.3.16, but 0.3.10 is installed: pip"):
        Potential((1, 8), backbone="mace", **SMALL)


def test_what_is_no_mace_model_has_no_settings():
    from lrcalc.models.adapters.mace import build, load_weights, settings_of

    with pytest.raises(ValueError, match="a Linear is no MACE model: it has no atomic_numbers"):
        settings_of(torch.nn.Linear(1, 1))
    model = foreign()
    model.joint_embedding, model.embedding_specs = torch.nn.Identity(), {"total_spin": {}}
    with pytest.raises(ValueError, match="wants total_spin of each structure"):
        settings_of(model)
    del model.joint_embedding
    other = build((1, 6, 8), **{**settings_of(model), "max_ell": 1})
    with pytest.raises(ValueError, match="of this MACE model has the shape"):
        load_weights(other, model)
