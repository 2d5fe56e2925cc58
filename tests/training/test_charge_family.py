"""`--charges auto`: what the data ask for, said once and kept in the card; oxidation states."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

from lrcalc import LRCalculator
from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.training.charge_family import check_signs, choose_charges, odd_signs
from lrcalc.training.data import make_frames, read_structures
from lrcalc.training.electrical import read_labelled
from lrcalc.training.label_units import parse_units
from lrcalc.training.labels import LabelKeys
from lrcalc.units import DEBYE
from tests.sample_structures import water_box
from tests.training.sets import frames_of, label, shaken


@pytest.mark.parametrize(
    ("matter", "family", "word"), [("ions", "atomic", "open"), ("all", "local", "periodic")]
)
def test_data_decide(matter, family, word):
    frames = make_frames(frames_of(matter, 8), "frames", 3.0, allow_images=True)
    found, reason = choose_charges("auto", frames, "u")
    assert (found, word in reason) == (family, True)
    assert choose_charges("auto", frames, "sr") == (family, None)
    for asked in ("local", "atomic"):
        assert choose_charges(asked, frames, "u") == (asked, None)


def test_the_choice_is_said_and_kept(tmp_path, capsys):
    data, out = tmp_path / "d.xyz", tmp_path / "m.pt"
    write(data, frames_of("molecules", 6), format="extxyz")
    command = ["train", "--train", str(data), "--out", str(out), "--valid-every", "6",
               "--epochs", "1", "--cutoff", "3", "--channels", "2", "--hidden", "4"]  # fmt: skip
    assert main(command) == 0
    assert capsys.readouterr().out.count("\ncharges: atomic (all training structures are open") == 1
    potential = load(out)
    assert potential.config["charges"] == "atomic"
    assert "training structures" in potential.metadata["charges_from"]


@pytest.mark.parametrize(("family", "why"), [("auto", "training structures are open"),
                                            ("atomic", "handed to nobody")])  # fmt: skip
def test_hops_of_atomic_charges_are_refused(family, why, tmp_path, capsys):
    """They were left out in silence, with --charges auto on molecules."""
    data = tmp_path / "d.xyz"
    write(data, frames_of("molecules", 6), format="extxyz")
    command = ["train", "--train", str(data), "--out", str(tmp_path / "m.pt"), "--valid-every", "6",
               "--cutoff", "3", "--charges", family, "--transfer-hops", "8"]  # fmt: skip
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "`--transfer-hops` is 8" in said
    assert why in said
    assert "give --charges local" in said


STATES = ["--oxidation-states", "H=1", "O=-2"]


@pytest.fixture
def salty(tmp_path):
    """Command that trains two epochs of a small model on periodic frames of H and O."""
    atoms = water_box(n=2)
    frames = [label(shaken(atoms, seed)) for seed in range(6)]
    write(tmp_path / "d.xyz", frames, format="extxyz")
    return ["train", "--train", str(tmp_path / "d.xyz"), "--out", str(tmp_path / "m.pt"),
            "--valid-every", "3", "--epochs", "2", "--cutoff", "3", "--channels", "2", "--hidden",
            "4", "--allow-images", "--epsilon-infinity", "2.5"]  # fmt: skip


def test_oxidation_states_are_what_an_atom_carries_through_the_cell(salty, tmp_path, capsys):
    assert main([*salty, *STATES]) == 0
    assert main(["info", str(tmp_path / "m.pt")]) == 0
    assert "oxidation states" in (told := capsys.readouterr().out)
    assert "H +1, O -2 e" in told
    atoms = water_box(n=2)
    calculator = LRCalculator(str(tmp_path / "m.pt"), dtype="float64")
    quantum = calculator.dipole_quantum(atoms)
    np.testing.assert_allclose(quantum["H"], np.asarray(atoms.cell), atol=1e-5)
    np.testing.assert_allclose(quantum["O"], -2 * np.asarray(atoms.cell), atol=1e-5)
    # ∮ Z* dr along a lattice vector, past all other atoms
    cell, steps = np.asarray(atoms.cell)[0], 400
    hydrogen = int(np.flatnonzero(atoms.numbers == 1)[0])
    carried = np.zeros(3)
    for _ in range(steps):
        atoms.positions[hydrogen] += cell / steps
        born = calculator.get_property("born_effective_charges", atoms)[hydrogen]
        carried += born @ cell / steps
    np.testing.assert_allclose(carried, cell, atol=0.05)


def test_oxidation_states_stay_when_charges_are_fitted(salty, tmp_path, capsys):
    assert main([*salty, *STATES]) == 0
    potential = load(tmp_path / "m.pt")
    frames = read(tmp_path / "d.xyz", ":")
    for atoms in frames:
        born = np.where(atoms.numbers == 1, 0.5, -1.0)[:, None, None] * np.eye(3)
        atoms.arrays["REF_born"] = born.reshape(-1, 9)
    write(tmp_path / "born.xyz", frames, format="extxyz")
    fit = ["fit-charges", str(tmp_path / "m.pt"), "--data", str(tmp_path / "born.xyz"), "-o",
           str(tmp_path / "n.pt"), "--valid-every", "3", "--epochs", "2"]  # fmt: skip
    assert main(fit) == 0
    fitted = load(tmp_path / "n.pt")
    assert torch.equal(fitted.readout.species_charge, potential.readout.species_charge)
    assert not torch.equal(fitted.readout.weight, potential.readout.weight)
    assert fitted.metadata["oxidation_states"] == {"H": 1.0, "O": -2.0}
    assert potential.metadata["sign"].startswith("fixed by oxidation states: ")
    for atoms in frames:
        atoms.info["charge"] = 1
        atoms.arrays["REF_born"] += np.eye(3).ravel() / len(atoms)
    write(tmp_path / "born.xyz", frames, format="extxyz")
    assert main(fit) == 2
    assert "sum to 0 e in a training frame whose total charge is 1 e" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["H=1", "O"], "must be symbols, each once, and charges"),
        (["H=1", "Xx=-2"], "'Xx=-2' but must be symbols"),
        (["H=one", "O=-2"], "'H=one' but must be symbols"),
        (["H=nan", "O=-2"], "'H=nan' but must be symbols"),
        (["H=inf", "O=-inf"], "'H=inf' but must be symbols"),
        (["H=1", "O=-2", "O=-2"], "'O=-2' but must be symbols, each once"),
        (["H=1", "O=-2", "U=6"], "given of U, which no training frame has"),
        (["H=1"], "say nothing of O"),
        (["H=1", "O=-1"], "sum to"),
        (["H=1", "O=-2", "--charges", "atomic"], "local charges of levels"),
        (["H=1", "O=-2", "--level", "uiu"], "local charges of levels"),
    ],
)
def test_oxidation_states_that_mean_nothing_are_refused(more, why, salty, capsys):
    assert main([*salty, "--oxidation-states", *more]) == 2
    assert why in capsys.readouterr().err


def with_born(folder, sign):
    """The frames of `salty`, with Born charges of water times ``sign``."""
    frames = read(folder / "d.xyz", ":")
    for atoms in frames:
        born = np.where(atoms.numbers == 1, 0.5, -1.0)[:, None, None] * np.eye(3)
        atoms.arrays["REF_born"] = sign * born.reshape(-1, 9)
    write(folder / "d.xyz", frames, format="extxyz")
    return folder / "d.xyz"


def test_born_charges_against_the_oxidation_states_are_refused(salty, tmp_path, capsys):
    """Of a file that counts electrons positive, whose sign the model would have got."""
    with_born(tmp_path, -1.0)
    command = [*salty, *STATES, "--born-weight", "1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "Born charges of the labels have the sign opposite" in said
    assert "H=1 O=-2 (correlation -1.00" in said
    assert main([*command, "--units", "born=-e"]) == 0
    assert "born" in load(tmp_path / "m.pt").metadata["labels"]
    turned = read_structures(tmp_path / "d.xyz", LabelKeys(units=parse_units(["born=-e"])))[0]
    np.testing.assert_allclose(turned.arrays["REF_born"][turned.numbers == 8, 4], -1.0)
    fit = ["fit-charges", str(tmp_path / "m.pt"), "--data", str(tmp_path / "d.xyz"), "-o",
           str(tmp_path / "n.pt"), "--valid-every", "3", "--epochs", "1"]  # fmt: skip
    assert main(fit) == 2
    said = capsys.readouterr().err
    assert "--units born=-e dipole=-eA turns" in said
    assert "(where it was given, leave it out)" in said
    assert "--oxidation-states" not in said  # which fit-charges has not
    assert main([*fit, "--units", "born=-e"]) == 0


@pytest.mark.parametrize("turned", [(2, 5), (1,), (0, 2, 4)])
def test_frames_with_the_other_sign_are_counted(salty, turned, tmp_path, capsys):
    """As of two programs in one file; half of them cancel, which is no sign at all."""
    data = with_born(tmp_path, 1.0)
    frames = read(data, ":")
    assert len(frames) == 6
    for k in turned:
        frames[k].arrays["REF_born"] *= -1.0
    write(data, frames, format="extxyz")
    command = [*salty, *STATES, "--born-weight", "1"]
    assert main(command) == 0
    told = (
        f"warning: the Born charges of {len(turned)} of 6 frames that have some have the sign "
        f"opposite to that of the oxidation states H=1 O=-2, the first: {data}, frame {turned[0]}"
    )
    assert capsys.readouterr().out.count(told) == 1
    fit = ["fit-charges", str(tmp_path / "m.pt"), "--data", str(data), "-o",
           str(tmp_path / "n.pt"), "--valid-every", "3", "--epochs", "1"]  # fmt: skip
    assert main(fit) == 0
    assert capsys.readouterr().out.count(told) == 1
    with_born(tmp_path, 1.0)
    (tmp_path / "n.state.pt").unlink()  # of the run before, on other labels
    assert main(fit) == 0
    assert "have the sign opposite" not in capsys.readouterr().out


@pytest.mark.parametrize(("symbol", "states"), [("H2", {"H": 1.0}), ("CO", {"C": 2.0, "O": -2.0})])
def test_frames_whose_sign_says_nothing_are_not_counted(symbol, states):
    """One element, whose Born charges sum to zero, and such small ones as CO's, of C⁻O⁺."""
    atoms = molecule(symbol)
    size = np.array([-0.05, 0.05])[:, None, None] * np.eye(3)
    atoms.arrays["REF_born"] = (size if symbol == "CO" else size + [0, 0, 1e-3]).reshape(-1, 9)
    states = states if symbol == "CO" else {"H": -1.0}
    assert odd_signs(states, read_labelled([atoms], "f.xyz", 2.0, ["born"])) == []


