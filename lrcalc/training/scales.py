"""Whether energies, forces and stresses of a data set are derivatives of one another.

Two ways, both without a model. Frames that are deformations of one another give the work
``ΔE = ½(V_a σ_a + V_b σ_b):ε - ½(F_a + F_b)·Δr`` (trapezoidal rule, third order in the step).
Any other frames give a pair potential by force matching (Ercolessi, Adams, Europhys. Lett. 26,
583 (1994)), crude but linear, whose energies and virials follow the labels' within a few tenths:
enough to tell a sign, a unit or an order of components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from lrcalc.training.bonds import stiffness
from lrcalc.training.composition import composition_part, counts_of
from lrcalc.training.label_units import OPTION, UNITS, likely, way_out
from lrcalc.training.labels import has_label
from lrcalc.training.pair_fit import PairFit
from lrcalc.training.slopes import FOLLOWS, Slope, slope

MOST_FRAMES, MOST_ATOMS = 10, 1500
"""What is looked at: a sign needs no more."""

VIRIAL = "eV, a virial (V times stress)"

ENERGIES_AND_FORCES = [
    ("eV", "eV/A"), ("Ha", "eV/A"), ("Ry", "eV/A"), ("kcal/mol", "eV/A"), ("kJ/mol", "eV/A"),
    ("meV", "eV/A"), ("eV", "Ha/bohr"), ("eV", "Ry/bohr"), ("eV", "kcal/mol/A"), ("Ha", "Ha/bohr"),
    ("Ry", "Ry/bohr"), ("Ha", "Ha/A"), ("kcal/mol", "kcal/mol/A"), ("kJ/mol", "kJ/mol/A"),
    ("kJ/mol", "kJ/mol/nm"), ("meV", "meV/A"),
]  # fmt: skip
"""Units that files have together."""

USUAL = 1.6
"""Factor that energies may change by more or less than what a pair potential makes of them."""

LEFT = 3
"""Energy differences that the composition must leave: fewer follow anything by chance."""

ROUGH = 3.0
"""The same where bonds say that the forces are right and no unit has this factor: of a dozen
water clusters seen with 2.2."""

ORDERS = {
    "xx yy zz xy yz zx (VASP)": [0, 1, 2, 4, 5, 3],
    "xx yy zz xy xz yz (LAMMPS)": [0, 1, 2, 5, 4, 3],
    "xx xy xz yy yz zz": [0, 3, 5, 4, 2, 1],
}  # fmt: skip
"""Order of six numbers in a file → where the components xx yy zz yz xz xy of ASE stand in it."""


def describe_scales(structures: Sequence[Atoms]) -> list[str]:
    """Say which labels do not fit the others: a line each, none where all fit or none can tell.

    Parameters
    ----------
    structures : sequence of Atoms
        With energy and forces, optionally stress, in their calculator.
    """
    chosen = _choose(structures)
    if not chosen:
        return []
    fitted = PairFit(chosen)
    lines = list(_energy_line(chosen, fitted))
    stressed = [k for k, a in enumerate(chosen) if has_label(a, "stress") and a.pbc.all()]
    if stressed:
        lines += _stress_lines([chosen[k] for k in stressed], fitted, stressed)
    return lines


def describe_stress_ratio(found: Slope, volume: float, against: str) -> str | None:
    """Say that stresses have another sign or unit than what they are compared with, or None."""
    factor = abs(found.ratio)
    if not found.means_something or (found.ratio > 0 and 0.4 < factor < 2.5):
        return None
    sign = "the opposite sign and " if found.ratio < 0 else ""
    if 0.4 < factor < 2.5:
        what = (
            "the opposite sign: is it positive in compression? Then give --units stress=-eV/A3, "
            "or of a virial virial=-eV"
        )
    else:
        near = likely("stress", factor, 1.6, {VIRIAL: volume})
        out = f"is it in {' or '.join(near)}?" if VIRIAL in near[:1] else ""
        what = f"{sign}{factor:.3g} times the size: {out or way_out('stress', near, found.ratio)}"
    return (
        f"the stress does not fit {against}: it has {what} (what is read is (1/V) dE/dε in eV/Å³; "
        "a virial, -V times that in eV, by --virial-key)"
    )


def _choose(structures: Sequence[Atoms]) -> list[Atoms]:
    """Choose frames from all over the file, as many as make a quick answer."""
    usable = [
        a
        for a in structures
        if (len(a) > 1 or a.pbc.any()) and has_label(a, "forces") and has_label(a, "energy")
    ]
    step = max(1, len(usable) // MOST_FRAMES)
    chosen: list[Atoms] = []
    for a in usable[::step][:MOST_FRAMES]:
        if chosen and sum(map(len, chosen)) + len(a) > MOST_ATOMS:
            break
        chosen.append(a)
    return chosen


def _without_composition(values: np.ndarray, structures: Sequence[Atoms]) -> np.ndarray:
    """Take off an energy for each species."""
    return values - composition_part(values, [a.numbers for a in structures])


def _energy_line(structures: Sequence[Atoms], fitted: PairFit) -> Iterator[str]:
    """Energies against what force matching makes of them, forces against bonds."""
    ratio, stiff = _energies(structures, fitted), stiffness(structures)
    said = []
    if ratio is not None and not 1 / USUAL < ratio < USUAL:
        said.append(f"energies change by {ratio:.3g} times what the forces say")
    if stiff is not None and stiff.is_off:
        said.append(
            f"forces make {stiff.bond} bonds {stiff.factor:.2g} times as stiff as bonds of this "
            "length are (Badger's rule)"
        )
    if ratio is not None and ratio < 0:
        gradients = stiff is None or stiff.factor < 0
        turned = "forces=-eV/A, if these are gradients" if gradients else "energy=-eV"
        yield (
            "energies rise where forces pull: they have opposite signs; forces are -dE/dr (give "
            f"{OPTION} {turned})"
        )
    elif said:
        near = _units_of(ratio, None if stiff is None else stiff.factor)
        fits = stiff is not None and not stiff.is_off
        if fits and not near and ratio is not None and 1 / ROUGH < ratio < ROUGH:
            return
        yield (
            f"{' and '.join(said)}; energies are read in eV, forces, which are -dE/dr, in eV/Å"
            + (f": give {OPTION} {', or '.join(near)}, if they are" if near else ": convert them")
        )


def _energies(structures: Sequence[Atoms], fitted: PairFit) -> float | None:
    """Energies over what force matching makes of them; None where that says nothing."""
    species = sorted({int(z) for a in structures for z in a.numbers})
    counts = counts_of([a.numbers for a in structures], species)
    if fitted.share < 0.5 or len(structures) - np.linalg.matrix_rank(counts) < LEFT:
        return None
    energies = np.array([float(a.calc.results["energy"]) for a in structures])
    found = slope(
        _without_composition(energies, structures),
        _without_composition(fitted.energies, structures),
    )
    density = [len(a) / a.get_volume() for a in structures if a.pbc.all()]
    dilated = bool(density) and np.ptp(density) > 0.01 * np.mean(density)
    # energies of volume are what pairs do not have
    told = found.means_something and not (dilated and found.ratio > 0)
    return found.ratio if told else None


def _units_of(energies: float | None, stiff: float | None) -> list[str]:
    """Units in which energies are so much too large for the forces, and forces for the bonds."""
    apart = {}
    for energy, force in ENERGIES_AND_FORCES:
        energy_unit, force_unit = UNITS["energy"][energy], UNITS["forces"][force]
        miss = 0.0
        if energies is not None:
            miss = abs(np.log(energies * energy_unit / force_unit)) / np.log(1.5)
        if stiff is not None and stiff > 0:
            miss = max(miss, abs(np.log(stiff * force_unit)) / np.log(3.0))
        elif stiff is not None:
            miss = np.inf
        apart[f"energy={energy} forces={force}"] = miss
    return [name for name in sorted(apart, key=lambda k: apart[k]) if apart[name] < 1.0][:2]


def _stress_lines(structures: list[Atoms], fitted: PairFit, members: list[int]) -> list[str]:
    labels = np.array([np.asarray(a.calc.results["stress"], dtype=float) for a in structures])
    volume = float(np.mean([a.get_volume() for a in structures]))
    made = fitted.stresses[members]
    found = slope(_varying(labels), _varying(made))
    if fitted.share < 0.5 or not found.means_something:
        by_strain = work_of_stress(structures)
        line = describe_stress_ratio(by_strain, volume, "the energies of deformed frames")
    else:
        line = describe_stress_ratio(found, volume, "the forces")
    shear = slope(labels[:, 3:], made[:, 3:])
    if line is None and fitted.share >= 0.5 and shear.correlation < 0.5:
        line = _other_order(labels, made, shear)
    return [line] if line else []


def _varying(stresses: np.ndarray) -> np.ndarray:
    """Take off the mean over frames or, where there are only a few, the pressure."""
    if len(stresses) >= 3:
        return stresses - stresses.mean(0)
    pressure = stresses[:, :3].mean(1)
    return stresses - np.outer(pressure, [1, 1, 1, 0, 0, 0])


def _other_order(labels: np.ndarray, made: np.ndarray, shear: Slope) -> str | None:
    """Say that another order of the six numbers fits better."""
    fits = {
        name: slope(_varying(labels[:, order])[:, 3:], _varying(made)[:, 3:])
        for name, order in ORDERS.items()
    }
    name = max(fits, key=lambda k: fits[k].correlation)
    if fits[name].correlation < max(FOLLOWS, shear.correlation + 0.3):
        return None
    return (
        f"the shear components of the stress do not follow the forces (correlation "
        f"{shear.correlation:.2f}), but they would in the order {name} "
        f"({fits[name].correlation:.2f}); six numbers are read as xx yy zz yz xz xy, nine row by "
        "row"
    )


def work_of_stress(structures: Sequence[Atoms]) -> Slope:
    """Labelled stress over that which the energies of deformed frames ask for.

    From pairs of frames of the same atoms that differ by little: the work of forces is taken off
    the energy difference, and the rest compared with the work of the stress.
    """
    rest, work, whole = [], [], []
    for a, b in combinations(structures, 2):
        if len(a) != len(b) or not np.array_equal(a.numbers, b.numbers):
            continue
        one, two = np.asarray(a.cell), np.asarray(b.cell)
        unit = np.eye(3)
        change = np.linalg.solve(one, two)
        strain = 2 * np.linalg.solve(change + unit, change - unit)  # about the middle
        moved = b.get_scaled_positions(wrap=False) - a.get_scaled_positions(wrap=False)
        moved = (moved - np.round(moved)) @ (0.5 * (one + two))
        if not 1e-4 < np.abs(strain).max() < 0.15 or np.abs(moved).max() > 0.4:
            continue
        forces = a.calc.results["forces"] + b.calc.results["forces"]
        stress = sum(
            voigt_6_to_full_3x3_stress(x.calc.results["stress"]) * x.get_volume() for x in (a, b)
        )
        energy = float(b.calc.results["energy"]) - float(a.calc.results["energy"])
        whole.append(energy)
        rest.append(energy + 0.5 * float((forces * moved).sum()))
        work.append(0.5 * float((stress * 0.5 * (strain + strain.T)).sum()))
    if len(rest) < 2 or np.square(rest).sum() < 0.05 * np.square(whole).sum():
        return Slope(1.0, 0.0)
    found = slope(np.array(work), np.array(rest))
    # work that follows is a derivative to a few per cent; chance correlations are not meant
    return found if abs(found.correlation) > 0.95 else Slope(1.0, 0.0)
