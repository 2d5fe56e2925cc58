"""Model files: one file, no code in it, and clear words when it is broken."""

import copy
import pickle

import pytest
import torch

from lrcalc import Evaluator, Ewald, bundled, load, save
from lrcalc.checkpoint import read_tensors, write_tensors
from lrcalc.models.card import CONSTANT_PRESSURE, pressure_warning
from lrcalc.models.options import DEFAULTS
from lrcalc.models.potential import EWALD_OPTIONS, Potential
from tests.conftest import random_potential
from tests.sample_structures import water_box


@pytest.fixture
def model(tmp_path):
    potential = random_potential(water_box(), level="u", dtype=torch.float32)
    potential.metadata |= {"licence": "MIT", "epsilon_infinity": 1.78}
    path = tmp_path / "model.pt"
    save(potential, path)
    return path


def test_round_trip_keeps_numbers_and_card(model):
    atoms = water_box()
    potential = random_potential(atoms, level="u", dtype=torch.float32)
    (before,) = Evaluator(potential)([atoms], ["energy", "forces"])
    (after,) = Evaluator(model)([atoms], ["energy", "forces"])
    assert after["energy"] == before["energy"]
    assert (after["forces"] == before["forces"]).all()
    assert load(model).metadata["licence"] == "MIT"
    assert [p.name for p in model.parent.iterdir()] == ["model.pt"]  # nothing temporary is left


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_loaded_and_saved_again_is_the_same_to_the_last_bit(dtype, tmp_path):
    """Converted models are in double precision: rounding would be silent."""
    potential = random_potential(water_box(), level="u", dtype=dtype, surface=4)
    save(potential, first := tmp_path / "first.pt")
    save(load(first), second := tmp_path / "second.pt")
    held = read_tensors(first)["state"]
    copies = [load(first), copy.deepcopy(load(first)), pickle.loads(pickle.dumps(load(first)))]
    for state in [read_tensors(second)["state"], *(c.state_dict() for c in copies)]:
        assert state.keys() == held.keys()
        for name, value in held.items():
            assert state[name].dtype == value.dtype, name
            assert torch.equal(state[name], value), name
    other = torch.float32 if dtype == torch.float64 else torch.float64
    assert load(first, dtype=other).dtype == other
    assert load(first, dtype=str(other).removeprefix("torch.")).dtype == other
    for wrong in ("double", torch.float16, 64):
        with pytest.raises(ValueError, match=f"`dtype` is .*{wrong}.* but must be one of"):
            load(first, dtype=wrong)


def test_truncated_file(model):
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable lrcalc file.*truncated"):
        load(model)


