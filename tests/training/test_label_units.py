"""Units of labels: told by the data themselves, by matter, by a model; and converted when named."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.evaluator import Evaluator
from lrcalc.model_errors import collect
from lrcalc.training.charge_scales import describe_charges, valence
from lrcalc.training.data import read_structures
from lrcalc.training.label_units import UNITS, convert, parse_units
from lrcalc.training.labels import LabelKeys
from lrcalc.training.unlike import describe_units, unlike_model
from lrcalc.units import BOHR, COULOMB, DEBYE, HARTREE
from tests.training.labelled_metal import SMALL, copper, written
from tests.training.sets import frames_of

FILES = [
    "crystals/BaTiO3_55", "crystals/MgO_displaced_100", "crystals/NaCl_displaced_100",
    "crystals/SiO2_150", "molecules/charged_dimers_130", "molecules/dipeptides_train",
    "molecules/spice_born_dipeptides", "molecules/spice_born_water_clusters",
    "water/bulk32_dipole_polarizability_300", "water/pbe0ts_320", "water/rpbe_d3_30",
    "water/rpbe_d3_born_70", "water/superionic_2gcc_2000K_40",
]  # fmt: skip
POLAR = [f for f in FILES if "born" in f or "crystals" in f or "superionic" in f]
HARD = ("molecules/charged_dimers_130", "water/bulk32_dipole_polarizability_300")
"""Frozen fragments, and no forces at all: nothing tells the unit of the forces."""

FORCES = {
    "energy=Ha forces=Ha/bohr": (HARTREE, HARTREE / BOHR),
    "energy=kcal/mol forces=kcal/mol/A": (0.0433641, 0.0433641),
    "energy=eV forces=Ha/bohr": (1.0, HARTREE / BOHR),
}


def some(shared, file):
    """A few frames, with the dipole under its name."""
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")
    structures = structures[:: max(1, len(structures) // (10 if "water/" in file else 60))]
    for atoms in structures:
        results = {} if atoms.calc is None else atoms.calc.results
        if "dipole" in results:
            atoms.info["REF_dipole"] = results["dipole"]
    return structures


def scaled(structures, *, energy=1.0, forces=1.0, length=1.0, **electrical):
    """Copies with labels in other units, of which one is so much."""
    copies = []
    for atoms in structures:
        copy = atoms.copy()
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        convert(copy, {k: 1 / v for k, v in {"positions": length, **electrical}.items()})
        if "energy" in results:
            kept = {"energy": results["energy"] / energy, "forces": results["forces"] / forces}
            copy.calc = SinglePointCalculator(copy, **kept)
        copies.append(copy)
    return copies


@pytest.mark.shared
@pytest.mark.parametrize("file", FILES)
def test_published_data_are_in_our_units_and_others_are_told(file, shared):
    """No line on any of them; in bohr, in atomic or chemists' units, in debye: the right one."""
    structures = some(shared, file)
    assert describe_units(structures) == []
    (line,) = describe_units(scaled(structures, length=BOHR))
    assert "positions in bohr?" in line
    if file not in HARD:
        for words, (energy, forces) in FORCES.items():
            lines = describe_units(scaled(structures, energy=energy, forces=forces))
            # what changes of energies says is too rough where 60 frames are of ice and water
            wanted = words.split()[1] if file != "water/pbe0ts_320" else "--units"
            assert len(lines) == 1, words
            assert wanted in lines[0], words
    if file in POLAR:
        lines = describe_units(scaled(structures, born=DEBYE, dipole=DEBYE))
        assert any("--units born=D/A" in line for line in lines)
        assert ("REF_dipole" in structures[0].info) == any("dipole=D" in line for line in lines)


