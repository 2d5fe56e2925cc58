"""Constants and conversions, stated once.

Inside lrcalc: eV, Å, e, amu, K, fs; field in V/Å, so that e·V/Å is eV/Å. Cell vectors are rows.
Stress is ``(1/V) dE/d(strain)`` (ASE sign and Voigt order). ``born[i, a, b] = dM_a/dr_ib``:
atom, field (dipole) component, displacement. Only the borders to other programs convert.

Values: CODATA 2018.
"""

from math import pi

EPSILON_0 = 5.526349406e-3
"""Vacuum permittivity, e² eV⁻¹ Å⁻¹."""

COULOMB = 1.0 / (4.0 * pi * EPSILON_0)
"""Coulomb constant k_C = 1/(4π ε0) = 14.3996 eV Å e⁻²."""

BOLTZMANN = 8.617333262e-5
"""Boltzmann constant, eV/K."""

HBAR = 0.6582119569
"""Reduced Planck constant, eV fs."""

SPEED_OF_LIGHT = 2997.92458
"""Speed of light, Å/fs."""

BOHR = 0.529177210903
"""Bohr radius, Å."""

HARTREE = 27.211386245988
"""Hartree energy, eV."""

DEBYE = 0.20819433
"""One debye, e Å."""

EV_PER_AMU_A2_FS2 = 103.642696
"""1 amu Å² fs⁻² in eV, so that kinetic energies come out in eV."""

ATOMIC_TIME = 2.4188843265857e-2
"""Atomic unit of time, hbar/Hartree, in fs."""

ASE_TIME = EV_PER_AMU_A2_FS2**0.5
"""ASE's unit of time, Å √(amu/eV), in fs; its velocities are divided by it."""

WAVENUMBER_TO_ANGULAR = 2.0 * pi * SPEED_OF_LIGHT * 1e-8
"""Angular frequency (rad/fs) of 1 cm⁻¹."""

EV_PER_A3_IN_GPA = 160.2176634
"""1 eV/Å³ in GPa."""

ATOMIC = {
    "": 1.0, "e": 1.0, "e Å": BOHR, "e Å²": BOHR**2, "e/Å²": BOHR**-2, "V/Å": HARTREE / BOHR,
    "e Å²/V": BOHR**2 / HARTREE, "e Å/V": BOHR / HARTREE,
}  # fmt: skip
"""Units of `lrcalc.properties`: what one atomic unit of the quantity is in each."""
