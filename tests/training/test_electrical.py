"""Electrical labels: read and refused, compared as what they are, and learned."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lrcalc import from_ase, load, save
from lrcalc.cli import main
from lrcalc.evaluator import Evaluator
from lrcalc.models.enthalpy import mean_susceptibility
from lrcalc.neighbors import build_pairs
from lrcalc.structures import read_structure
from lrcalc.training.data import collate_labelled
from lrcalc.training.electrical import (
    KEYS,
    check_labelled,
    read_labelled,
)
from lrcalc.training.loss import electrical_residuals, loss
from lrcalc.training.unlike import describe_born_order
from lrcalc.units import COULOMB
from tests.adapters.toy import toy_maceles
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box
from tests.training import labelled as training_frames
from tests.training.sets import frames_of, shaken

LEVELS = [("q", "local"), ("u", "atomic"), ("uiq", "local"), ("uQiqiu", "local"), ("uiu", "atomic")]


def model_of(atoms, level="u", charges="local", **more):
    """Random weights with a card as a finished model has it: ε_∞ 2.3, its own susceptibility."""
    model = random_potential(atoms, level=level, charges=charges, cutoff=3.0, channels=3, **more)
    model.readout.weight *= 0.3
    model.metadata["epsilon_infinity"] = 2.3
    if "iq" in level and charges == "atomic":
        return model
    system = from_ase([atoms])
    terms = model(system, build_pairs(system, model.cutoff))
    model.metadata["susceptibility"] = mean_susceptibility(system, terms)
    return model


def labelled(atoms, model, names):
    """The structure with the labels that a finished model gives, as a file has them."""
    evaluator = Evaluator(model)
    atoms = atoms.copy()
    wanted = {"born": "born_effective_charges", "epsilon_infinity": "dielectric_tensor"}
    result = evaluator([atoms], [wanted.get(n, n) for n in names])[0]
    if "born" in names:
        atoms.arrays["REF_born"] = result["born_effective_charges"].reshape(-1, 9)
    for name in ("dipole", "polarizability"):
        if name in names:
            atoms.info[f"REF_{name}"] = result[name].ravel()
    if "epsilon_infinity" in names:
        atoms.info["epsilon_infinity"] = result["dielectric_tensor"].ravel()
    return atoms


def names_for(level, charges, *, periodic):
    names = ["born"] + ["dipole"] * (not periodic or charges == "local")
    if "i" in level:
        names += ["polarizability"] + ["epsilon_infinity"] * periodic
    return names


def batch_of(structures, wanted=tuple(KEYS), cutoff=3.0):
    found = read_labelled(structures, "f.xyz", cutoff, wanted)
    return collate_labelled([x for x in found if x is not None])


def whole_waters():
    """Waters in a small triclinic cell, in one piece, their bonds within it."""
    return water_box(n=3)


@pytest.mark.parametrize(("level", "charges"), LEVELS)
@pytest.mark.parametrize("periodic", [True, False])
def test_labels_of_the_finished_model_leave_nothing(level, charges, periodic, monkeypatch):
    monkeypatch.setattr("lrcalc.training.electrical.warn_implausible", lambda *_: None)
    monkeypatch.setattr("lrcalc.training.electrical.SUM_RULE", (9.0, 9.0))
    atoms = whole_waters() if periodic else cluster()
    model = model_of(atoms, level, charges)
    given = labelled(atoms, model, names_for(level, charges, periodic=periodic))
    errors = electrical_residuals(model, batch_of([given]), training=False)
    assert set(errors) == set(names_for(level, charges, periodic=periodic))
    for name, error in errors.items():
        assert float(error.abs().max()) < 1e-9, name


def test_born_labels_are_field_by_displacement_and_physical():
    """Against central differences of the evaluator's dipole, in a triclinic cell, ε_∞ 2.3."""
    atoms = whole_waters()
    model = model_of(atoms, "uiu")
    evaluator = Evaluator(model)
    step, born = 3e-5, np.zeros((len(atoms), 3, 3))
    for k in range(2):
        for b in range(3):
            pair = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[k, b] += sign * step
                pair.append(evaluator([moved], ["dipole"])[0]["dipole"])
            born[k, :, b] = (pair[0] - pair[1]) / (2 * step)
    made = labelled(atoms, model, ["born"]).arrays["REF_born"].reshape(-1, 3, 3)
    made[:2] = born[:2]
    atoms.arrays["REF_born"] = made.reshape(-1, 9)
    error = electrical_residuals(model, batch_of([atoms]), training=False)["born"]
    # the sum rule is imposed on the model's, by its own residual
    assert float(error.abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("level", "charges", "layers"), [*[(*kind, 1) for kind in LEVELS], ("u", "atomic", 2)]
)
def test_the_loss_knows_how_weights_change_it(level, charges, layers, monkeypatch):
    """Its gradient against central differences along a random direction of the weights."""
    monkeypatch.setattr("lrcalc.training.electrical.warn_implausible", lambda *_: None)
    monkeypatch.setattr("lrcalc.training.electrical.SUM_RULE", (9.0, 9.0))
    atoms = whole_waters()
    model = model_of(atoms, level, charges, layers=layers)
    other = model_of(atoms, level, charges, seed=5, layers=layers)
    batch = batch_of([labelled(atoms, other, names_for(level, charges, periodic=True))])
    weights = dict.fromkeys(KEYS, 1.0)
    parameters = [p.requires_grad_(True) for p in model.parameters()]
    value = loss(electrical_residuals(model, batch, training=True), weights)
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(3)
    ways = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum(float((g * w).sum()) for g, w in zip(gradients, ways, strict=True) if g is not None)
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, way in zip(parameters, ways, strict=True):
                p += sign * step * way
        values.append(float(loss(electrical_residuals(model, batch, training=False), weights)))
        with torch.no_grad():
            for p, way in zip(parameters, ways, strict=True):
                p -= sign * step * way
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_single_precision_gives_the_same():
    atoms = whole_waters()
    model = model_of(atoms, "uiu")
    batch = batch_of([labelled(atoms, model_of(atoms, "uiu", seed=4), ["born", "dipole"])])
    exact = electrical_residuals(model, batch, training=False)
    rough = electrical_residuals(model.float(), batch, training=False)
    for name, value in exact.items():
        torch.testing.assert_close(rough[name], value, atol=2e-5, rtol=1e-4)