def dipole_labels(matter, sign):
    """States and labelled structures with dipoles of 0.3 times them, times ``sign``."""
    states, rng = {"H": 1.0, "O": -2.0}, np.random.default_rng(7)
    if matter == "crystal":  # of which changes alone mean something, modulo quanta
        states = {"Mg": 2.0, "O": -2.0}
        cell = bulk("MgO", "rocksalt", 4.2, cubic=True)
        structures = [shaken_only(cell, k) for k in range(4)]
    else:
        structures = [shaken(molecule("H2O"), k) for k in range(4)]
    if matter == "ions":  # whose dipoles hang on the origin
        structures = [Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1}) for _ in range(4)]
        for k, atoms in enumerate(structures):
            atoms.rotate(50 * k, "x")
            atoms.positions += 20.0
    for atoms in structures:
        charges = np.array([states[s] for s in atoms.get_chemical_symbols()])
        places = atoms.positions - atoms.positions.mean(0)
        whole = charges.sum() * atoms.positions.mean(0)
        atoms.info["REF_dipole"] = 0.3 * sign * charges @ places + whole
        if matter == "crystal":
            atoms.wrap()
            atoms.info["REF_dipole"] += atoms.cell.array.T @ rng.integers(-2, 3, size=3)
    return states, [x for x in read_labelled(structures, "f.xyz", 2.0, ["dipole"]) if x]


def shaken_only(atoms, seed):
    atoms = atoms.copy()
    atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return atoms


@pytest.mark.parametrize("matter", ["molecules", "ions", "crystal"])
def test_dipoles_against_the_oxidation_states_are_refused(matter):
    states, right = dipole_labels(matter, 1.0)
    assert len(right) >= 3
    check_signs(states, right)
    with pytest.raises(ValueError, match=r"dipoles of the labels .* opposite .*dipole=-eA"):
        check_signs(states, dipole_labels(matter, -1.0)[1])


def test_small_dipoles_say_nothing_of_the_sign():
    """That of CO is 0.11 D, of C⁻O⁺; its carbon has the oxidation state 2 all the same."""
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.128]])
    atoms.info["REF_dipole"] = [0.0, 0.0, 0.11 * DEBYE]
    labelled = read_labelled([atoms], "f.xyz", 2.0, ["dipole"])
    check_signs({"C": 2.0, "O": -2.0}, labelled)
    check_signs({}, labelled)
