"""Charge handed on in several hops: what the filter lets through, and that it stays exact."""

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import from_ase, predict
from lrcalc.models.dipole import lattice_dipole
from lrcalc.models.transfers import RESIDUAL, _Rows, handed_out, hop_multiples
from lrcalc.multipoles import transferred_charges
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

TRICLINIC = [[6.5, 0.0, 0.0], [1.1, 6.2, 0.0], [-0.7, 0.9, 6.4]]


def hopping(atoms, **config):
    return random_potential(atoms, **{"level": "q", "transfer_hops": 4, **config})


def terms(potential, atoms):
    system = from_ase(atoms)
    pairs = build_pairs(system, potential.cutoff)
    return system, pairs, potential(system, pairs)


def ring(n, hops):
    """Charges that each wave of emissions on a ring of ``n`` atoms leaves, over the wave itself."""
    here = torch.arange(n)
    i, j = torch.cat([here, here]), torch.cat([(here + 1) % n, (here - 1) % n])
    waves = torch.cos(2 * np.pi / n * torch.outer(here, here[: n // 2 + 1]).double())
    found = []
    for wave in waves.unbind(1):
        # weights so large that nothing is kept
        amount = handed_out(wave[:, None], torch.full((2 * n, 1), 1e9).double(), i, j, hops)
        charge = transferred_charges(torch.zeros(n).double(), i, j, amount)
        assert abs(float(charge.sum())) < 1e-12
        found.append(float(charge @ wave / (wave @ wave)))
    return np.cos(2 * np.pi / n * np.arange(n // 2 + 1)), np.array(found)


def test_one_hop_is_a_high_pass_filter():
    eigenvalue, response = ring(24, 1)
    np.testing.assert_allclose(response, 1 - eigenvalue, atol=1e-8)


@pytest.mark.parametrize("hops", [2, 4, 8])
def test_several_hops_flatten_the_filter(hops):
    """Independent of the nodes: Chebyshev's bound, and nothing of the even pattern."""
    eigenvalue, response = ring(24, hops)
    assert response[0] == pytest.approx(0.0, abs=1e-7)
    ratio = np.cosh(np.arccosh(1 / RESIDUAL) / hops)
    flat = eigenvalue <= 1 - 2 * (ratio - 1) / (ratio + 1)
    assert np.abs(response[flat] - 1).max() < RESIDUAL + 1e-6
    assert flat.sum() >= {2: 6, 4: 8, 8: 11}[hops]
    # no pattern grows on the way
    left = np.cumprod([1 - m * (1 - np.linspace(-1, 1, 201)) for m in hop_multiples(hops)], axis=0)
    assert np.abs(left).max() < 1 + 1e-12


def test_the_dipole_of_a_cluster_is_that_of_its_charges():
    atoms = cluster()
    potential = hopping(atoms)
    system, pairs, made = terms(potential, atoms)
    charge = made.readout.multipoles.charge
    torch.testing.assert_close(
        lattice_dipole(system, pairs, made)[0], charge @ system.positions, rtol=0, atol=1e-12
    )
    assert charge.abs().max() > 1e-2
    assert float(charge.sum().abs()) < 1e-12
    atoms.info["charge"] = -1.0
    assert float(terms(potential, atoms)[2].readout.multipoles.charge.sum()) == pytest.approx(-1.0)


def test_born_charges_are_slopes_of_the_dipole_and_do_not_know_the_box():
    atoms = water_box(n=2)
    atoms.set_cell(TRICLINIC, scale_atoms=True)
    potential = hopping(atoms, level="u", cutoff=3.0, transfer_cutoff=2.5)

    def ask(atoms, *names):
        return predict(potential, from_ase(atoms), properties=names)

    born = ask(atoms, "born_effective_charges")["born_effective_charges"]
    for atom, axis in ((0, 0), (1, 2)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            ends.append(ask(moved, "dipole")["dipole"][0])
        slope = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close(born[atom, :, axis], slope, rtol=0, atol=2e-7)
    torch.testing.assert_close(born.sum(0), torch.zeros(3, 3).double(), rtol=0, atol=1e-10)
    larger = ask(atoms.repeat((2, 1, 1)), "born_effective_charges")["born_effective_charges"]
    torch.testing.assert_close(larger[: len(atoms)], born, rtol=0, atol=1e-6)
    assert born.abs().max() > 1e-2


def test_hops_fade_where_the_last_neighbour_leaves():
    atoms = Atoms("OHOH", [[0, 0, 0], [1, 0, 0], [0, 3.45, 0], [1, 3.45, 0]])
    potential = hopping(water_box())

    def charges(d):
        moved = atoms.copy()
        moved.positions[2:, 1] = d
        return terms(potential, moved)[2].readout.multipoles.charge

    steps = [charges(3.5 + h) - charges(3.5 - h) for h in (1e-2, 1e-3)]
    assert steps[1].abs().max() < 0.2 * steps[0].abs().max()


def test_far_molecules_do_not_change_one_another():
    one = cluster()
    other = one.copy()
    other.positions += [40.0, 0.0, 0.0]
    potential = hopping(one)
    alone = terms(potential, one)[2].readout.multipoles.charge
    both = terms(potential, one + other)[2].readout.multipoles.charge
    torch.testing.assert_close(both, torch.cat([alone, alone]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("option", [{"transfer_hops": 0}, {"transfer_decay": [0.0, 1.0]}])
def test_options_that_cannot_be(option):
    with pytest.raises(ValueError, match=rf"`{next(iter(option))}` is"):
        hopping(cluster(), **option)


def test_rows_as_a_gpu_takes_them():
    """Entry by entry, also where rows come several times; twice differentiable, as training is."""
    rows = torch.tensor([4, 0, 4, 2, 4])
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(_Rows.apply(values, rows), values[rows])

    def cubes(x):
        return _Rows.apply(x, rows) ** 3

    assert torch.autograd.gradcheck(cubes, values)
    assert torch.autograd.gradgradcheck(cubes, values)
