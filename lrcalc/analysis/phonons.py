"""Phonons through phonopy: from a folder of DFT files or from any ASE calculator.

The front door: reading (:mod:`~lrcalc.analysis.phonon_files`), displacing
(:mod:`~lrcalc.analysis.displacements`) and solving (:mod:`~lrcalc.analysis.crystal`) are found
here by their names, with bands and moving pictures. phonopy is imported inside the functions.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis import modes as mode_math
from lrcalc.analysis.crystal import (
    WIDE,
    Phonons,
    assemble,
    irreps,
    molecule_positions,
    quiet,
    solve,
    symmetrise_born,
    widths,
)
from lrcalc.analysis.displacements import from_calculator, with_raman
from lrcalc.analysis.mesh_yaml import constants_from_mesh
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.phonon_files import from_folder

__all__ = [
    "Phonons",
    "animation",
    "assemble",
    "band_structure",
    "constants_from_mesh",
    "density_of_states",
    "from_calculator",
    "from_folder",
    "irreps",
    "molecule_positions",
    "solve",
    "symmetrise_born",
    "with_raman",
]

_THZ = 1e-3 * 2.0 * np.pi  # rad/fs


def band_structure(phonons: Phonons, points: int = 51, nac: bool = True) -> dict[str, Any]:
    """Bands along ASE's path through the Brillouin zone with the non-analytical term.

    Returns
    -------
    dict
        ``distances`` and ``wavenumbers`` (cm⁻¹), a list over segments; ``labels``, the names of
        both ends of each segment; ``supercell``, its repeats and smallest width in words; and
        ``notes``.
    """
    check_bands(phonons)
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string
    from phonopy import Phonopy

    base = phonons.phonopy
    with quiet():
        phonon = Phonopy(base.unitcell, base.supercell_matrix, base.primitive_matrix, log_level=0)
    phonon.force_constants = phonons.phonopy.force_constants
    if nac and phonons.charged:
        phonon.nac_params = {
            # the excess of a net charge goes off by mass: no mode at Γ but the translations has it
            "born": mode_math.neutral_born(phonons.born - share(phonons), phonon.primitive.masses),
            "dielectric": phonons.epsilon_infinity,
            "factor": units.COULOMB,
        }
    with quiet():
        special = Cell(np.array(phonon.primitive.cell)).bandpath()
        runs = parse_path_string(special.path)
        ends = [pair for run in runs for pair in pairwise(run)]
        path = [
            np.linspace(special.special_points[a], special.special_points[b], points)
            for a, b in ends
        ]
        bands = phonon.run_band_structure(path)
    scale = _THZ / units.WAVENUMBER_TO_ANGULAR
    return {
        "distances": [np.asarray(d) for d in bands.distances],
        "wavenumbers": [np.asarray(f) * scale for f in bands.frequencies],
        "labels": ends,
        "supercell": supercell_words(base),
        "notes": band_notes(base, min(float(np.min(f)) for f in bands.frequencies) * scale),
    }


def share(phonons: Phonons) -> np.ndarray:
    """Return the net charge of the cell as Born charges (N, 3, 3) in proportion to mass."""
    masses = np.asarray(phonons.phonopy.primitive.masses)
    part = masses / masses.sum() * phonons.total_charge
    return np.asarray(part[:, None, None] * np.eye(3))


def check_bands(phonons: Phonons) -> None:
    """Refuse bands of force constants that are good at Γ only."""
    if not phonons.periodic:
        raise ValueError(
            "bands and a density of states need a structure with periods in three directions"
        )
    if phonons.only_gamma:
        raise ValueError(
            f"these force constants are good at Γ only ({supercell_words(phonons.phonopy)}): bands "
            f"need a `supercell` about {WIDE:g} Å wide"
        )


def supercell_words(phonon: Any) -> str:
    """Repeats and smallest width of a supercell."""
    matrix = np.asarray(phonon.supercell_matrix)
    diagonal = (matrix == np.diag(np.diag(matrix))).all()
    repeats = "×".join(str(n) for n in np.diag(matrix)) if diagonal else str(matrix.tolist())
    return f"supercell {repeats}, {widths(phonon.supercell.cell).min():.1f} Å wide"


def band_notes(phonon: Any, lowest: float) -> list[str]:
    """Say if bands (of which the lowest is ``lowest`` cm⁻¹) are of a narrow cell or imaginary."""
    notes = []
    if widths(phonon.supercell.cell).min() < WIDE:
        notes.append(f"bands: {supercell_words(phonon)}; {WIDE:g} Å or more are needed away from Γ")
    if lowest < -5.0:
        notes.append(
            f"bands: imaginary down to {-lowest:.0f}i cm⁻¹: the structure is no minimum, or the "
            "supercell too small"
        )
    return notes


def density_of_states(phonons: Phonons, spacing: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (cm⁻¹) and density of states (per cm⁻¹, integral 3N) over the whole zone.

    Parameters
    ----------
    spacing
        About half the distance of wave vectors, 2π/Å.
    """
    check_bands(phonons)
    phonon = phonons.phonopy
    mesh = np.maximum(1, np.ceil(1.0 / (spacing * widths(phonon.primitive.cell)))).astype(int)
    with quiet():
        phonon.run_mesh((2 * mesh + 1).tolist())
        # fine enough for the peaks of flat bands
        phonon.run_total_dos(freq_pitch=float(np.abs(phonon.mesh.frequencies).max()) / 1000)
    scale = _THZ / units.WAVENUMBER_TO_ANGULAR
    found = phonon.total_dos
    return np.asarray(found.frequency_points) * scale, np.asarray(found.dos) / scale


def animation(phonons: Phonons, modes: Modes, mode: int, *, amplitude: float = 0.3) -> list[Any]:
    """Twenty ASE frames over one period; ``amplitude`` is the largest displacement in Å."""
    if not 0 <= mode < len(modes.wavenumber):
        raise ValueError(f"`mode` is {mode} but must lie in 0 … {len(modes.wavenumber) - 1}")
    rest = phonons.structure
    shift = modes.displacement(mode)
    shift = shift * amplitude / np.linalg.norm(shift, axis=1).max()
    frames = []
    for phase in np.arange(20) * (2 * np.pi / 20):
        atoms = rest.copy()
        atoms.positions += np.sin(phase) * shift
        atoms.info.update(
            mode=mode, wavenumber_cm1=float(modes.wavenumber[mode]), irrep=modes.irreps[mode]
        )
        frames.append(atoms)
    return frames
