"""The polarizability surface: symmetry, limits, fitting, units, and what is refused."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write

from lrcalc import Evaluator, LRCalculator
from lrcalc.checkpoint import load, save
from lrcalc.cli import main
from lrcalc.model_errors import polarizability_parts
from lrcalc.models.potential import Potential
from lrcalc.training.polarizability import (
    permittivities,
    reference_polarizability,
    warn_implausible,
)
from lrcalc.training.settings import SurfaceSettings
from lrcalc.training.surface import fit_surface, make_samples
from lrcalc.units import COULOMB, EPSILON_0
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box


def with_surface(atoms, **config):
    potential = random_potential(atoms, surface=8, **{"level": "u", **config})
    potential.surface.constant += torch.tensor([0.1, 0.3], dtype=torch.float64)
    return potential


def polarizability(potential, atoms, **options):
    (result,) = Evaluator(potential, **options)([atoms], ["polarizability"])
    return result["polarizability"]


def test_turns_with_the_structure_and_does_not_know_the_box():
    atoms = water_box(n=3)
    potential = with_surface(atoms)
    alpha = polarizability(potential, atoms)
    assert np.abs(alpha - alpha.trace() / 3 * np.eye(3)).max() > 1e-4  # there is something to turn
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]  # may be improper
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ rotation.T)
    turned.positions = atoms.positions @ rotation.T
    if np.linalg.det(rotation) < 0:
        turned.set_cell(turned.cell[[1, 0, 2]])  # right-handed again, the same lattice
    np.testing.assert_allclose(
        polarizability(potential, turned), rotation @ alpha @ rotation.T, rtol=0, atol=1e-9
    )
    repeated = polarizability(potential, atoms.repeat((2, 1, 2)))
    np.testing.assert_allclose(repeated, 4 * alpha, rtol=1e-10)


def test_isolated_atoms_have_their_constant():
    potential = with_surface(water_box())
    far = Atoms("OHH", positions=[[0, 0, 0], [50, 0, 0], [0, 50, 0]])
    np.testing.assert_allclose(
        polarizability(potential, far), (0.3 + 2 * 0.1) * np.eye(3), rtol=0, atol=1e-12
    )


def test_energies_without_a_field_do_not_change():
    atoms = water_box(n=3)
    plain, taught = random_potential(atoms, level="u"), with_surface(atoms)
    taught.load_state_dict(plain.state_dict(), strict=False)
    names = ["energy", "forces", "stress", "dipole", "born_effective_charges"]
    (a,), (b,) = Evaluator(plain)([atoms], names), Evaluator(taught)([atoms], names)
    for name in names:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_dipole_of_the_calculator_grows_with_the_field():
    atoms = cluster()
    potential = with_surface(atoms)
    atoms.calc = LRCalculator(potential, dtype="float64")
    before, alpha = atoms.get_dipole_moment(), atoms.calc.get_property("polarizability", atoms)
    field = np.array([0.02, -0.01, 0.03])
    atoms.calc.electric_field = field
    np.testing.assert_allclose(atoms.get_dipole_moment() - before, alpha @ field, atol=1e-12)


@pytest.mark.parametrize("level", ["u", "uiu"])
def test_fit_learns_what_a_surface_can_say(level):
    """Polarizabilities of a random surface: a fit on 80 structures predicts 10 others.

    For a model with a response of its own the surface learns the rest.
    """
    rng = np.random.default_rng(1)
    structures = [water_box(n=3) for _ in range(90)]
    for atoms in structures:
        atoms.positions += rng.normal(scale=0.08, size=(9, 3))
    teacher = with_surface(structures[0], level=level)
    teacher.surface.layer2 *= 5.0
    labels = [polarizability(teacher, a) for a in structures]
    student = random_potential(structures[0], level=level)
    student.load_state_dict(teacher.state_dict(), strict=False)
    samples = make_samples(student, structures, labels)
    settings = SurfaceSettings(hidden=8, epochs=80, weight_decay=1e-4)
    rows = []
    fitted = fit_surface(student, samples[:70], samples[70:80], settings, rows.append)
    assert student.surface is None  # the model that was given stays as it was
    assert [r["epoch"] for r in rows] == list(range(1, 81))
    made = np.array([polarizability(fitted, a) for a in structures[80:]])
    errors = polarizability_parts(made, np.array(labels[80:]))
    assert errors["isotropic"].r2 > 0.75
    assert errors["anisotropic"].r2 > 0.75
    short = settings._replace(epochs=5)
    once, again = (fit_surface(student, samples[:70], samples[70:80], short) for _ in range(2))
    np.testing.assert_array_equal(polarizability(again, structures[0]),
                                  polarizability(once, structures[0]))  # fmt: skip


def test_surface_survives_its_file(tmp_path):
    atoms = water_box(n=3)
    potential = with_surface(atoms)
    save(potential, tmp_path / "m.pt")  # in single precision
    read = load(tmp_path / "m.pt", dtype=torch.float64)
    np.testing.assert_allclose(
        polarizability(read, atoms), polarizability(potential, atoms), rtol=1e-6
    )


def test_units_and_local_field():
    """1 Å³ = 4π ε0 Å³ = 0.0694461 e Å²/V; benzene-like numbers through Clausius and Mossotti."""
    atoms = Atoms("He", cell=[3.0, 4.0, 5.0], pbc=True)
    atoms.info["polarizability"] = (2.0 * np.eye(3)).ravel()
    plain = reference_polarizability(atoms, "A3")
    np.testing.assert_allclose(plain, 2.0 * 0.06944616 * np.eye(3), rtol=1e-5)
    atomic = reference_polarizability(atoms, "bohr3")
    np.testing.assert_allclose(atomic, plain * 0.529177210903**3, rtol=1e-12)
    raised = reference_polarizability(atoms, "A3", "clausius-mossotti")
    epsilon = 1 + raised[0, 0] / (EPSILON_0 * 60.0)
    assert (epsilon - 1) / (epsilon + 2) == pytest.approx(4 * np.pi / 3 * 2.0 / 60.0, rel=1e-6)
    atoms.info["polarizability"] = (30.0 * np.eye(3)).ravel()
    with pytest.raises(ValueError, match="Mossotti"):
        reference_polarizability(atoms, "A3", "clausius-mossotti")
    assert reference_polarizability(molecule("H2O")) is None


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (np.eye(3).ravel(), {"unit": "A^3"}, "`unit` is 'A\\^3'"),
        (np.eye(3).ravel(), {"local_field": "lorentz"}, "`local_field` is 'lorentz'"),
        (np.ones(6), {}, "6 numbers but must have nine"),
        (np.full(9, np.nan), {}, "nine finite"),
        (np.arange(9.0), {}, "not symmetric"),
        (np.eye(3).ravel(), {"local_field": "clausius-mossotti"}, "three periodic directions"),
        (-np.eye(3).ravel(), {}, r"lowest eigenvalue is -1: the static.*positive definite"),
        (np.diag([9.0, 8.0, -0.5]).ravel(), {"unit": "A3"}, "lowest eigenvalue is -0.5"),
        (np.zeros(9), {}, "positive definite"),
    ],
)
def test_bad_labels(value, options, message):
    atoms = molecule("H2O")
    atoms.info["REF_polarizability"] = value
    with pytest.raises(ValueError, match=message):
        reference_polarizability(atoms, **options)


def test_no_surface_without_charges():
    with pytest.raises(ValueError, match="short-ranged"):
        Potential((1, 8), level="sr", surface=8)


@pytest.fixture
def files(tmp_path):
    """A model file, and a data file labelled by a teacher."""
    structures = [water_box(n=3, seed=k) for k in range(24)]
    teacher = with_surface(structures[0])
    for atoms in structures:
        # random ones are larger than water's
        atoms.info["polarizability"] = 0.3 * polarizability(teacher, atoms).ravel()
    write(tmp_path / "alpha.xyz", structures)
    save(random_potential(structures[0], level="u", dtype=torch.float32), tmp_path / "m.pt")
    return tmp_path


def test_command_writes_a_model_with_errors_and_origin_in_its_card(files, capsys):
    base = ["fit-polarizability", "--model", str(files / "m.pt"), "--data",
            str(files / "alpha.xyz"), "--unit", "eA2/V", "--epochs", "3"]  # fmt: skip
    out = files / "taught.pt"
    assert main([*base, "--test-every", "4", "--licence", "CC0", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "17 training, 1 validation, 6 test" in text
    assert "warning" not in text
    assert "isotropic polarizability per atom: " in text
    assert "anisotropic" in text
    card = json.loads(json.dumps(load(out).metadata["polarizability"]))
    assert card["licence"] == "CC0"
    assert len(card["trained_on"]) == 18
    assert card["errors"]["frames"] == "test"
    report = files / "errors.json"
    assert main(["evaluate", str(out), str(files / "alpha.xyz"), "--json", str(report),
                 "--polarizability-unit", "eA2/V"]) == 0  # fmt: skip
    kept_out = json.loads(report.read_text())["kept_out"]
    assert kept_out["frames"] == [2, 6, 10, 14, 18, 22]
    for part in ("isotropic", "anisotropic"):
        found, expected = kept_out[f"polarizability_{part}"], card["errors"][part]
        assert found["rmse"] == pytest.approx(expected["rmse"], rel=1e-5)
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    assert "kept-out" in capsys.readouterr().out
    atoms = water_box(n=3)
    assert polarizability(load(out), atoms, dtype="float32").shape == (3, 3)
    with pytest.raises(ValueError, match="no response"):
        polarizability(load(files / "m.pt"), atoms)


def test_command_refuses_what_it_cannot_use(files, capsys):
    base = ["fit-polarizability", "--model", str(files / "m.pt"), "--data",
            str(files / "alpha.xyz"), "--unit", "eA2/V"]  # fmt: skip
    assert main([*base, "--out", "m.txt"]) == 2
    assert "must end in .pt" in capsys.readouterr().err
    assert main([*base, "--valid-every", "100", "--out", str(files / "x.pt")]) == 2
    assert "no validation frames: --valid-every is 100" in capsys.readouterr().err
    write(files / "bare.xyz", water_box(n=3))
    bare = [x.replace("alpha.xyz", "bare.xyz") for x in base]
    assert main([*bare, "--out", str(files / "x.pt")]) == 2
    assert "frame 0 has no polarizability" in capsys.readouterr().err
    assert not (files / "x.pt").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--valid-every", "0"),
        ("--valid-every", "1"),
        ("--test-every", "-3"),
        ("--test-every", "1"),
        ("--hidden", "0"),
        ("--batch-size", "-1"),
        ("--learning-rate", "-1"),
        ("--weight-decay", "nan"),
    ],
)
def test_bad_option_is_named_before_data_are_read(option, value, tmp_path, capsys):
    command = ["fit-polarizability", "--model", "no.pt", "--data", "no.xyz", "--unit", "A3"]
    assert main([*command, "--out", str(tmp_path / "x.pt"), f"{option}={value}"]) == 2
    assert f"`{option}` is {value}" in capsys.readouterr().err.replace("-1.0", "-1")
    assert not list(tmp_path.iterdir())


def labelled_file(path, factor, count=12, pbc=True):
    """Waters of 1.4 Å³, as in the literature, times a factor, in e Å²/V."""
    structures = [water_box(n=3, seed=k, pbc=pbc) for k in range(count)]
    for k, atoms in enumerate(structures):
        alpha = 3 * 1.4 * 0.0694461 * factor * np.diag([1.0, 1.0 + 0.01 * k, 1.02])
        atoms.info["polarizability"] = alpha.ravel()
    write(path, structures)
    return structures


@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize(
    ("factor", "warned"), [(1.0, False), (1e6, True), (1e-3, True), (0.0694461, True)]
)
def test_implausible_magnitudes_are_pointed_out(factor, warned, pbc, files, capsys):
    """Also without a local field and without a cell; the last factor is e Å²/V read as Å³."""
    labelled_file(files / "scaled.xyz", factor, pbc=pbc)
    command = ["fit-polarizability", "--model", str(files / "m.pt"), "--unit", "eA2/V",
               "--data", str(files / "scaled.xyz"), "--epochs", "1"]  # fmt: skip
    assert main([*command, "--out", str(files / "x.pt")]) == 0
    text = capsys.readouterr().out
    assert ("warning: " in text and "12 of 12 frames" in text) == warned
    assert "Å³" in text
    assert ("ε_∞ = 1 + α/(ε0 V)" in text) == pbc


def test_permittivity_beyond_any_insulator_is_pointed_out():
    atoms = Atoms("Cs2", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    volume, per_atom = 64.0, 90.0
    alpha = 2 * per_atom / COULOMB * np.eye(3)  # plausible for an atom, not in so small a cell
    assert permittivities([atoms], [alpha]) == [
        pytest.approx(1 + 4 * np.pi * 2 * per_atom / volume, rel=1e-12)
    ]
    atoms.set_cell([4, 4, 2], scale_atoms=True)
    assert "ε_∞ 71.7, above 50" in (warn_implausible([atoms], [alpha]) or "")
    atoms.pbc = False
    assert warn_implausible([atoms], [alpha]) is None


def test_unknown_elements_are_named_with_their_frame(files, capsys):
    structures = labelled_file(files / "sulphur.xyz", 1.0)
    structures[3].numbers[0] = 16
    write(files / "sulphur.xyz", structures)
    command = ["fit-polarizability", "--model", str(files / "m.pt"), "--unit", "eA2/V",
               "--data", str(files / "sulphur.xyz")]  # fmt: skip
    assert main([*command, "--out", str(files / "x.pt")]) == 2
    told = "has unknown elements: S in 1 (first: frame 3); the model knows H, O only"
    assert told in capsys.readouterr().err
