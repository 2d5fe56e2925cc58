"""Electrical labels of structures: Born charges, dipoles, polarizabilities, permittivities.

Energies and forces of a crystal whose atoms hardly move do not determine its charges (physics §9);
a single frame with one of these labels does. All are physical: what a field couples to, in the
units below, not latent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from lrcalc.analysis.index_order import rotation_matrix, rotation_residual
from lrcalc.models.potential import Potential
from lrcalc.models.requests import check_system
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.structures import total_charge
from lrcalc.system import System, from_ase
from lrcalc.training.branches import Branches
from lrcalc.training.label_units import OPTION, likely
from lrcalc.training.labels import at_frame
from lrcalc.training.loss import TERMS, weights_of
from lrcalc.training.permittivity import stated_permittivity, static_permittivity
from lrcalc.training.polarizability import reference_polarizability, warn_implausible
from lrcalc.training.settings import TrainingSettings

BORN, DIPOLE, POLARIZABILITY = "REF_born", "REF_dipole", "REF_polarizability"

KEYS = {
    "born": f"column {BORN}:R:9, born[field, displacement] of each atom, e",
    "dipole": f"{DIPOLE}, three numbers, e Å",
    "polarizability": f"{POLARIZABILITY}, nine numbers, e Å²/V",
    "epsilon_infinity": "epsilon_infinity, one, three or nine numbers",
    "epsilon_static": "epsilon_static, one, three or nine numbers",
}
"""Label → where a file has it."""

SUM_RULE = (0.05, 0.1)
"""e an atom, and part of the root mean square: what `Σ Z = Q` may be missed by. First-principles
Born charges miss it by a few hundredths in all, a tensor in a wrong order of atoms, unit or shape
by more."""

ROTATES = 0.3
"""Relative deviation of a dipole from that of the rotational sum rule, from which on its unit or
origin is another one."""

AT_REST = 0.1
"""eV/Å; a static permittivity is that of a crystal at rest."""


class Labelled(NamedTuple):
    """One structure with its electrical labels.

    Attributes
    ----------
    system : System
        One structure; of periodic ones with a dipole, its atoms are on the branch of the label.
    pairs : Pairs
    labels : dict of str to Tensor
        Among `KEYS`: born (N, 3, 3) e, dipole (3,) e Å, polarizability (3, 3) e Å²/V,
        epsilon_infinity and epsilon_static (3, 3); float64.
    reference : tuple of System and Pairs, or None
        Structure whose dipole is taken off, label's and model's (`lrcalc.training.branches`).
    frame : tuple of str and int
        File, and which of its frames it is.
    """

    system: System
    pairs: Pairs
    labels: dict[str, Tensor]
    reference: tuple[System, Pairs] | None = None
    frame: tuple[str, int] = ("", 0)


def read_labelled(
    structures: Sequence[Atoms],
    path: str | Path,
    cutoff: float,
    wanted: Collection[str],
    numbers: Sequence[int] | None = None,
) -> list[Labelled | None]:
    """Collect the electrical labels of one file, checked.

    Parameters
    ----------
    structures : sequence of Atoms
    path : path-like
        Named in errors.
    cutoff : float
        Å, of the pairs.
    wanted : collection of str
        Labels to read (`KEYS`); others may be anything.
    numbers : sequence of int, optional
        Which frames of the file they are.

    Returns
    -------
    list
        An entry for each structure: None where it has none of the labels.

    Raises
    ------
    ValueError
        Naming frame and label, for wrong shapes, NaN, broken sum rules, or implausible sizes.
    """
    numbers = range(len(structures)) if numbers is None else numbers
    branches = Branches()
    found: list[Labelled | None] = []
    for index, atoms in zip(numbers, structures, strict=True):
        with at_frame(path, index):
            one = _labelled(atoms, cutoff, wanted, branches)
            found.append(None if one is None else one._replace(frame=(str(path), index)))
    return found


def _labelled(
    atoms: Atoms, cutoff: float, wanted: Collection[str], branches: Branches
) -> Labelled | None:
    values = {name: array for name in wanted if (array := READERS[name](atoms)) is not None}
    if "dipole" in values and "born" in values and not atoms.pbc.any():
        check_dipole(atoms, values["dipole"], values["born"])
    reference, placed = None, atoms
    if "dipole" in values and atoms.pbc.any():
        placed, before, change = branches.place(atoms, values["dipole"])
        if change is None:
            del values["dipole"]  # the first frame of a crystal: what others are compared with
        else:
            values["dipole"] = change
            reference = None if before is None else _prepared(before, cutoff)
    if not values:
        return None
    labels = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in values.items()}
    return Labelled(*_prepared(placed, cutoff), labels, reference)


def _prepared(atoms: Atoms, cutoff: float) -> tuple[System, Pairs]:
    system = from_ase(atoms)
    return system, build_pairs(system, cutoff)


def reference_born(atoms: Atoms) -> np.ndarray | None:
    """Born charges (N, 3, 3), e, that a structure carries, or None.

    Raises
    ------
    ValueError
        For a wrong place or shape, NaN, zeros, a grossly broken acoustic sum rule, or the tensors
        of a molecule that break the rotational sum rule unless they are transposed.
    """
    if BORN in atoms.info:
        raise ValueError(
            f"{BORN} stands in the comment line but must be a column of the atoms, {BORN}:R:9"
        )
    if BORN not in atoms.arrays:
        return None
    value = np.asarray(atoms.arrays[BORN], dtype=float)
    if value.size != 9 * len(atoms):
        raise ValueError(
            f"{BORN} has {value.size // len(atoms)} numbers an atom but must have 9, "
            f"born[field, displacement] in e (column {BORN}:R:9)"
        )
    born = value.reshape(-1, 3, 3)
    if not np.isfinite(born).all():
        raise ValueError(f"{BORN} is not finite; remove the label or the frame")
    if len(atoms) > 1 and not born.any():
        raise ValueError(
            f"{BORN} is zero throughout: does it fill the place of a label that is not there? "
            "Leave the column out of such frames"
        )
    charge = total_charge(atoms, "it")
    excess = float(np.abs(born.sum(0) - charge * np.eye(3)).max()) / len(atoms)
    size = float(np.sqrt((born**2).mean(0).trace() / 3))
    if excess > max(SUM_RULE[0], SUM_RULE[1] * size):
        raise ValueError(
            f"the Born charges of {BORN} do not sum to the total charge {charge:g} e, by "
            f"{excess:.3g} e an atom (their size is {size:.3g} e): another shape, order of atoms "
            "or unit, some atoms missing, or charge= not stated for an ion? They must be e, and "
            "all nine numbers of an atom in one row"
        )
    if not atoms.pbc.any():
        right, wrong = (rotation_residual(atoms.positions, b) for b in (born, born.swapaxes(1, 2)))
        if wrong < 0.5 * right and right > 0.05 * size * len(atoms) ** 0.5:
            raise ValueError(
                f"the Born charges of {BORN} break the rotational sum rule by {right:.3g} e Å, "
                f"transposed by {wrong:.3g}: they are in the order (displacement, field); "
                "transpose them, born[field, displacement] is wanted"
            )
    return born


def check_dipole(atoms: Atoms, dipole: np.ndarray, born: np.ndarray) -> None:
    """Refuse a dipole that is not the one that its structure's Born charges rotate.

    On a rotation ``dM = ω × M``: ``Σ_k born_k,ab ε_bcd r_kd = ε_acd M_d``, exact in any molecule.
    """
    matrix = rotation_matrix(atoms.positions, born)
    turned = 0.5 * np.array(
        [matrix[1, 2] - matrix[2, 1], matrix[2, 0] - matrix[0, 2], matrix[0, 1] - matrix[1, 0]]
    )
    about_centre = dipole - total_charge(atoms, "it") * atoms.positions.mean(0)
    size = float(np.linalg.norm(turned))
    if size < 0.1 or np.linalg.norm(about_centre - turned) < ROTATES * size + 0.05:
        return
    factor = float(about_centre @ turned) / size**2
    near = likely("dipole", factor, 1.1)
    raise ValueError(
        f"{DIPOLE} is {dipole.round(4).tolist()}, but by the rotational sum rule of its Born "
        f"charges the dipole is {turned.round(4).tolist()} e Å"
        + (
            f": is it in {near[0]}? Then give {OPTION} dipole={near[0]}"
            if near
            else " about the mean position"
        )
    )


def reference_dipole(atoms: Atoms) -> np.ndarray | None:
    """Dipole (3,), e Å, that a structure carries, or None."""
    if DIPOLE not in atoms.info:
        return None
    value = np.asarray(atoms.info[DIPOLE], dtype=float).ravel()
    if value.size != 3 or not np.isfinite(value).all():
        raise ValueError(
            f"{DIPOLE} is {value.tolist()} but must be three finite numbers, the dipole in e Å"
        )
    return value


def label_polarizability(atoms: Atoms) -> np.ndarray | None:
    """Polarizability (3, 3), e Å²/V, that a structure carries, or None; refuses other units."""
    if POLARIZABILITY not in atoms.info:
        return None
    alpha = reference_polarizability(atoms)
    assert alpha is not None
    warning = warn_implausible([atoms], [alpha])
    if warning:
        raise ValueError(
            f"{POLARIZABILITY} must be in e Å²/V: {warning}; if it is in Å³ or bohr³, give "
            f"{OPTION} polarizability=A3 or =bohr3"
        )
    return alpha


def label_epsilon_infinity(atoms: Atoms) -> np.ndarray | None:
    """ε_∞ (3, 3) that a structure with three periodic directions states, or None."""
    return stated_permittivity(atoms, "it") if atoms.pbc.all() else None


def label_epsilon_static(atoms: Atoms) -> np.ndarray | None:
    """Return the static permittivity (3, 3) of a crystal at rest, clamped cell, or None."""
    tensor = static_permittivity(atoms, "it")
    if tensor is None:
        return None
    forces = None if atoms.calc is None else atoms.calc.results.get("forces")
    strongest = 0.0 if forces is None else float(np.abs(forces).max(initial=0.0))
    if strongest > AT_REST or not atoms.pbc.all():
        raise ValueError(
            f"epsilon_static is of a crystal at rest, but this frame has a force of "
            f"{strongest:.3g} eV/Å and pbc {atoms.pbc.tolist()}; state it in the relaxed crystal "
            "(that of a liquid is a fluctuation, of which no single frame knows)"
        )
    return tensor


READERS = {
    "born": reference_born,
    "dipole": reference_dipole,
    "polarizability": label_polarizability,
    "epsilon_infinity": label_epsilon_infinity,
    "epsilon_static": label_epsilon_static,
}
"""Label → its reader; errors do not name frames."""


def wanted_labels(settings: TrainingSettings, level: str) -> tuple[str, ...]:
    """Labels that have a weight; ε_∞ where the model has a response, of which alone it is made.

    Raises
    ------
    ValueError
        For a weight on what a model of this level does not have.
    """
    weights = weights_of(settings)
    wanted = [name for name in KEYS if weights[name] > 0]
    if wanted and level == "sr":
        raise ValueError(
            f"`{TERMS[wanted[0]].weight}` is {weights[wanted[0]]:g}, but a model of level 'sr' has "
            "no charges; use level 'q' or above"
        )
    if "i" not in level:
        wanted = [name for name in wanted if name != "epsilon_infinity"]
    return tuple(wanted)


def check_labelled(
    potential: Potential,
    labelled: Sequence[Labelled],
    wanted: Collection[str],
) -> None:
    """Refuse labels that are not there, or that the model cannot have.

    Raises
    ------
    ValueError
        Naming the weight or the property, and the way out.
    """
    weights: dict[str, list[str]] = {}
    for name in wanted:
        weights.setdefault(TERMS[name].weight, []).append(name)
    for weight, names in weights.items():
        if not any(name in one.labels for one in labelled for name in names):
            raise ValueError(
                f"`{weight}` is not zero, but no training frame has "
                + " or ".join(KEYS[name] for name in names)
                + "; put a labelled frame among them, or leave the weight at 0"
                + (" (crystals need two frames of the same cell with a dipole, of which the change "
                   "is learned)" if "dipole" in names else "")
            )  # fmt: skip
    atomic = potential.config["charges"] == "atomic"
    for one in labelled:
        needed = {p for name in one.labels for p in TERMS[name].needs}
        check_system(potential, one.system, needed, field=None, allow_net_charge=True)
        if "dipole" in one.labels and atomic and bool(one.system.pbc.any()):
            raise ValueError(
                "atomic charges have no dipole in a periodic cell, so `dipole_weight` cannot be "
                "used; train with local charges, or on Born charges"
            )


def describe_labelled(labelled: Sequence[Labelled]) -> str:
    """Say how many training frames have which electrical labels; empty without any."""
    counts = {name: sum(name in one.labels for one in labelled) for name in KEYS}
    said = ", ".join(f"{n} with {name}" for name, n in counts.items() if n)
    return f"; of the training frames {said}" if said else ""


def describe_unused(structures: Sequence[Atoms], used: Collection[str], path: str) -> list[str]:
    """Say which electrical labels a file has that are not trained on: a line, or none."""
    option = {BORN: ("born", "--born-weight"), DIPOLE: ("dipole", "--dipole-weight"),
              POLARIZABILITY: ("polarizability", "--polarizability-weight")}  # fmt: skip
    lines = []
    for key, (name, flag) in option.items():
        n = sum(key in atoms.arrays or key in atoms.info for atoms in structures)
        if n and name not in used:
            lines.append(f"{path}: {n} frames have {key}, which is not trained on; {flag} uses it")
    return lines