def test_dipoles_are_compared_modulo_the_quantum_and_with_whole_molecules():
    atoms = whole_waters()
    model = model_of(atoms)
    given = labelled(atoms, model, ["dipole"])
    given.info["REF_dipole"] = given.info["REF_dipole"] + [1, -2, 3] @ given.cell.array
    given.wrap()  # molecules in pieces
    error = electrical_residuals(model, batch_of([given]), training=False)["dipole"]
    assert float(error.abs().max()) < 1e-9
    given.info["REF_dipole"] = given.info["REF_dipole"] + [0.3, 0, 0]
    error = electrical_residuals(model, batch_of([given]), training=False)["dipole"]
    np.testing.assert_allclose(error[0] * 3, [0.3, 0, 0], atol=1e-9)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_dipoles_of_a_slab_whichever_way_it_lies(order):
    """Also with its plane along x and z, where a unit vector z is none to complete the cell."""
    atoms = molecule("H2O", cell=np.diag([6.0, 7.0, 20.0])[:, order], pbc=(True, True, False))
    atoms.center()
    model = model_of(atoms)
    given = labelled(atoms, model, ["dipole"])
    given.info["REF_dipole"] = given.info["REF_dipole"] + [2, -1, 0] @ given.cell.array
    given.info["REF_dipole"] += 0.3 * np.eye(3)[order[2]]  # along the normal there is no quantum
    error = electrical_residuals(model, batch_of([given]), training=False)["dipole"]
    expected = 0.3 / 3**0.5 * np.eye(3)[order[2]]
    np.testing.assert_allclose(error[0], expected, atol=1e-8)