@pytest.mark.shared
@pytest.mark.parametrize("file", [f for f in FILES if f.startswith(("molecules", "crystals"))])
def test_a_few_frames_accuse_nobody(file, shared):
    """Six molecules of five elements: their energies followed anything, with either sign."""
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")
    for n in (4, 6, 12):
        for first in range(3):
            assert describe_units(structures[first :: max(1, len(structures) // n)][:n]) == []


@pytest.mark.shared
@pytest.mark.parametrize("file", ["molecules/dipeptides_train", "molecules/spice_born_dipeptides"])
def test_dipoles_without_born_charges(file, shared):
    """Charges fitted to them are chemistry's in e Å, 0.35 e for H at N; in others they are not."""
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")
    for atoms in structures:
        atoms.arrays.pop("REF_born", None)
        if "dipole" in atoms.calc.results:
            atoms.info["REF_dipole"] = atoms.calc.results["dipole"]
    assert describe_charges(structures) == []
    for unit in ("D", "ebohr"):
        (line,) = describe_charges(scaled(structures, dipole=UNITS["dipole"][unit]))
        assert f"--units dipole={unit}" in line


def test_valences():
    wanted = {
        "H": (1, 1), "O": (6, 2), "N": (5, 3), "Cl": (7, 1), "Na": (1, np.inf), "Ti": (4, np.inf),
        "Zn": (2, np.inf), "Ga": (3, np.inf), "Pb": (4, 4), "W": (6, np.inf), "Te": (6, 2),
        "La": (4, np.inf), "Ba": (2, np.inf), "Hf": (4, np.inf),
    }  # fmt: skip
    for symbol, both in wanted.items():
        number = Atoms(symbol).numbers[0]
        assert (valence(number, True), valence(number, False)) == both, symbol


@pytest.mark.parametrize("charge", [1.0, 2.0])
def test_ions_and_covalent_crystals_keep_their_born_charges(charge):
    """WO3 has 12.5 e for W and SnTe 8 for both: real, and of no other unit."""
    for symbols, born in (("WO3", [12.5, -4.2, -4.2, -4.1]), ("SnTe", [8.0, -8.0]),
                          ("NaCl", [charge, -charge])):  # fmt: skip
        atoms = Atoms(symbols, positions=2.0 * np.arange(3 * len(born)).reshape(-1, 3))
        atoms.arrays["REF_born"] = np.einsum("n,ab->nab", born, np.eye(3)).reshape(-1, 9)
        assert describe_charges([atoms]) == []
        (line,) = describe_charges(scaled([atoms], born=DEBYE))
        assert "born=D/A" in line


def test_metals_and_noble_gases():
    structures = copper(n=3)
    assert describe_units(structures) == []
    assert "in bohr?" in describe_units(scaled(structures, length=BOHR))[0]
    assert "in nm?" in describe_units(scaled(structures, length=10.0))[0]
    argon = [bulk("Ar", "fcc", 5.3, cubic=True)] * 2  # 1.8 times the radii, as it should be
    assert describe_units(argon) == []
    assert describe_units([Atoms("Na", [[0, 0, 0]])]) == []
    assert describe_units([Atoms("Cs", cell=[6, 6, 6], pbc=True)]) == []


def test_gradients_for_forces():
    structures = copper(strain=0.0)
    for atoms in structures:
        del atoms.calc.results["stress"]
    (line,) = describe_units(scaled(structures, forces=-1.0))
    assert "--units forces=-eV/A, if these are gradients" in line
    (line,) = describe_units(scaled(structures, energy=-1.0))
    assert "--units energy=-eV" in line


def test_units_that_are_named_are_read(tmp_path):
    """A file all of whose labels are in other units gives the same frames as one in ours."""
    (atoms,) = frames_of("water", 1)
    rng = np.random.default_rng(1)
    atoms.arrays["REF_born"] = rng.normal(size=(len(atoms), 9))
    atoms.info |= {"REF_dipole": rng.normal(size=3), "REF_polarizability": rng.normal(size=9)}
    other = atoms.copy()
    other.set_cell(atoms.cell.array / BOHR)
    other.positions /= BOHR
    other.arrays["REF_born"] = atoms.arrays["REF_born"] / DEBYE
    other.info["REF_dipole"] = atoms.info["REF_dipole"] / DEBYE
    other.info["REF_polarizability"] = atoms.info["REF_polarizability"] * COULOMB
    labels = atoms.calc.results
    other.calc = SinglePointCalculator(
        other, energy=labels["energy"] / HARTREE, forces=labels["forces"] / (-HARTREE / BOHR),
        stress=labels["stress"] * -1602.176634,
    )  # fmt: skip
    path = written(tmp_path / "f.xyz", [other])
    words = ["positions=bohr", "energy=Ha", "forces=-Ha/bohr", "stress=-kbar", "born=D/Å"]
    words += ["dipole=Debye", "polarizability=Å³"]
    (found,) = read_structures(path, LabelKeys(units=parse_units(words)))
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(found.cell.array, atoms.cell.array, atol=1e-7)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(found.calc.results[name], labels[name], rtol=1e-6, atol=1e-6)
    for store in ("arrays", "info"):
        for name, value in getattr(atoms, store).items():
            np.testing.assert_allclose(getattr(found, store)[name], value, atol=1e-6)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("energy", "'energy' but each word must be NAME=UNIT, of which NAME is one of positions, "),
        ("charge=e", "'charge=e' but each word"),
        ("energy=erg", "energy=erg: the unit of energy must be one of eV, meV, Ha, Ry"),
        ("polarizability=-A3", "polarizability=-A3: the unit of polarizability must be one of"),
        ("energy=Ha energy=Ry", "names energy twice"),
    ],
)
def test_units_that_are_none(word, message):
    with pytest.raises(ValueError, match=message):
        parse_units(word.split())


def test_a_unit_of_labels_that_are_not_there_gets_a_line(tmp_path, capsys):
    path = written(tmp_path / "cu.xyz", copper(n=4, strain=0.0))
    command = ["train", "--train", path, *SMALL, "--out", str(tmp_path / "m.pt")]
    assert main([*command, "--units", "dipole=D", "energy=erg"]) == 2
    assert "`--units` energy=erg" in capsys.readouterr().err
    assert main([*command, "--units", "dipole=D", "energy=eV"]) == 0
    assert "--units has a unit of dipole, but no frame has REF_dipole" in capsys.readouterr().out


def polarizable(symbols, per_atom, epsilon=None):
    """A molecule, or a crystal of cubic cell, with a polarizability in Å³."""
    if epsilon is None:
        atoms = molecule(symbols)
        alpha = per_atom * len(atoms)
    else:
        atoms = symbols
        alpha = (epsilon - 1) * atoms.get_volume() / (4 * np.pi)
    atoms.info["REF_polarizability"] = alpha * np.eye(3).ravel()
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [
        polarizable("H2O", 1.45 / 3), polarizable("C6H6", 10.3 / 12), polarizable("CH3OH", 3.2 / 6),
        polarizable(bulk("NaCl", "rocksalt", 5.64), 0, 2.34),
        polarizable(bulk("MgO", "rocksalt", 4.21), 0, 2.95),
        polarizable(Atoms("OH2", [[0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]], cell=[3.1] * 3,
                          pbc=True), 0, 1.78),
    ], ids=["water", "benzene", "methanol", "NaCl", "MgO", "ice"],
)  # fmt: skip
def test_polarizabilities_in_volumes_are_refused_unless_named(atoms, tmp_path):
    """In Å³ 14.4 times, in bohr³ 97 times too large for e Å²/V: molecules, salts, oxides, ice."""
    from lrcalc.training.electrical import label_polarizability
    from lrcalc.training.polarizability import reference_polarizability, warn_implausible

    for unit, size in (("A3", 1.0), ("bohr3", BOHR**3)):
        other = atoms.copy()
        other.info["REF_polarizability"] = atoms.info["REF_polarizability"] / size
        with pytest.raises(ValueError, match="give --units polarizability=A3 or =bohr3"):
            label_polarizability(other)
        right = reference_polarizability(other, unit)
        assert warn_implausible([other], [right]) is None
        convert(other, parse_units([f"polarizability={unit}"]))
        np.testing.assert_allclose(label_polarizability(other), right, rtol=1e-12)
    assert warn_implausible([atoms], [6.748 * right]) or 1 not in atoms.numbers


