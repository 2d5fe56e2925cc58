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
@pytest.mark.xfail(reason="0.970 was the best seen", strict=False)
def test_energies_and_forces_alone_give_charges_and_dipoles(tmp_path):
    """An hour on a free core. Not met so far, for want of time to train.

    Seen, level u, 97 of 300 epochs, the rate hardly fallen: forces R² 0.99988 (29 meV/Å), Born
    charges 0.970, dipoles 0.991. Level uiu started on that model's features, 10 of 40 epochs, at
    the highest rate: forces 0.9999 (32 meV/Å), 0.922, 0.912.
    """
    found = teach(tmp_path / "m.pt", epochs=300, level="uiu")
    assert found["born"]["r2"] > 0.99
    assert found["dipole"]["r2"] > 0.99
