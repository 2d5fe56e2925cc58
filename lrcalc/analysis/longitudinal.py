"""Which way the longitudinal branch goes from Γ: a sign of Born charges that are too small.

In an ionic crystal the longitudinal optical branch is highest at Γ, where the macroscopic field
stiffens it, and falls from there. Force constants of a supercell know the branch at the wave
vectors that fit into it, whatever the Born charges; LO at Γ is made of the latter. So charges that
are too small, or any, where energies do not determine them, make the branch rise (physics §9: KCl
154 cm⁻¹ instead of 213).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.modes import Modes, longitudinal_modes, wavenumbers

RISES = 1.03
"""Ratio of the branch at the nearest wave vector to that at Γ, from which on it is said to rise.

Fitted force constants of displaced NaCl and MgO: DFT's own 0.7 to 0.8, models that learned other
charges up to 1.31."""

SAME = 0.5
"""Least overlap of the mode at the wave vector with that at Γ."""


class Longitudinal(NamedTuple):
    """The highest longitudinal mode at Γ and at the nearest wave vector of the supercell."""

    wave_vector: np.ndarray
    """(3,) of the primitive cell's reciprocal vectors."""
    at_gamma: float
    """cm⁻¹, with the non-analytical term along the wave vector."""
    away: float
    """cm⁻¹."""

    @property
    def note(self) -> str | None:
        """What to say where the branch rises."""
        if not self.away > RISES * self.at_gamma:
            return None
        q = " ".join(f"{x:.3g}" for x in self.wave_vector)
        return (
            f"the longitudinal branch rises away from Γ, from {self.at_gamma:.0f} to "
            f"{self.away:.0f} cm⁻¹ at ({q}), where in ionic crystals it falls: Born charges that "
            "are too small, as of a model whose data do not determine them?"
        )


def longitudinal_branch(phonon: Any, modes: Modes) -> Longitudinal | None:
    """Follow the strongest longitudinal mode from Γ to the nearest wave vector that fits.

    Parameters
    ----------
    phonon : phonopy.Phonopy
        Without non-analytical term.
    modes : Modes
        Of its primitive cell at Γ.

    Returns
    -------
    Longitudinal or None
        None without charges, for a supercell in which only Γ fits, or where no mode there is like
        that at Γ.
    """
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    if not (modes.charged and modes.periodic and len(modes.wavenumber)):
        return None
    matrix = np.rint(np.linalg.inv(phonon.primitive.primitive_matrix) @ phonon.supercell_matrix)
    points = get_commensurate_points(matrix.astype(int))
    points = points - np.rint(points)
    reciprocal = np.linalg.inv(phonon.primitive.cell).T
    waves = points @ reciprocal
    lengths = np.linalg.norm(waves, axis=1)
    near = np.argsort(np.where(lengths > 1e-8, lengths, np.inf))[0]
    if not lengths[near] > 1e-8:
        return None
    wavenumber, vectors, strength = longitudinal_modes(modes, waves[near])
    top = int(np.argmax(strength))
    dynamical = phonon.dynamical_matrix
    dynamical.run(points[near])
    squares, found = np.linalg.eigh(dynamical.dynamical_matrix)
    overlap = np.abs(vectors[top].ravel() @ found) ** 2
    like = int(np.argmax(overlap))
    if overlap[like] < SAME:
        return None
    away = float(wavenumbers(squares)[like])
    return Longitudinal(points[near], float(wavenumber[top]), away)
