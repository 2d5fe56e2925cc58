"""Files of NequIP and Allegro, trained by nequip itself, against nequip's own calculator."""

import copy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from ase.spacegroup import crystal

from lrcalc import Evaluator, LRCalculator
from lrcalc.cli import main
from lrcalc.models.adapters import nequip_convert
from lrcalc.models.adapters.nequip_convert import convert
from lrcalc.models.adapters.nequip_files import NequipFile, read_nequip
from tests.adapters.nequip_made import FILES, MODELS, trained_files
from tests.sample_structures import water_box

pytest.importorskip("allegro", reason="nequip-allegro is not installed: make test-nequip")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return trained_files(tmp_path_factory)


def structures():
    alone = Atoms("O", positions=[[0.1, 0.2, 0.3]])
    return [water_box(n=2), water_box(n=3), molecule("H2O"), alone]


def by_nequip(path, atoms):
    from nequip.integrations.ase import NequIPCalculator

    atoms = atoms.copy()
    atoms.calc = NequIPCalculator._from_saved_model(
        path, device="cpu", chemical_species_to_atom_type_map=True
    )
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        found["stress"] = atoms.get_stress(voigt=False)
    return found


@pytest.mark.parametrize("name", FILES)
def test_energies_forces_and_stress_are_those_of_nequip(name, files, tmp_path, capsys):
    path = files / name
    calculator = LRCalculator(f"nequip:{path}", dtype="float64", trust_pickle=True)
    assert main(["convert", str(path), "--trust-pickle", "-o", str(tmp_path / "m.pt")]) == 0
    assert "energies alone" in capsys.readouterr().out
    single = Evaluator(tmp_path / "m.pt")
    saved = Evaluator(tmp_path / "m.pt", dtype="float64")
    for atoms in structures():
        expected = by_nequip(path, atoms)
        (found,) = saved([atoms], list(expected))
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-9)
        (rounded,) = single([atoms], list(expected))
        assert abs(rounded["energy"] - expected["energy"]) < 2e-5 * len(atoms)
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-9)
    assert np.abs(by_nequip(path, structures()[1])["forces"]).max() > 0.1
    card = saved.potential.metadata
    assert name in card["source"]
    assert saved.potential.reach == pytest.approx(8.0 if "allegro" not in name else 4.0)


def test_a_batch_is_what_its_structures_are_alone(files):
    potential = convert(files / "nequip.ckpt", trust_pickle=True)
    evaluator = Evaluator(potential)
    batch = [structures()[k] for k in (0, 1)]
    for atoms, found in zip(batch, evaluator(batch, ["energy", "forces"]), strict=True):
        (alone,) = evaluator([atoms], ["energy", "forces"])
        np.testing.assert_allclose(found["forces"], alone["forces"], rtol=0, atol=1e-11)


def test_averages_over_the_training_are_taken_as_nequip_does(files):
    found = read_nequip(files / "nequip.ckpt", trust_pickle=True, flag="")
    assert found.averages
    raw = nequip_convert._potential(NequipFile(found.settings, found.tensors, []))
    atoms = water_box(n=2)
    expected = by_nequip(files / "nequip.ckpt", atoms)["energy"]
    (other,) = Evaluator(raw)([atoms], ["energy"])
    assert abs(other["energy"] - expected) > 1e-4
    with pytest.raises(ValueError, match=r"there are 2 averaged weights for \d+"):
        nequip_convert._potential(found._replace(averages=found.averages[:2]))


