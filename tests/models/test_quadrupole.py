"""Quadrupole moment of open structures: against point charges placed by hand, and every caller."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import Evaluator, LRCalculator, electrostatic_energy, predict, read_extxyz, write_extxyz
from lrcalc.fields import Field
from lrcalc.ipi.conversions import extras_to_ipi
from lrcalc.ipi_files.extras import shaped
from lrcalc.model_errors import collect, summarise
from lrcalc.models.quadrupole import lattice_quadrupole
from lrcalc.models.readout import Readings
from lrcalc.multipoles import Multipoles
from lrcalc.properties import PROPERTIES, Property, extras, register
from lrcalc.system import from_ase
from lrcalc.units import BOHR, COULOMB
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

SMALL = {"channels": 4, "hidden": 4}


def traceless(tensor):
    return tensor - np.trace(tensor) / 3 * np.eye(3)


def moment(charges, places, origin):
    """``Σ q (x x - ⅓ x² 1)``, the definition."""
    x = places - origin
    return traceless(np.einsum("n,na,nb->ab", charges, x, x))


def cloud(terms, positions, arm=0.1):
    """Point charges that have the charges, dipoles and quadrupoles of all atoms."""
    charges, places = [], []
    multipoles, induced = terms.readout.multipoles, terms.electrostatics
    zero = torch.zeros(())
    for n, x in enumerate(positions):
        charge, dipole, tensor = (
            np.asarray(sum(part[n] for part in parts if part is not None) + zero)
            for parts in (
                (multipoles.charge, induced.induced_charge),
                (multipoles.dipole, induced.induced_dipole),
                (multipoles.quadrupole,),
            )
        )
        charges, places = [*charges, charge], [*places, x]
        for axis in np.eye(3):
            for sign in (1, -1):
                charges.append(sign * np.dot(dipole * np.ones(3), axis) / (2 * arm))
                places.append(x + sign * arm * axis)
        values, axes = np.linalg.eigh(tensor * np.ones((3, 3)))
        for value, axis in zip(values, axes.T, strict=True):
            charges += [value / (2 * arm**2), value / (2 * arm**2), -value / arm**2]
            places += [x + arm * axis, x - arm * axis, x]
    return np.array(charges), np.array(places)


@pytest.mark.parametrize("level", ["q", "uQ", "uiu", "uQiqiu"])
def test_point_charges_placed_by_hand(level):
    """Of all that a model has on its atoms, screened; and from another origin the shift formula."""
    atoms = cluster(n=2)
    potential = random_potential(atoms, level=level, **SMALL)
    potential.metadata["epsilon_infinity"] = 1.7
    evaluator = Evaluator(potential)
    (result,) = evaluator([atoms], ["quadrupole", "dipole"])
    terms = evaluator.evaluate([atoms], ["quadrupole"]).terms
    charges, places = cloud(terms, atoms.positions)
    charges *= evaluator.screening
    centre = atoms.numbers @ atoms.positions / atoms.numbers.sum()
    found = result["quadrupole"]
    assert np.abs(found).max() > 0.05
    np.testing.assert_allclose(found, moment(charges, places, centre), atol=1e-9)
    np.testing.assert_allclose(np.trace(found), 0.0, atol=1e-12)
    d = np.array([1.0, -2.0, 0.5])
    product = np.outer(d, result["dipole"])
    shifted = found - traceless(product + product.T)
    np.testing.assert_allclose(moment(charges, places, centre + d), shifted, atol=1e-9)


def test_four_charges_in_closed_form():
    """+ - + - on a square of side a in the plane: Q_xy = q a², the diagonal zero."""
    square = Atoms("H4", positions=[[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    charge = torch.tensor([0.5, -0.5, 0.5, -0.5], dtype=torch.float64)
    readings = Readings(charge, Multipoles(charge), None, None)
    terms = type("Terms", (), {"readout": readings, "electrostatics": None})
    found = lattice_quadrupole(from_ase(square), terms)[0].numpy()
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.5 * 2.0**2
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_its_energy_with_a_distant_charge():
    """``½ Q:∇∇φ`` beside ``q φ - M·E``, the sum of the electrostatics itself, by 1/R⁴."""
    atoms = cluster(n=2)
    evaluator = Evaluator(random_potential(atoms, level="uQ", **SMALL))
    prediction = evaluator.evaluate([atoms], ["quadrupole"])
    values = prediction.results({"quadrupole", "dipole"})
    tensor, dipole = (values[k][0].numpy() / evaluator.screening for k in ("quadrupole", "dipole"))
    multipoles = Multipoles(*(m if m is None else m.detach() for m in
                               prediction.terms.readout.multipoles[:3]))  # fmt: skip
    centre = atoms.numbers @ atoms.positions / atoms.numbers.sum()
    places = prediction.system.positions.detach()
    n = np.array([0.48, -0.6, 0.64])

    def interaction(r):
        there = torch.tensor(centre + r * n)[None]
        whole = Multipoles(*(
            None if m is None else torch.cat([m, m.new_full((1, *m.shape[1:]), float(m.ndim == 1))])
            for m in multipoles[:3]
        ))  # fmt: skip
        apart = electrostatic_energy(places, None, multipoles)
        alone = electrostatic_energy(there, None, Multipoles(whole.charge[-1:]))
        both = electrostatic_energy(torch.cat([places, there]), None, whole)
        return (both.energy - apart.energy - alone.energy).item()

    def series(r):
        return COULOMB * (dipole @ n / r**2 + 1.5 * n @ tensor @ n / r**3)

    quadrupolar = COULOMB * 1.5 * n @ tensor @ n
    left = [interaction(r) - series(r) for r in (200.0, 400.0)]
    assert abs(left[0]) < 0.2 * abs(quadrupolar) / 200.0**3
    np.testing.assert_allclose(left[0] / left[1], 16.0, rtol=0.1)


def test_rotation_translation_and_screening():
    atoms = cluster(n=2)
    potential = random_potential(atoms, level="uQiqiu", **SMALL)
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    turned, moved = atoms.copy(), atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    moved.positions += [3.0, -20.0, 7.0]
    here, there, aside = (r["quadrupole"] for r in
                          Evaluator(potential)([atoms, turned, moved], "quadrupole"))  # fmt: skip
    np.testing.assert_allclose(there, rotation @ here @ rotation.T, atol=1e-9)
    np.testing.assert_allclose(aside, here, atol=1e-9)
    screened = Evaluator(potential, epsilon_infinity=4.0)([atoms], "quadrupole")
    np.testing.assert_allclose(screened[0]["quadrupole"], 2 * here, rtol=1e-12)


def test_what_has_none_is_told():
    water = water_box(n=1)
    evaluator = Evaluator(random_potential(water, level="u", **SMALL))
    with pytest.raises(ValueError, match=r"quadrupole is a property of a structure without per"):
        evaluator([water], "quadrupole")
    short = Evaluator(random_potential(water, level="sr", **SMALL))
    with pytest.raises(ValueError, match=r"\(level 'sr'\) and has no charges: quadrupole"):
        short([cluster(n=1)], "quadrupole")
    field = Field("electric_field", (0.0, 0.0, 0.1))
    system = from_ase(cluster(n=1))
    with pytest.raises(ValueError, match="in a field is not known; ask for it without"):
        predict(evaluator.potential, system, None, field, "quadrupole")


def test_every_caller_has_it(tmp_path):
    atoms = cluster(n=2)
    potential = random_potential(atoms, level="u", **SMALL)
    (result,) = Evaluator(potential)([atoms], "quadrupole")
    right = result["quadrupole"]
    atoms.calc = LRCalculator(potential, also=["quadrupole"])
    atoms.get_forces()
    np.testing.assert_allclose(atoms.calc.results["quadrupole"], right)
    np.testing.assert_allclose(predict(potential, from_ase(atoms), properties="quadrupole")
                               ["quadrupole"][0], right)  # fmt: skip
    write_extxyz(tmp_path / "a.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "a.xyz")
    np.testing.assert_allclose(frame.calc.results["quadrupole"], right, atol=1e-7)
    sent = json.loads(json.dumps(extras_to_ipi(result, ["quadrupole"])))["quadrupole"]
    np.testing.assert_allclose(sent, right.ravel() / BOHR**2)
    np.testing.assert_allclose(shaped("quadrupole", np.array([sent])), right[None])
    frame.info["REF_quadrupole"] = 1.1 * right
    errors = summarise(collect(Evaluator(potential), [frame]))["quadrupole"]
    np.testing.assert_allclose(errors.mae, 0.1 * np.abs(right).mean(), rtol=1e-6)


def test_another_property_is_one_entry(monkeypatch):
    """It is then known to all callers; a name that is taken and an unknown need are refused."""
    with pytest.raises(ValueError, match="`name` is 'energy', which is a property already"):
        register(PROPERTIES["energy"])
    new = Property("squares", "e", True, (), ("charges",), lambda p: p.charges.square())
    with pytest.raises(ValueError, match=r"`needs` of squares has \['luck'\]"):
        register(new._replace(needs=("luck",)))
    monkeypatch.setitem(PROPERTIES, "squares", new)  # is taken out again at the end
    del PROPERTIES["squares"]
    register(new)
    assert "squares" in LRCalculator.implemented_properties
    assert extras()["squares"] is new
    evaluator = Evaluator(random_potential(water_box(n=1), level="u", **SMALL))
    (result,) = evaluator([water_box(n=1)], ["squares", "charges"])
    np.testing.assert_allclose(result["squares"], result["charges"] ** 2)