def test_dipoles_of_a_crystal_are_changes_from_frame_to_frame():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    model = model_of(shaken(atoms, 9))  # a perfect crystal's features have no scale
    frames = []
    for seed in range(3):
        moved = atoms.copy()
        moved.positions += np.random.default_rng(seed).normal(scale=0.05, size=(8, 3))
        frames.append(labelled(moved, model, ["dipole"]))
        # an origin of its own that all frames share, and a branch that they do not
        frames[-1].info["REF_dipole"] += [0.4, 0.1, -0.7] + seed * frames[-1].cell.array[1]
        frames[-1].wrap()
    assert frames[0].get_scaled_positions(wrap=False).min() >= 0
    found = read_labelled(frames, "f.xyz", 3.0, ["dipole"])
    assert found[0] is None
    error = electrical_residuals(model, collate_labelled(found[1:]), training=False)["dipole"]
    assert error.shape == (2, 3)
    assert float(error.abs().max()) < 1e-9


def test_static_permittivity_is_that_of_the_modes(shared):
    """ε_0 of the trained SiO2 model by conjugate gradients, and by phonopy's force constants."""
    from lrcalc import LRCalculator
    from lrcalc.analysis import phonons
    from lrcalc.analysis.modes import static_dielectric

    quartz = read_structure(shared / "data/phonons/quartz/POSCAR")
    calculator = LRCalculator("SiO2", dtype="float64")
    found = phonons.from_calculator(quartz, calculator, supercell=[1, 1, 1])
    epsilon = static_dielectric(phonons.solve(found))
    rest = found.structure
    rest.info["epsilon_static"] = epsilon.ravel()
    model = load("SiO2", dtype=torch.float64)
    batch = batch_of([rest], ["epsilon_static"], model.cutoff)
    error = electrical_residuals(model, batch, training=False)["epsilon_static"]
    assert epsilon[0, 0] > 3.5
    # force constants by finite displacements of 0.01 Å
    assert float(error.abs().max()) < 0.01


def crystal(born=1.1):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    sign = np.where(atoms.numbers == 11, 1.0, -1.0)
    atoms.arrays["REF_born"] = (born * sign[:, None, None] * np.eye(3)).reshape(-1, 9)
    return atoms


def molecule_with_labels():
    atoms = molecule("CH3OH")
    atoms.positions += [0.3, -0.2, 0.5]
    return labelled(atoms, model_of(atoms), ["born", "dipole"])


def broken(name):
    atoms = crystal() if name not in ("transposed", "debye", "origin") else molecule_with_labels()
    born = atoms.arrays["REF_born"]
    if name == "shape":
        atoms.arrays["REF_born"] = born[:, :3]
    elif name == "sum":
        atoms.arrays["REF_born"] = np.abs(born)
    elif name == "nan":
        born[2, 4] = np.nan
    elif name == "filler":
        atoms.arrays["REF_born"] = np.zeros_like(born)
    elif name == "place":
        atoms.info["REF_born"] = atoms.arrays.pop("REF_born").ravel()
    elif name == "transposed":
        atoms.arrays["REF_born"] = born.reshape(-1, 3, 3).swapaxes(1, 2).reshape(-1, 9)
    elif name == "debye":
        atoms.info["REF_dipole"] = 4.8032 * atoms.info["REF_dipole"]
    elif name == "origin":
        atoms.info["REF_dipole"] = atoms.info["REF_dipole"] + [0.0, 3.0, 0.0]
    elif name == "dipole":
        atoms.info["REF_dipole"] = [1.0, 2.0]
    elif name == "volume":
        atoms.info["REF_polarizability"] = (8 * 40 / COULOMB * COULOMB**2 * np.eye(3)).ravel()
    elif name == "static":
        atoms.info["epsilon_static"] = 0.5
    elif name == "moving":
        atoms.info["epsilon_static"] = 5.9
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.ones((8, 3)))
    return atoms


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shape", r"frame 0: REF_born has 3 numbers an atom but must have 9"),
        (
            "sum",
            r"frame 0: the Born charges of REF_born do not sum to the total charge 0 e, by 1.1",
        ),
        ("nan", r"frame 0: REF_born is not finite"),
        ("filler", r"frame 0: REF_born is zero throughout: .*Leave the column out"),
        ("place", r"frame 0: REF_born stands in the comment line but must be a column"),
        ("transposed", r"frame 0: .*break the rotational sum rule .*\(displacement, field\)"),
        ("debye", r"frame 0: REF_dipole .*is it in D\? Then give --units dipole=D"),
        ("origin", r"frame 0: REF_dipole .*about the mean position"),
        ("dipole", r"frame 0: REF_dipole is \[1.0, 2.0\] but must be three finite numbers"),
        ("volume", r"frame 0: REF_polarizability must be in e Å²/V"),
        ("static", r"frame 0: .*epsilon_static is 0.5 but must be the static permittivity"),
        ("moving", r"frame 0: epsilon_static is of a crystal at rest"),
    ],
)
def test_wrong_labels_are_refused_with_the_frame_and_the_way_out(name, message):
    with pytest.raises(ValueError, match=message):
        read_labelled([broken(name)], "f.xyz", 3.0, tuple(KEYS))