def test_md_ipi_and_modes_with_a_born_file(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(files / "nequip.ckpt"), "--trust-pickle", "-o", "m.pt"]) == 0
    write("water.xyz", water_box(n=2))
    assert main(["md", "m.pt", "water.xyz", "--steps", "3", "--every", "1", "--out", "md"]) == 0
    assert len(read("md.xyz", ":")) == 4
    command = ["ipi-run", "--kind", "nve", "--structure", "water.xyz", "--model", "m.pt"]
    assert main([*command, "--steps", "2", "--workdir", "run"]) == 0
    salt = crystal(
        ["O", "H"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[4.2] * 3 + [90] * 3
    )
    write("POSCAR", salt)
    charges = "{0} 0 0 0 {0} 0 0 0 {0}"
    Path("BORN").write_text(
        "\n".join(["14.4", charges.format(2.0), charges.format(-1.5), charges.format(1.5)]) + "\n"
    )
    assert main(["modes", "POSCAR", "--model", "m.pt", "--born", "BORN", "-o", "modes"]) == 0
    with pytest.raises(ValueError, match="short-ranged"):
        LRCalculator("m.pt").get_property("dipole", water_box(n=2))


def test_nothing_is_read_without_consent_and_nothing_is_run(files, tmp_path):
    for name in FILES:
        with pytest.raises(
            ValueError, match=r"pickle in it, and a pickle is a program.*trust_pickle=True"
        ):
            LRCalculator(f"nequip:{files / name}")
    evil = tmp_path / "evil.nequip.zip"
    with zipfile.ZipFile(files / "nequip.nequip.zip") as old, zipfile.ZipFile(evil, "w") as new:
        for entry in old.namelist():
            text = old.read(entry)
            if entry.endswith(".py"):
                text = b"raise SystemExit('code of the package ran')\n"
            new.writestr(entry, text)
    found, good = (convert(p, trust_pickle=True) for p in (evil, files / "nequip.nequip.zip"))
    for name, value in good.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    modules = set(sys.modules)
    convert(evil, trust_pickle=True)
    assert not [name for name in set(sys.modules) - modules if "torch_package" in name]


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_are_none(files, tmp_path, capsys):
    path = tmp_path / "m.ckpt"
    with pytest.raises(FileNotFoundError, match="no file"):
        convert(path, trust_pickle=True)
    torch.save({"state_dict": {}, "more": Harmful()}, path)
    with pytest.raises(ValueError, match="does not have what checkpoints.*hyper_parameters"):
        convert(path, trust_pickle=True)
    path.write_bytes((files / "nequip.ckpt").read_bytes()[:5000])
    with pytest.raises(ValueError, match="no readable pickle.*wanted is a checkpoint of nequip"):
        convert(path, trust_pickle=True)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="holds a Linear; wanted is a checkpoint.*'mace:FILE'"):
        convert(path, trust_pickle=True)
    broken = torch.load(files / "nequip.ckpt", weights_only=False)
    for value in broken["state_dict"].values():
        if torch.is_tensor(value) and value.is_floating_point():  # others are states of modules
            value.fill_(float("nan"))
    torch.save(broken, path)
    with pytest.raises(ValueError, match=r"m\.ckpt holds NaN or infinite numbers in "):
        convert(path, trust_pickle=True)
    cut = tmp_path / "cut.nequip.zip"
    cut.write_bytes((files / "nequip.nequip.zip").read_bytes()[:5000])
    with pytest.raises(ValueError, match="no readable package.*nequip-package"):
        convert(cut, trust_pickle=True)
    for ending in (".nequip.pt2", ".nequip.pth"):
        compiled = tmp_path / f"m{ending}"
        compiled.write_text("library")
        with pytest.raises(ValueError, match="compiled model, a program without settings"):
            convert(compiled, trust_pickle=True)
        with pytest.raises(ValueError, match="without charges and heads: leave out --head"):
            main_raises(["convert", str(compiled), "--head", "a", "-o", "o.pt"])
    assert "code ran" not in capsys.readouterr().out


def main_raises(command):
    """Run a command for its error."""
    import argparse

    from lrcalc.commands import convert as command_module

    parser = argparse.ArgumentParser()
    command_module.add_arguments(parser)
    return command_module.run(parser.parse_args(command[1:]))


def changed(**settings):
    return {**MODELS["nequip"], **settings}


ZBL = MODELS["nequip"]["pair_potential"]
OS = "os.system"
REFUSED = {
    "modified": ({"_target_": "nequip.model.modify"}, "made by 'nequip.model.modify'"),
    "anything": ({"_target_": OS, "command": "ls"}, "made by 'os.system'; known are nequip"),
    "part": (changed(pair_potential={**ZBL, "_target_": OS}), "`pair_potential` .*'os.system'"),
    "special": (changed(pair_potential={**ZBL, "_args_": [1]}), "special settings .*_args_"),
    "units": (changed(pair_potential={**ZBL, "units": "real"}), "units 'real'.*not in eV"),
    "graph": (changed(categorical_graph_field_embed=[{}]), "values for each structure"),
    "types": (changed(type_names=["O1", "H"]), "types of this model are called O1, H"),
    "twice": (changed(type_names=["H", "H"]), "names of elements, each once"),
    "setting": (changed(no_such_setting=3), "does not take these settings.*no_such_setting"),
    "size": (changed(num_features=[4, 4]), "weights do not fit its settings"),
    "less": (changed(pair_potential=None), "left out .*pair_potential"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(what, files, monkeypatch):
    settings, said = REFUSED[what]
    read_once = read_nequip(files / "nequip.ckpt", trust_pickle=True, flag="")
    monkeypatch.setattr(
        nequip_convert, "read_nequip", lambda *_, **__: read_once._replace(settings=settings)
    )
    with pytest.raises(ValueError, match=said):
        convert(files / "nequip.ckpt", trust_pickle=True)


def test_settings_are_plain_and_models_one(files, tmp_path):
    from lrcalc.models.adapters.nequip_files import _of_model, plain

    with pytest.raises(ValueError, match=r"\$\{oc.env:HOME\}.*refers to something else"):
        plain({"r_max": ["${oc.env:HOME}"]})
    with pytest.raises(ValueError, match="is a Harmful, not a plain value"):
        plain({"r_max": Harmful()})
    tensors = {"model.first.model.func.a": torch.zeros(1)}
    with pytest.raises(ValueError, match="several models, or none"):
        _of_model(tmp_path, "model.", tensors)


def test_charges_are_not_asked_of_it(files):
    from lrcalc import Potential

    potential = convert(files / "nequip.ckpt", trust_pickle=True)
    config = copy.deepcopy(potential.config)
    with pytest.raises(ValueError, match="makes energies and nothing else"):
        Potential(potential.species, **{**config, "level": "q"})
