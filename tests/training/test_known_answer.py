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
    """A quarter of an hour on a free core.

    Seen: forces 9.9 meV/Å, Born charges R² 0.9938, dipoles 0.9972. With 8 channels and 400 clusters
    the charges came to 0.965 (docs/undetermined-charges.md).
    """
    found = teach(tmp_path / "m.pt", epochs=120)
    assert found["forces"]["r2"] > 0.9999
    assert found["born"]["r2"] > 0.99
    assert found["dipole"]["r2"] > 0.99
