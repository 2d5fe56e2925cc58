"""Modes at Γ: effective charges, infrared strengths, ε(ω), LO–TO splitting.

Pure functions on plain arrays; phonopy is not needed here (see :mod:`lrcalc.analysis.phonons`).
Raman strengths are in :mod:`lrcalc.analysis.raman_modes`.
``born[k, a, b] = ∂M_a/∂r_kb``: atom, field (dipole) component, displacement. With eigenvectors e_m

    Z̃_m,a = Σ_kb born_kab e_m,kb/√m_k ,  S_m = Z̃_m ⊗ Z̃_m ,  I_m = tr S_m
    ε(ω) = ε_∞ + (1/ε0 V) Σ_m S_m/(ω_m² − ω² − iγ_m ω)
    LO along n̂: diagonalise ω_m² δ_mn + (Z̃_m·n̂)(Z̃_n·n̂)/(ε0 V n̂·ε_∞·n̂)

(Gonze & Lee, Phys. Rev. B 55, 10355 (1997)). A negative wavenumber means an imaginary mode.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrcalc import units

KM_PER_MOL = 974.880
"""Infrared intensity of 1 e²/amu in km/mol (N_A/(12 ε0 c²), summed over three directions)."""
DEBYE2_PER_A2_AMU = 1.0 / units.DEBYE**2
"""1 e²/amu in (D/Å)²/amu."""
SUM_RULE_LIMIT = 0.1
"""Largest ``|Σ_k born_k|`` per atom that is taken for noise, e."""

STABLE = 1e-3
"""Modes below this wavenumber, cm⁻¹, have no restoring force."""

# One squared wavenumber (cm⁻²) in eV Å⁻² amu⁻¹, the unit of a dynamical matrix.
_SQUARE = units.WAVENUMBER_TO_ANGULAR**2 * units.EV_PER_AMU_A2_FS2


class Modes(NamedTuple):
    """All modes at Γ but the three translations, by rising wavenumber."""

    wavenumber: np.ndarray
    """(M,) cm⁻¹; negative for imaginary modes."""
    eigenvectors: np.ndarray
    """(M, N, 3) mass-weighted, orthonormal."""
    masses: np.ndarray
    """(N,) amu."""
    charge: np.ndarray
    """(M, 3) mode effective charges Z̃, e amu^-½."""
    epsilon_infinity: np.ndarray
    """(3, 3)."""
    volume: float
    """Å³."""
    irreps: tuple[str, ...]
    """(M,) labels, empty where unknown."""
    notes: tuple[str, ...] = ()
    raman: np.ndarray | None = None
    """(M, 3, 3) Raman tensors ∂α/∂Q in Å² amu^-½, where they were computed."""
    charged: bool = True
    """False where no Born charges are known: ``charge`` is zero then and means nothing."""
    total_charge: float = 0.0
    """Of the cell, e."""
    periodic: bool = True
    """False without periods in all three directions: there is no ε and no LO-TO splitting then,
    and ``volume`` is that of an arbitrary box."""
    epsilon_optical: np.ndarray | None = None
    """(3, 3), for light, where the forces hold another ``epsilon_infinity``."""

    @property
    def intensity(self) -> np.ndarray:
        """(M,) Infrared intensity Σ_a Z̃_a² in e²/amu."""
        return (self.charge**2).sum(1)

    @property
    def strength(self) -> np.ndarray:
        """(M, 3, 3) oscillator strength tensors in e²/amu."""
        return np.einsum("ma,mb->mab", self.charge, self.charge)

    @property
    def stable(self) -> np.ndarray:
        """(M,) True for modes that have a restoring force."""
        return self.wavenumber > STABLE

    def displacement(self, mode: int) -> np.ndarray:
        """(N, 3) displacements e/√m of one mode, Å for a normal coordinate of 1 Å √amu."""
        return self.eigenvectors[mode] / np.sqrt(self.masses)[:, None]


def mode_charges(eigenvectors: np.ndarray, masses: np.ndarray, born: np.ndarray) -> np.ndarray:
    """Mode effective charges Z̃ (M, 3), e amu^-½.

    Parameters
    ----------
    eigenvectors
        (M, N, 3) mass-weighted.
    masses
        (N,) amu.
    born
        (N, 3, 3) in e, atom, field, displacement.
    """
    eigenvectors, born = np.asarray(eigenvectors), np.asarray(born, dtype=float)
    count = len(masses)
    if born.shape != (count, 3, 3) or eigenvectors.shape[1:] != (count, 3):
        raise ValueError(
            f"`born` {born.shape} and `eigenvectors` {eigenvectors.shape} must be ({count}, 3, 3) "
            f"and (modes, {count}, 3) for {count} masses"
        )
    return np.einsum("kab,mkb,k->ma", born, eigenvectors, np.asarray(masses) ** -0.5)


def neutral_born(born: np.ndarray, masses: np.ndarray, charge: float = 0.0) -> np.ndarray:
    """Born charges with ``Σ_k born_k = charge · 1``, the excess taken off in proportion to mass.

    This share belongs to the centre of mass, so the charges of all optical modes stay as they were.
    """
    excess = born.sum(0) - charge * np.eye(3)
    worst = float(np.abs(excess).max()) / len(born)
    if worst > SUM_RULE_LIMIT:
        raise ValueError(
            f"Born charges break the acoustic sum rule by {worst:.3f} e per atom (limit "
            f"{SUM_RULE_LIMIT} e): atoms are missing or in another order than in the structure"
        )
    return born - np.einsum("k,ab->kab", np.asarray(masses) / np.sum(masses), excess)


def solve(
    dynamical_matrix: np.ndarray,
    masses: np.ndarray,
    born: np.ndarray,
    epsilon_infinity: np.ndarray,
    volume: float,
    irreps: Sequence[str] = (),
    notes: Sequence[str] = (),
    total_charge: float = 0.0,
) -> Modes:
    """Diagonalise a dynamical matrix at Γ and weigh its modes with Born charges.

    Parameters
    ----------
    dynamical_matrix
        (3N, 3N) in eV Å⁻² amu⁻¹ without the non-analytical term.
    masses, born, epsilon_infinity, volume
        (N,) amu; (N, 3, 3) e; (3, 3); Å³.
    irreps
        (3N - 3,) labels for the optical modes.
    total_charge
        Of the cell, e: what the Born charges add up to.
    """
    matrix = np.asarray(dynamical_matrix)
    if not np.isfinite(matrix).all():
        raise ValueError("the dynamical matrix holds NaN or infinity")
    matrix = 0.5 * (matrix + matrix.conj().T).real
    count = len(masses)
    translations = np.zeros((3 * count, 3))
    for axis in range(3):
        translations[axis::3, axis] = np.sqrt(masses / np.sum(masses))
    # The complement of the translations; they are left out exactly instead of by a threshold.
    complement = np.linalg.qr(translations, mode="complete")[0][:, 3:]
    square, vectors = np.linalg.eigh(complement.T @ matrix @ complement)
    noted = list(notes)
    leak = float(np.abs(matrix @ translations).max())
    if leak > max(1e-3 * float(np.abs(matrix).max()), 1e-9):
        noted.append(f"forces on a rigid shift: {leak:.2g} eV Å⁻² amu⁻¹; symmetrise the constants")
    wavenumber = np.sign(square) * np.sqrt(np.abs(square) / _SQUARE)
    imaginary = -wavenumber[wavenumber < -STABLE]
    if len(imaginary):
        some = ", ".join(f"{nu:.1f}i" for nu in imaginary[:5]) + (", …" * (len(imaginary) > 5))
        noted.append(
            f"{len(imaginary)} imaginary mode{'s' * (len(imaginary) > 1)} ({some} cm⁻¹; negative "
            "in files): no minimum, or rotations of a molecule; left out of ε_0 and ε(ω)"
        )
    eigenvectors = (complement @ vectors).T.reshape(-1, count, 3)
    neutral = neutral_born(np.asarray(born, dtype=float), masses, total_charge)
    return Modes(
        wavenumber,
        eigenvectors,
        np.asarray(masses, dtype=float),
        mode_charges(eigenvectors, masses, neutral),
        np.asarray(epsilon_infinity, dtype=float),
        float(volume),
        tuple(irreps) or ("",) * len(wavenumber),
        tuple(noted),
        total_charge=total_charge,
    )


class Line(NamedTuple):
    """Degenerate modes together."""

    wavenumber: float
    degeneracy: int
    intensity: float
    """e²/amu."""
    irrep: str
    modes: tuple[int, ...]


def lines(modes: Modes, tolerance: float = 0.05) -> list[Line]:
    """Modes closer than ``tolerance`` cm⁻¹ and of one label, with their intensities summed."""
    groups: list[list[int]] = []
    for index, nu in enumerate(modes.wavenumber):
        last = groups[-1] if groups else None
        if (
            last is not None
            and nu - modes.wavenumber[last[-1]] < tolerance
            and modes.irreps[index] == modes.irreps[last[-1]]
        ):
            last.append(index)
        else:
            groups.append([index])
    return [
        Line(
            float(modes.wavenumber[group].mean()),
            len(group),
            float(modes.intensity[group].sum()),
            modes.irreps[group[0]],
            tuple(group),
        )
        for group in groups
    ]


def static_dielectric(modes: Modes) -> np.ndarray:
    """ε_0 (3, 3): ε_∞ plus the ionic part; modes without a restoring force are left out."""
    keep = modes.stable
    ionic = np.tensordot(1.0 / modes.wavenumber[keep] ** 2, modes.strength[keep], axes=1)
    return modes.epsilon_infinity + ionic / (units.EPSILON_0 * modes.volume * _SQUARE)


def permittivity(modes: Modes, wavenumber: np.ndarray, damping: float | np.ndarray) -> np.ndarray:
    """ε(ω) (F, 3, 3), complex, of damped modes.

    Parameters
    ----------
    wavenumber
        (F,) cm⁻¹.
    damping
        Full width at half maximum of each line in cm⁻¹, one number or (M,).
    """
    width = np.broadcast_to(np.asarray(damping, dtype=float), modes.wavenumber.shape)
    if (width <= 0).any():
        raise ValueError(f"`damping` is {width.min()} cm⁻¹ but must be positive")
    keep = modes.stable
    nu = np.asarray(wavenumber, dtype=float)[:, None]
    pole = 1.0 / (modes.wavenumber[keep] ** 2 - nu**2 - 1j * width[keep] * nu)
    ionic = np.tensordot(pole, modes.strength[keep], axes=1)
    return modes.epsilon_infinity + ionic / (units.EPSILON_0 * modes.volume * _SQUARE)


def reflectivity(epsilon: np.ndarray) -> np.ndarray:
    """Normal-incidence reflectivity ``|(√ε − 1)/(√ε + 1)|²`` of scalar ε."""
    index = np.sqrt(np.asarray(epsilon, dtype=complex))
    return np.abs((index - 1) / (index + 1)) ** 2


def infrared_lines(modes: Modes, wavenumber: np.ndarray, damping: float) -> np.ndarray:
    """n·α (F,) in cm⁻¹ of the powder average: ``ω tr ε″/(3c)``."""
    epsilon = permittivity(modes, wavenumber, damping)
    trace = np.trace(epsilon.imag, axis1=1, axis2=2) / 3.0
    return 2.0 * np.pi * np.asarray(wavenumber) * trace


def longitudinal(modes: Modes, direction: Sequence[float]) -> np.ndarray:
    """Wavenumbers (M,) with the non-analytical term for q → 0 along ``direction``, cm⁻¹."""
    return longitudinal_modes(modes, direction)[0]


def longitudinal_modes(
    modes: Modes, direction: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Modes with the non-analytical term for q → 0 along ``direction``.

    Returns
    -------
    tuple
        Wavenumbers (M,), cm⁻¹; eigenvectors (M, N, 3); squares of their charges along it (M,).
    """
    n = np.asarray(direction, dtype=float)
    length = np.linalg.norm(n)
    if n.shape != (3,) or length == 0:
        raise ValueError(f"`direction` is {direction} but must be a vector other than zero")
    n = n / length
    along = modes.charge @ n
    factor = units.EPSILON_0 * modes.volume * float(n @ modes.epsilon_infinity @ n)
    matrix = np.diag(np.sign(modes.wavenumber) * modes.wavenumber**2)
    square, mixed = np.linalg.eigh(matrix + np.outer(along, along) / (factor * _SQUARE))
    vectors = np.einsum("mk,mia->kia", mixed, modes.eigenvectors)
    return np.sign(square) * np.sqrt(np.abs(square)), vectors, (along @ mixed) ** 2


def wavenumbers(squares: np.ndarray) -> np.ndarray:
    """Wavenumbers, cm⁻¹, of eigenvalues of a dynamical matrix, eV Å⁻² amu⁻¹."""
    scaled = np.asarray(squares) / _SQUARE
    return np.sign(scaled) * np.sqrt(np.abs(scaled))
