"""The longitudinal branch of phonopy's own NaCl and MgO, with their charges and with smaller."""

import pytest

from lrcalc.analysis import phonons
from lrcalc.analysis.longitudinal import longitudinal_branch


@pytest.mark.parametrize("name", ["NaCl", "MgO"])
def test_the_branch_falls_from_gamma_unless_charges_are_too_small(shared, name):
    found = phonons.from_folder(shared / "data/phonons" / name)
    branch = longitudinal_branch(found.phonopy, phonons.solve(found))
    assert branch.note is None
    assert branch.away < 0.95 * branch.at_gamma
    small = found._replace(born=0.3 * found.born)
    branch = longitudinal_branch(found.phonopy, phonons.solve(small))
    assert branch.away > branch.at_gamma
    assert "the longitudinal branch rises away from Γ" in branch.note


def test_without_charges_there_is_nothing_to_say(shared):
    found = phonons.from_folder(shared / "data/phonons/NaCl", intensities=False)
    assert longitudinal_branch(found.phonopy, phonons.solve(found)) is None