@pytest.mark.shared
def test_a_model_tells_units_of_what_it_knows(shared):
    """Labels in debye, in Hartree, in bohr³, transposed, of another sign, against `SiO2`."""
    evaluator = Evaluator("SiO2")
    frames = read_structures(shared / "data/crystals/SiO2_150.xyz.gz")[::30]
    alphas = {id(a): np.reshape(a.info["REF_polarizability"], (3, 3)) for a in frames}
    values = collect(evaluator, frames, polarizability=lambda a: alphas[id(a)])
    assert unlike_model(values, frames, determined=True) == []
    for name, unit in (("born", "D/A"), ("born", "ebohr/A"), ("polarizability", "A3"),
                       ("polarizability", "bohr3"), ("forces", "Ha/bohr"), ("forces", "kcal/mol/A"),
                       ("energy", "Ry"), ("stress", "kbar")):  # fmt: skip
        model, data = values[name]
        changed = {**values, name: (model, data / UNITS[name][unit])}
        (line,) = unlike_model(changed, frames, determined=True)
        assert f"--units {name}={unit}" in line
    model, data = values["born"]
    assert any("transposed" in x for x in unlike_model(
        {**values, "born": (model, data.swapaxes(1, 2))}, frames
    ))  # fmt: skip
    model, data = values["forces"]
    assert "--units forces=-eV/A" in unlike_model({"forces": (model, -data)}, frames)[0]


