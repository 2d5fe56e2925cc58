"""Which index of a Born tensor is the field and which the displacement: what can tell, what cannot.

A crystal's symmetry never tells. With an orthogonal R the mean of ``R Z Rᵀ`` over a space group
commutes with the transpose, and so do the sum rule and the copying of tensors to equivalent atoms:
whatever passes in one order passes in the other. A molecule's rotational sum rule does tell, and so
do published intensities. Where nothing tells, :func:`order_changes` says what is at stake.
"""

from typing import NamedTuple

import numpy as np

from lrcalc.analysis.modes import Modes, lines, mode_charges, neutral_born

FIELD_FIRST = "field-displacement"
"""Order of phonopy's BORN, VASP and Quantum ESPRESSO's E-U block, and ours: phonopy contracts the
first index with the wave vector in its non-analytical term."""
DISPLACEMENT_FIRST = "displacement-field"
"""Order of i-PI, LES, MACE-LES and Quantum ESPRESSO's U-E block."""


class OrderChange(NamedTuple):
    """A line's intensity in e²/amu as read and with the tensors transposed."""

    wavenumber: float
    irrep: str
    as_read: float
    other: float

    @property
    def relative(self) -> float:
        """Change of the line if the order was the other."""
        return abs(self.other - self.as_read) / max(self.as_read, 1e-12)


def other_intensity(modes: Modes, born: np.ndarray) -> np.ndarray:
    """Intensities (M,) in e²/amu with the Born tensors (N, 3, 3) transposed."""
    swapped = np.asarray(born).transpose(0, 2, 1)
    swapped = neutral_born(swapped, modes.masses, modes.total_charge)
    return (mode_charges(modes.eigenvectors, modes.masses, swapped) ** 2).sum(1)


def order_changes(modes: Modes, born: np.ndarray, threshold: float = 0.02) -> list[OrderChange]:
    """Lines above 1 % of the strongest that would change by more than ``threshold``, worst first.

    Empty for symmetric tensors, where there is nothing to confuse.
    """
    if not len(modes.wavenumber):
        return []
    swapped = other_intensity(modes, born)
    strongest = 0.01 * float(max(modes.intensity.max(), swapped.max(), 1e-12))
    changes = [
        OrderChange(
            line.wavenumber, line.irrep, line.intensity, float(swapped[list(line.modes)].sum())
        )
        for line in lines(modes)
    ]
    kept = [
        one
        for one in changes
        if max(one.as_read, one.other) > strongest and one.relative > threshold
    ]
    return sorted(kept, key=lambda one: -one.relative)


def order_note(modes: Modes, born: np.ndarray) -> str | None:
    """Warn if reading the tensors in the other index order would change a strong line."""
    changes = order_changes(modes, born)
    if not changes:
        return None
    worst = changes[0]
    return (
        f"the Born tensors are not symmetric and nothing here tells their index order: in the "
        f"other one the line at {worst.wavenumber:.1f} cm⁻¹ would have {worst.other:.4f} instead "
        f"of {worst.as_read:.4f} e²/amu; the first index must be the field"
    )


def rotation_residual(positions: np.ndarray, born: np.ndarray) -> float:
    """How badly a molecule's Born charges break the rotational sum rule, e Å.

    The norm of the symmetric part of `rotation_matrix`, which is zero whatever the dipole is;
    transposed tensors break it, which is how the index order of a molecule can be told. In a
    crystal symmetry cannot tell: with an orthogonal R, ``R Z Rᵀ = Z`` holds for Zᵀ as well.
    """
    matrix = rotation_matrix(positions, born)
    return float(np.linalg.norm(matrix + matrix.T) / 2)


def rotation_matrix(positions: np.ndarray, born: np.ndarray) -> np.ndarray:
    """Differentiate a molecule's dipole along rotations about its centre, (3, 3), e Å.

    On a rotation dM = ω × M = Σ_k born_k (ω × r_k), so ``A_ac = Σ_k born_k,ab ε_bcd r_kd`` is
    ``ε_acd M_d``.
    """
    centred = np.asarray(positions) - np.mean(positions, axis=0)
    levi = np.zeros((3, 3, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        levi[a, b, c], levi[a, c, b] = 1.0, -1.0
    return np.einsum("kab,bcd,kd->ac", born, levi, centred)
