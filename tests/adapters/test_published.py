"""Published MACE-LES files, converted: their own numbers, and what theirs are not.

The files and what is made of them stay outside the repository (../shared/published).
"""

import json

import numpy as np
import pytest
from ase import Atoms

from lrcalc import Evaluator, LRCalculator, save
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.models.as_published import stress_as_published
from tests.sample_structures import water_box

pytestmark = pytest.mark.shared

NAMES = {"water": 1, "dipeptides": 2}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Name → structures with their numbers, and a converted file."""
    from tests.conftest import SHARED

    folder = SHARED / "published"
    if not folder.is_dir():
        pytest.skip("no ../shared/published")
    made = {}
    for name in NAMES:
        stem = f"maceles-{name}-r4.5-l0"
        path = tmp_path_factory.mktemp("converted") / f"{name}.pt"
        save(convert(folder / f"{stem}.model", trust_pickle=True), path)
        structures = json.loads((folder / f"{stem}.json").read_text())["structures"]
        made[name] = path, structures
    return made


def as_atoms(structure):
    cell = structure["cell"]
    return Atoms(structure["numbers"], structure["positions"], cell=cell, pbc=cell is not None)


@pytest.mark.parametrize(("name", "index"), [(n, k) for n, c in NAMES.items() for k in range(c)])
def test_energies_forces_and_latent_charges(published, name, index):
    path, structures = published[name]
    expected = structures[index]
    atoms = as_atoms(expected)
    calculator = LRCalculator(path, dtype="float64")
    assert calculator.get_property("energy", atoms) == pytest.approx(expected["energy"], abs=1e-9)
    for ours, theirs in (("forces", "forces"), ("charges", "latent_charges")):
        found = calculator.get_property(ours, atoms)
        np.testing.assert_allclose(found, expected[theirs], rtol=0, atol=1e-9)
    # their note has another order of indices; in open boxes these are derivatives of the dipole
    born = calculator.get_property("bec_as_published", atoms)
    theirs = np.reshape(expected["bec_as_published"], (-1, 3, 3))
    np.testing.assert_allclose(born, theirs, rtol=0, atol=1e-5)


def test_the_long_range_energy_is_theirs(published):
    path, structures = published["dipeptides"]
    evaluator = Evaluator(path, dtype="float64")
    terms = evaluator.evaluate([as_atoms(structures[0])], ["energy"]).terms
    assert float(terms.electrostatics.energy) == pytest.approx(structures[0]["les_energy"])


def test_stress_is_the_derivative_of_the_energy_and_theirs_is_not(published):
    """Their long-range sum does not hear of the strain; without that the numbers agree."""
    path, structures = published["water"]
    expected, atoms = structures[0], as_atoms(structures[0])
    evaluator = Evaluator(path, dtype="float64")
    prediction = evaluator.evaluate([atoms], ["energy", "stress"])
    theirs = stress_as_published(prediction)[0]
    np.testing.assert_allclose(theirs, expected["stress"], rtol=0, atol=1e-9)
    stress = evaluator([atoms], ["stress"])[0]["stress"]
    assert np.abs(stress - expected["stress"]).max() > 1e-3
    energies = []
    for step in (1e-4, -1e-4):
        strained = atoms.copy()
        strained.set_cell(atoms.cell @ (np.eye(3) + np.diag([step, 0, 0])), scale_atoms=True)
        energies.append(evaluator([strained], ["energy"])[0]["energy"])
    slope = (energies[0] - energies[1]) / (2e-4 * atoms.cell.volume)
    assert stress[0, 0] == pytest.approx(slope, abs=1e-7)


def test_born_charges_do_not_know_the_box_and_theirs_do(published):
    evaluator = Evaluator(published["water"][0], dtype="float64", asr_projection=False)
    atoms = water_box(n=3)
    for name, known in (("born_effective_charges", False), ("bec_as_published", True)):
        one, two = evaluator([atoms, atoms * (2, 1, 1)], [name])
        change = np.abs(two[name][: len(atoms)] - one[name]).max()
        assert change > 0.05 if known else change < 1e-9


def test_the_sign_of_charges_can_be_turned(published):
    """Energies do not know it: O of the published water is positive."""
    from tests.conftest import SHARED

    file = SHARED / "published" / "maceles-water-r4.5-l0.model"
    names = ["energy", "forces", "charges", "born_effective_charges"]
    turned = Evaluator(convert(file, trust_pickle=True, flip_sign=True), dtype="float64")
    atoms = water_box(n=2)
    theirs, ours = (
        e([atoms], names)[0] for e in (Evaluator(published["water"][0], dtype="float64"), turned)
    )
    for name in names:
        sign = 1 if name in names[:2] else -1
        np.testing.assert_allclose(ours[name], sign * theirs[name], atol=1e-9)
    oxygen = ours["born_effective_charges"][atoms.numbers == 8]
    assert np.einsum("iaa->i", oxygen).mean() < 0


def test_the_cutoff_is_theirs_unless_it_is_to_converge(published, tmp_path):
    from tests.conftest import SHARED

    path, structures = published["water"]
    file = SHARED / "published" / "maceles-water-r4.5-l0.model"
    atoms = as_atoms(structures[0])
    converged = Evaluator(convert(file, trust_pickle=True, converge_k=True))
    energies = [
        e([atoms], ["energy"])[0]["energy"] for e in (Evaluator(path, dtype="float64"), converged)
    ]
    assert converged.potential.ewald.k_cutoff == pytest.approx(5.2565, abs=1e-3)
    assert 1e-3 < abs(energies[1] - energies[0]) < 1.0