def test_right_labels_of_a_molecule_are_read():
    (found,) = read_labelled([molecule_with_labels()], "f.xyz", 3.0, tuple(KEYS))
    assert set(found.labels) == {"born", "dipole"}


def test_molecules_of_several_kinds_have_no_branch():
    atoms = whole_waters()
    del atoms[0]
    atoms.info["REF_dipole"] = [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="2 compositions, where it has no branch"):
        read_labelled([atoms], "f.xyz", 3.0, ["dipole"])


def test_what_the_model_cannot_have_is_refused():
    with_born = read_labelled([crystal()], "f.xyz", 3.0, ["born"])
    plain = model_of(crystal())
    with pytest.raises(ValueError, match=r"`dipole_weight` is not zero, but no training frame"):
        check_labelled(plain, with_born, ["dipole"])
    atoms = crystal()
    atoms.info["REF_polarizability"] = np.eye(3).ravel()
    alpha = read_labelled([atoms], "f.xyz", 3.0, ["polarizability"])
    with pytest.raises(ValueError, match="has no response, so no polarizability"):
        check_labelled(plain, alpha, ["polarizability"])
    atomic = model_of(whole_waters(), charges="atomic")
    dipole = labelled(whole_waters(), model_of(whole_waters()), ["dipole"])
    with pytest.raises(ValueError, match="atomic charges have no dipole in a periodic cell"):
        check_labelled(atomic, read_labelled([dipole], "f.xyz", 3.0, ["dipole"]), ["dipole"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small crystal, of whose frames one has Born charges: the file and the model."""
    folder = tmp_path_factory.mktemp("crystal")
    frames = frames_of("crystal", 4)
    frames[1].arrays["REF_born"] = crystal().arrays["REF_born"]
    write(folder / "nacl.xyz", frames, format="extxyz")
    options = ["--epochs", "8", "--born-weight", "10"]
    with pytest.MonkeyPatch.context() as patch:  # pictures take a third of the time
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        assert main(["train", *small(folder), *options]) == 0
    return folder


def small(folder):
    return ["--train", str(folder / "nacl.xyz"), "--valid-every", "4", "--channels", "3",
            "--hidden", "8", "--cutoff", "3", "--learning-rate", "0.04", "--epsilon-infinity",
            "2.5", "--out", str(folder / "m.pt")]  # fmt: skip


def test_train_uses_one_labelled_frame(trained, capsys):
    card = load(trained / "m.pt").metadata
    assert card["labels"] == ["energy", "forces", "stress", "born"]
    assert card["errors"]["valid_born"] < 0.4  # of 0.64
    (result,) = Evaluator(str(trained / "m.pt"))([crystal()], ["born_effective_charges"])
    assert result["born_effective_charges"][0].trace() / 3 == pytest.approx(1.1, abs=0.5)
    assert main(["info", str(trained / "m.pt")]) == 0
    assert "born 0." in capsys.readouterr().out


def test_train_says_what_labels_it_leaves_and_which_it_lacks(trained, capsys, tmp_path):
    """Before it trains."""
    options = [*small(trained)[:-1], str(tmp_path / "n.pt"), "--epochs", "1"]
    assert main(["train", *options, "--dipole-weight", "1"]) == 2
    said = capsys.readouterr()
    assert "1 frames have REF_born, which is not trained on" in said.out
    assert "no training frame has REF_dipole" in said.err


def test_how_weights_change_the_static_permittivity(trained):
    """Against central differences, of the trained model: a stable crystal at rest."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.info["epsilon_static"] = 5.9
    model = load(trained / "m.pt", dtype=torch.float64)
    batch = batch_of([atoms], ["epsilon_static"], model.cutoff)
    parameters = [model.readout.species_charge, model.readout.weight]
    for p in parameters:
        p.requires_grad_(True)
    residual = electrical_residuals(model, batch, training=True)["epsilon_static"][0, 0, 0]
    assert 0.01 < 5.9 - float(residual.detach()) - 2.5 < 20
    gradients = torch.autograd.grad(residual, parameters)
    for k, (p, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        way = torch.randn(p.shape, generator=torch.Generator().manual_seed(k), dtype=p.dtype)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                p += sign * 1e-5 * way
            made = electrical_residuals(model, batch, training=False)["epsilon_static"]
            values.append(float(made[0, 0, 0]))
            with torch.no_grad():
                p -= sign * 1e-5 * way
        slope = (values[0] - values[1]) / 2e-5
        assert float((gradient * way).sum().detach()) == pytest.approx(slope, rel=1e-4)


def test_charges_are_fitted_to_a_trained_model_and_forces_held(trained, tmp_path, capsys):
    """Labels twice as large as what the model has; frames without energies hold its own."""
    frames = frames_of("crystal", 4)
    frames[0].arrays["REF_born"] = crystal(2.0).arrays["REF_born"]
    for atoms in frames[1:]:
        atoms.calc = None
    write(tmp_path / "more.xyz", frames, format="extxyz")
    done = main(["fit-charges", str(trained / "m.pt"), "--data", str(tmp_path / "more.xyz"),
                 "--valid-every", "4", "--epochs", "6", "--learning-rate", "0.02",
                 "--born-weight", "10", "-o", str(tmp_path / "new.pt")])  # fmt: skip
    assert done == 0
    out = capsys.readouterr().out
    assert "3 frames have no energies and forces: the model's own are held" in out
    before, after = (float(out.split(f"{x}: ")[1].split("born ")[1].split()[0])
                     for x in ("before", "after"))  # fmt: skip
    assert after < 0.8 * before
    card = load(tmp_path / "new.pt").metadata
    assert card["charges_fitted"]["model"] == "m.pt"
    assert card["epsilon_infinity"] == 2.5
    assert card["sign"].startswith("fixed by electrical labels: Cl has negative")
    assert main(["fit-charges", str(trained / "m.pt"), "--data", str(tmp_path / "more.xyz"),
                 "-o", str(trained / "m.pt")]) == 2  # fmt: skip


def test_transposed_labels_are_told_by_a_model_that_learned_from_energies():
    atoms = water_box(n=3)
    born = labelled(atoms, model_of(atoms), ["born"]).arrays["REF_born"].reshape(-1, 3, 3)
    right = torch.from_numpy(born)
    assert describe_born_order(right, right) is None
    assert "only when transposed" in describe_born_order(right, right.transpose(1, 2))
    assert describe_born_order(right, -right) is None  # another sign, which others say


def test_an_isolated_atom_has_no_dipole_to_check():
    atoms = Atoms("Na", [[0, 0, 0]])
    atoms.info |= {"charge": 1, "REF_dipole": [0.0, 0.0, 0.0]}
    atoms.arrays["REF_born"] = np.eye(3).reshape(1, 9)
    assert read_labelled([atoms], "f.xyz", 3.0, tuple(KEYS))[0] is not None


def test_converted_models_learn_in_small_steps(tmp_path, capsys):
    """A rate that suits our own models ruins them before the first epoch is over."""
    frames = training_frames.labelled(4)
    for atoms in frames:
        sign = np.where(atoms.numbers == 8, -1.0, 0.5)[:, None]
        atoms.set_array("REF_born", sign * np.eye(3).ravel())
    write(tmp_path / "data.xyz", frames, format="extxyz")
    save(toy_maceles(), tmp_path / "toy.pt")
    line = f"fit-charges {tmp_path}/toy.pt --data {tmp_path}/data.xyz --epochs 1 --valid-every 2"
    assert main([*line.split(), "--test-every", "0", "-o", str(tmp_path / "new.pt")]) == 0
    header, row = (tmp_path / "new.csv").read_text().splitlines()[:2]
    rate = float(dict(zip(header.split(","), row.split(","), strict=True))["learning_rate"])
    assert 0.0 < rate <= 1e-5
