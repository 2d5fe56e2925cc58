"""The native model: symmetry, smoothness, limits."""

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import Evaluator, from_ase
from lrcalc.models.native.coupling import coupling
from lrcalc.models.radial import envelope
from lrcalc.models.sign import fix_sign
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box


def terms(potential, atoms):
    system = from_ase(atoms)
    return potential(system, build_pairs(system, potential.cutoff))


def rotation(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("inversion", [1.0, -1.0])
@pytest.mark.parametrize("charges", ["local", "atomic"])
def test_multipoles_turn_with_the_structure(charges, inversion):
    atoms = water_box()
    potential = random_potential(atoms, level="uQiqiu", charges=charges, anisotropic=True)
    turn = inversion * rotation()
    turned = atoms.copy()
    turned.set_cell(np.asarray(atoms.cell) @ turn.T)
    turned.positions = atoms.positions @ turn.T
    before, after = terms(potential, atoms), terms(potential, turned)
    torch.testing.assert_close(after.energy, before.energy, rtol=1e-12, atol=1e-10)
    r = torch.tensor(turn)
    b, a = before.readout.multipoles, after.readout.multipoles
    torch.testing.assert_close(a.charge, b.charge, rtol=0, atol=1e-11)
    torch.testing.assert_close(a.dipole, b.dipole @ r.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(a.quadrupole, r @ b.quadrupole @ r.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(a.polarizability, r @ b.polarizability @ r.T, rtol=0, atol=1e-11)
    assert b.dipole.abs().max() > 1e-3  # or the test could not fail
    assert b.quadrupole.abs().max() > 1e-3


def test_order_and_wrapping_of_atoms_do_not_matter():
    atoms = water_box()
    potential = random_potential(atoms, level="uQ")
    order = np.random.default_rng(3).permutation(len(atoms))
    shuffled = atoms[order]
    shuffled.positions += np.random.default_rng(4).integers(-2, 3, (len(atoms), 3)) @ atoms.cell
    before, after = terms(potential, atoms), terms(potential, shuffled)
    torch.testing.assert_close(after.energy, before.energy, rtol=0, atol=1e-10)
    charge = before.readout.multipoles.charge[torch.tensor(order)]
    torch.testing.assert_close(after.readout.multipoles.charge, charge, rtol=0, atol=1e-11)


def test_batch_is_its_structures():
    structures = [water_box(), water_box(seed=7, n=2), cluster()]
    potential = random_potential(structures[0], level="uiqiu")
    alone = torch.cat([terms(potential, a).energy for a in structures])
    torch.testing.assert_close(terms(potential, structures).energy, alone, rtol=0, atol=1e-10)


def test_energy_is_extensive():
    atoms = water_box()
    potential = random_potential(atoms, level="u", accuracy=1e-9)
    one, eight = terms(potential, atoms).energy, terms(potential, atoms.repeat(2)).energy
    torch.testing.assert_close(eight, 8 * one, rtol=0, atol=1e-7)


@pytest.mark.parametrize("level", ["sr", "uQiqiu"])
@pytest.mark.parametrize("number", [1, 8])
def test_isolated_atom_has_its_reference_energy(level, number):
    potential = random_potential(water_box(), level=level)
    potential.reference_energy = torch.tensor([-13.6, -432.1], dtype=torch.float64)
    result = terms(potential, Atoms(numbers=[number], positions=[[1.0, 2.0, 3.0]]))
    expected = -13.6 if number == 1 else -432.1
    assert float(result.energy) == pytest.approx(expected, abs=1e-12)
    assert float(result.readout.multipoles.charge.abs().max()) == 0.0


def test_energy_is_smooth_at_the_cutoff():
    """Value, slope and curvature of the energy vanish as a neighbour leaves."""
    potential = random_potential(water_box(), level="sr")

    def energy(r):
        return float(terms(potential, Atoms("OH", [[0, 0, 0], [r, 0, 0]])).energy)

    gaps = np.array([0.04, 0.02, 0.01])
    values = np.abs([energy(potential.cutoff - gap) for gap in gaps])
    assert energy(potential.cutoff + 0.01) == 0.0
    # the envelope goes as the cube of the gap: halving it takes at least a factor of 7
    assert (values[1:] < values[:-1] / 7.0).all()
    assert values[0] > 0


def test_transfers_fade_where_the_last_neighbour_leaves():
    atoms = Atoms("OHOH", [[0, 0, 0], [1, 0, 0], [0, 3.45, 0], [1, 3.45, 0]])
    potential = random_potential(water_box(), level="q", transfer_cutoff=3.5)

    def charges(d):
        moved = atoms.copy()
        moved.positions[2:, 1] = d
        return terms(potential, moved).readout.multipoles.charge

    steps = [charges(3.5 + h) - charges(3.5 - h) for h in (1e-2, 1e-3)]
    assert steps[1].abs().max() < 0.2 * steps[0].abs().max()


def test_local_charges_are_conserved_and_neutral():
    atoms = water_box()
    potential = random_potential(atoms, level="q", charges="local")
    result = terms(potential, atoms)
    assert float(result.readout.multipoles.charge.sum().abs()) < 1e-12
    atoms.info["charge"] = 2.0
    assert float(terms(potential, atoms).readout.multipoles.charge.sum()) == pytest.approx(2.0)


def test_unknown_species_is_refused():
    potential = random_potential(water_box())
    with pytest.raises(ValueError, match=r"knows the atomic numbers \[1, 8\].*has \[11\]"):
        terms(potential, Atoms("NaOH", np.eye(3) * 2))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"level": "xyz"}, "`level` is 'xyz'"),
        ({"charges": "none"}, "`charges` is 'none'"),
        ({"cutof": 3.0}, "unknown model options"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        random_potential(water_box(), **option)


def test_orientation_flips_charges_and_nothing_else():
    atoms = water_box()
    system = from_ase(atoms)
    for seed in range(4):
        potential = random_potential(atoms, seed=seed, level="uQ")
        pairs = build_pairs(system, potential.cutoff)
        before = potential(system, pairs)
        fix_sign(potential, system, pairs)
        after = potential(system, pairs)
        torch.testing.assert_close(after.energy, before.energy, rtol=0, atol=1e-10)
        (result,) = Evaluator(potential)([atoms], ["born_effective_charges"])
        born = result["born_effective_charges"][atoms.numbers == 8]
        assert born.trace(axis1=1, axis2=2).sum() < 0
        sign = float(
            torch.sign(before.readout.multipoles.charge[0] * after.readout.multipoles.charge[0])
        )
        torch.testing.assert_close(
            after.readout.multipoles.dipole, sign * before.readout.multipoles.dipole
        )


def test_products_cover_all_parity_even_paths():
    _, _, matrix, paths = coupling(symmetric=True)
    assert paths == [4, 3, 5, 3]
    assert len(matrix) == 4 + 3 * 3 + 5 * 5 + 3 * 7
    assert coupling(symmetric=False)[3] == [4, 6, 7, 6]


def test_envelope_has_two_derivatives_at_the_cutoff():
    x = torch.tensor([2.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    value = envelope(x, 2.0)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)
    assert max(abs(v.item()) for v in (value, slope, curvature)) < 1e-6
    assert float(envelope(torch.zeros(1), 2.0)) == 1.0