@pytest.fixture
def trained(tmp_path):
    """A model of a few epochs and its data: charges from the first frame."""
    frames = frames_of("crystal", 6)
    sign = np.where(frames[0].numbers == 11, 1.0, -1.0)
    frames[0].arrays["REF_born"] = (1.1 * sign[:, None, None] * np.eye(3)).reshape(-1, 9)
    path = written(tmp_path / "t.xyz", frames)
    model = str(tmp_path / "m.pt")
    assert main(["train", "--train", path, *SMALL, "--epochs", "12", "--learning-rate", "0.01",
                 "--out", model]) == 0  # fmt: skip
    return frames, model


def test_energies_of_another_zero_are_brought_to_the_models(trained, tmp_path, capsys):
    """Without a word they were the largest error of all, which the fit then learned."""
    frames, model = trained
    fitted = {}
    for name, shift in (("same", 0.0), ("other", 40.0)):
        moved = [a.copy() for a in frames]
        for atoms, copy in zip(frames, moved, strict=True):
            results = dict(atoms.calc.results)
            results["energy"] += shift * len(atoms)
            copy.calc = SinglePointCalculator(copy, **results)
        path = written(tmp_path / f"{name}.xyz", moved)
        out = tmp_path / f"{name}.pt"
        assert main(["fit-charges", model, "--data", path, "--valid-every", "3", "--epochs", "2",
                     "-o", str(out)]) == 0  # fmt: skip
        text = capsys.readouterr().out
        assert ("another zero than the model's, by up to 40.0" in text) == (shift > 0)
        assert ("energies" in load(out).metadata["charges_fitted"]) == (shift > 0)
        fitted[name] = Evaluator(str(out))([frames[1]], ["energy"])[0]["energy"]
    assert fitted["other"] == pytest.approx(fitted["same"], abs=0.02 * len(frames[1]))
    assert main(["fit-charges", model, "--data", path, "--valid-every", "3", "--epochs", "2",
                 "--same-zero", "-o", str(tmp_path / "kept.pt")]) == 0  # fmt: skip
    assert "another zero" not in capsys.readouterr().out
    assert "energies" not in load(tmp_path / "kept.pt").metadata["charges_fitted"]


def test_commands_say_what_labels_look_like(trained, tmp_path, capsys):
    frames, model = trained
    wrong = scaled(frames, length=BOHR)
    path = written(tmp_path / "bohr.xyz", wrong)
    assert main(["evaluate", model, path]) == 0
    assert "positions in bohr?" in capsys.readouterr().out
    assert main(["evaluate", model, path, "--units", "positions=bohr"]) == 0
    assert "covalent" not in capsys.readouterr().out
    assert main(["fit-charges", model, "--data", path, "--valid-every", "3", "--epochs", "1",
                 "-o", str(tmp_path / "n.pt")]) == 0  # fmt: skip
    assert "give --units positions=…" in capsys.readouterr().out
    path = written(tmp_path / "debye.xyz", scaled(frames, born=DEBYE))
    command = ["fit-charges", model, "--data", path, "--valid-every", "3", "--epochs", "1",
               "-o", str(tmp_path / "d.pt"), "--restart"]  # fmt: skip
    assert main(command[:-1]) == 0
    assert "times its valence: is it in D/A? Then give --units born=D/A" in capsys.readouterr().out


def test_evaluate_takes_the_unit_of_polarizabilities_once(tmp_path, capsys):
    atoms = read(written(tmp_path / "w.xyz", [molecule("H2O")]))
    atoms.info["REF_polarizability"] = 1.45 * np.eye(3).ravel()
    path = str(tmp_path / "a.xyz")
    write(path, atoms)
    both = ["--units", "polarizability=A3", "--polarizability-unit", "A3"]
    assert main(["evaluate", "water", path, *both]) == 2
    assert "both given; give one of them" in capsys.readouterr().err
    tables = []
    for options in (both[:2], both[2:]):
        assert main(["evaluate", "water", path, *options]) == 0
        tables.append(capsys.readouterr().out.split("trained on")[1])
    assert tables[0] == tables[1]
    assert "polarizability_isotropic" in tables[0]


def test_forces_of_a_metal_by_emt_are_of_its_stiffness():
    """The unit is told without any energy differences, from one frame alone."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=2)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=atoms.get_forces())
    assert describe_units([atoms]) == []
    (line,) = describe_units(scaled([atoms], forces=HARTREE / BOHR))
    assert "times as stiff as bonds of this length" in line