def test_file_of_something_else(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("not a model")
    with pytest.raises(ValueError, match="not a readable lrcalc file"):
        load(path)
    torch.save([1, 2, 3], path)
    with pytest.raises(ValueError, match="holds a list"):
        load(path)
    torch.save({"format": "other"}, path)
    with pytest.raises(ValueError, match="format 'other'"):
        load(path)


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_file_cannot_run_code(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    with path.open("wb") as stream:
        pickle.dump({"format": Malicious()}, stream)
    with pytest.raises(ValueError, match="not a readable"):
        read_tensors(path)
    torch.save({"format": Malicious()}, path)
    with pytest.raises(ValueError, match="not a readable"):
        read_tensors(path)
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_do_not_fit_or_are_nan(model):
    content = read_tensors(model)
    content["state"]["readout.weight"] = torch.zeros(2, 2)
    torch.save(content, model)
    with pytest.raises(ValueError, match="does not fit its own configuration"):
        load(model)
    content = read_tensors(model)
    potential = random_potential(water_box(), level="u", dtype=torch.float32)
    potential.readout.weight[0, 0] = float("nan")
    save(potential, model)
    with pytest.raises(ValueError, match=r"NaN or infinite numbers in readout\.weight"):
        load(model)


def test_weights_in_double_precision_are_not_rounded(tmp_path):
    """As those of models that others trained in it."""
    potential = random_potential(water_box(n=1), channels=4, hidden=4, level="u").double()
    path = tmp_path / "m.pt"
    save(potential, path)
    assert torch.equal(load(path, dtype=torch.float64).readout.weight, potential.readout.weight)
    assert load(path).reference_energy.dtype == torch.float64


def test_unknown_names():
    with pytest.raises(FileNotFoundError, match="no bundled model 'wine'"):
        load("wine")
    with pytest.raises(FileNotFoundError, match=r"no model file missing\.pt"):
        load("missing.pt")


@pytest.mark.parametrize(
    ("name", "prefix"), [("m.model", "mace"), ("m.ckpt", "nequip"), ("m.nequip.zip", "nequip")]
)
def test_files_of_other_programs_are_told_their_door(name, prefix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (name, str(tmp_path / name)):
        with pytest.raises(FileNotFoundError, match="no model file"):
            load(given)
    torch.save(torch.nn.Linear(2, 2), name)
    for given in (name, str(tmp_path / name)):
        with pytest.raises(ValueError, match=rf"'{prefix}:{given}'.*lrcalc convert .*--trust"):
            load(given)
    torch.save(torch.nn.Linear(2, 2), "named_like_ours.pt")
    with pytest.raises(ValueError, match="more than tensors and plain values.*`lrcalc convert`"):
        load("named_like_ours.pt")


def test_bundled_models_have_a_complete_card():
    assert "water" in bundled()
    for name in bundled():
        potential = load(name)
        for key in ("epsilon_infinity", "source", "licence", "errors", "sign", "command", "data"):
            assert potential.metadata.get(key), f"{name} lacks {key}"


def test_double_precision_model_is_the_same_model():
    atoms = water_box()
    (single,) = Evaluator("water", dtype="float32")([atoms], ["energy", "forces"])
    (double,) = Evaluator("water", dtype="float64")([atoms], ["energy", "forces"])
    # float32 carries 1e-7 of energies of some eV per atom and of forces of tens of eV/Å
    assert single["energy"] == pytest.approx(double["energy"], rel=1e-6)
    assert abs(single["forces"] - double["forces"]).max() < 2e-4


@pytest.mark.parametrize(
    ("card", "warned"),
    [
        (load("water").metadata, "1.9 GPa were added"),
        (load("water-large").metadata, "1.9 GPa were added"),
        ({CONSTANT_PRESSURE: "its mean pressure is -1.9 GPa"}, "its mean pressure is -1.9 GPa"),
        ({"labels": ["energy", "forces"]}, "without stresses"),
        ({"errors": {"valid_forces": 0.03}}, "without stresses"),
        (load("SiO2").metadata, None),
        ({"errors": {"valid_forces": 0.03, "valid_stress": 1e-4}}, None),
        ({}, None),
    ],
)
def test_cards_say_what_pressures_are_worth(card, warned):
    said = pressure_warning("mine", card)
    assert (said is None) == (warned is None)
    assert said is None or ("'mine' is not made for constant pressure" in said and warned in said)


def test_what_a_file_could_not_say_is_not_saved(tmp_path):
    potential = random_potential(water_box(n=1), channels=4, hidden=4, level="u")
    path = tmp_path / "m.pt"
    potential.add_surface(4)
    save(copy.deepcopy(potential).double(), path)  # what may change
    path.unlink()

    class Mine(type(potential.backbone)):
        """A backbone under another's name."""

    potential.backbone.__class__ = Mine
    with pytest.raises(ValueError, match=r"`backbone` of this potential.*register_backbone"):
        save(potential, path)
    other = Potential(potential.species, channels=4, hidden=4)
    other.ewald = Ewald(smearing=2.0, accuracy=1e-4)
    with pytest.raises(ValueError, match=r"`ewald` of this potential is not what"):
        save(other, path)
    options = {**DEFAULTS, **other.config}
    other.ewald = Ewald(**{name: options[name] for name in EWALD_OPTIONS})
    save(other, path)  # the same again
    path.unlink()
    other.readout.transfer_cutoff = 3.0
    with pytest.raises(ValueError, match=r"`readout` of this potential is not what"):
        save(other, path)
    mine = type("MyPotential", (Potential,), {})(potential.species, channels=4, hidden=4)
    with pytest.raises(ValueError, match="`MyPotential`"):
        save(mine, path)
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"config": "[]"}, {"config": {}}, {"species": 5}, {"state": None}, {"metadata": "null"}],
)
def test_files_of_other_contents_are_refused(model, wrong):
    write_tensors({**read_tensors(model), **wrong}, model)
    with pytest.raises(ValueError, match="does not fit its own configuration"):
        load(model)
