"""Units of time are those of ASE."""

import numpy as np
from ase import units as ase

from lrcalc import units


def test_times_are_those_of_ase():
    np.testing.assert_allclose(units.ASE_TIME, 1.0 / ase.fs, rtol=1e-7)
    np.testing.assert_allclose(units.ATOMIC_TIME, ase.AUT / ase.fs, rtol=1e-7)
    np.testing.assert_allclose(units.HBAR / units.HARTREE, units.ATOMIC_TIME, rtol=1e-9)
