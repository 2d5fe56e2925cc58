"""Polarizabilities that structures carry: units, local fields, and what no matter has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from lrcalc.structures import total_charge
from lrcalc.training.labels import same
from lrcalc.training.permittivity import stated_permittivity
from lrcalc.training.settings import LOCAL_FIELDS, POLARIZABILITY_KEYS, POLARIZABILITY_UNITS
from lrcalc.units import BOHR, COULOMB

PLAUSIBLE_PER_ATOM = (0.2, 100.0)
"""Å³ an atom. Of free atoms He has the least, 0.205, and Cs the most, 60; condensed matter
with the largest permittivities of semiconductors (30) reaches 90."""

PLAUSIBLE_PERMITTIVITY = 50.0
"""ε_∞; narrow-gap semiconductors reach 30."""

WIDE_GAP = 10.0
"""ε_∞ of matter of which at least half the atoms are H, O, F or Cl; rutile has 8."""

FREE = {1: 4.5, 2: 1.38, 5: 20.5, 6: 11.3, 7: 7.4, 8: 5.3, 9: 3.74, 10: 2.66, 14: 37.3, 15: 25.0,
        16: 19.4, 17: 14.6, 18: 11.08, 34: 28.9, 35: 21.0, 36: 16.8, 53: 32.9}  # fmt: skip
"""Polarizabilities of free nonmetal atoms, bohr³ (Schwerdtfeger, Nagle, Mol. Phys. 117, 1200
(2019)). Molecules have 0.6 to 0.8 of their sum."""

MOST_FREE = {"molecule": 3.0, "anion": 8.0, "condensed": 1.6}
"""Polarizability over that sum, that no molecule has; in matter with H that of Lorentz-Lorenz."""


def reference_polarizability(
    atoms: Atoms, unit: str = "eA2/V", local_field: str = "none"
) -> np.ndarray | None:
    """Polarizability ``∂M/∂E`` (3, 3), e Å²/V, that a structure carries, or None.

    Parameters
    ----------
    atoms : Atoms
    unit : {"eA2/V", "A3", "bohr3"}
        Of the file.
    local_field : {"none", "clausius-mossotti"}
        ``none``: the response to the macroscopic field, ``ε_∞ = 1 + α/(ε0 V)``.
        ``clausius-mossotti``: the file has α' with ``(ε_∞ - 1)/(ε_∞ + 2) = α'/(3 ε0 V)``; it is
        turned back, ``α = α' (1 - α'/(3 ε0 V))⁻¹``.

    Raises
    ------
    ValueError
        For unknown units and conventions, wrong shapes, NaN, strong asymmetry, a tensor that is
        not positive definite, or a Clausius-Mossotti catastrophe.
    """
    if unit not in POLARIZABILITY_UNITS:
        raise ValueError(f"`unit` is {unit!r} but must be one of {sorted(POLARIZABILITY_UNITS)}")
    if local_field not in LOCAL_FIELDS:
        raise ValueError(f"`local_field` is {local_field!r} but must be one of {LOCAL_FIELDS}")
    key = next((k for k in POLARIZABILITY_KEYS if k in atoms.info), None)
    if key is None:
        return None
    others = [k for k in POLARIZABILITY_KEYS if k != key and k in atoms.info]
    if others and not same(atoms.info[key], atoms.info[others[0]]):
        raise ValueError(f"{key} and {others[0]} are both there and differ; keep one of them")
    value = np.asarray(atoms.info[key], dtype=float)
    if value.size != 9 or not np.isfinite(value).all():
        raise ValueError(
            f"{key} has {value.size} numbers but must have nine finite ones "
            "(xx xy xz yx yy yz zx zy zz)"
        )
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(
            f"the structure has pbc {atoms.pbc.tolist()}: a polarizability is learned as the "
            "response to the macroscopic field, which a slab does not have along its normal; "
            "leave it out"
        )
    full = POLARIZABILITY_UNITS[unit] * value.reshape(3, 3)
    alpha: np.ndarray = 0.5 * (full + full.T)
    if np.abs(full - alpha).max() > 0.05 * np.abs(full).max():
        raise ValueError(f"{key} is not symmetric: {value.tolist()}; a polarizability is")
    lowest = float(np.linalg.eigvalsh(alpha).min())
    if lowest <= 0.0:
        raise ValueError(
            f"{key} is {value.tolist()}, whose lowest eigenvalue is "
            f"{lowest / POLARIZABILITY_UNITS[unit]:.3g}: "
            "the static polarizability of a ground state is positive definite; look at the sign "
            "and the order of the numbers, or remove the frame"
        )
    if local_field == "clausius-mossotti":
        if not atoms.pbc.all():
            raise ValueError("`local_field` clausius-mossotti needs three periodic directions")
        packing = 4.0 * math.pi * COULOMB * alpha / (3.0 * atoms.get_volume())
        if np.linalg.eigvalsh(packing).max() >= 1.0:
            raise ValueError(
                f"α/(3 ε0 V) is {np.linalg.eigvalsh(packing).max():.2f}, which Clausius and "
                "Mossotti's relation excludes; look at `unit`, or use local_field='none'"
            )
        alpha = np.linalg.solve(np.eye(3) - packing, alpha)
    return alpha


def describe_magnitude(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str:
    """One line on how large polarizabilities (e Å²/V) are, by which a wrong unit is recognised."""
    per_atom = [a.trace() / 3 * COULOMB / len(s) for s, a in zip(structures, alphas, strict=True)]
    text = f"isotropic polarizability per atom: {_range(per_atom)} Å³"
    epsilon = permittivities(structures, alphas)
    return text + (f"; ε_∞ = 1 + α/(ε0 V): {_range(epsilon)}" if epsilon else "")


def permittivities(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> list[float]:
    """Mean ε_∞ of each structure that is periodic in three directions."""
    return [
        1.0 + 4.0 * math.pi * COULOMB * float(a.trace()) / 3.0 / s.get_volume()
        for s, a in zip(structures, alphas, strict=True)
        if s.pbc.all()
    ]


def volume_per_atom(structures: Sequence[Atoms]) -> float | None:
    """Å³ that an atom fills in the mean; None unless all structures are fully periodic."""
    if not all(atoms.pbc.all() for atoms in structures):
        return None
    return sum(a.get_volume() for a in structures) / sum(len(a) for a in structures)


def warn_permittivity(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str | None:
    """One line on frames whose polarizability (e Å²/V) and stated ε_∞ differ, or None."""
    found = []
    for index, (atoms, alpha) in enumerate(zip(structures, alphas, strict=True)):
        tensor = stated_permittivity(atoms, f"frame {index}")
        made = permittivities([atoms], [alpha])
        if tensor is None or not made:
            continue
        stated = float(tensor.trace()) / 3
        if abs(made[0] - stated) > 0.1 * (stated - 1.0) + 0.01:
            found.append((index, made[0], stated))
    if not found:
        return None
    index, epsilon, stated = found[0]
    return (
        f"{len(found)} of {len(structures)} frames state another ε_∞ than their polarizability "
        f"makes (frame {index}: 1 + α/(ε0 V) = {epsilon:.3g}, stated {stated:.3g}); look at --unit "
        "and --local-field"
    )


def warn_implausible(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str | None:
    """One line on frames whose polarizability (e Å²/V) no matter has, or None."""
    found = [
        f"frame {index}: {reason}"
        for index, (atoms, alpha) in enumerate(zip(structures, alphas, strict=True))
        if (reason := _implausible(atoms, alpha))
    ]
    if not found:
        return None
    return (
        f"{len(found)} of {len(structures)} frames have polarizabilities that no insulator has "
        f"(first: {found[0]}); look at --unit and --local-field, or remove them"
    )


def _implausible(atoms: Atoms, alpha: np.ndarray) -> str | None:
    volume = float(alpha.trace()) / 3.0 * COULOMB
    low, high = PLAUSIBLE_PER_ATOM
    (epsilon,) = permittivities([atoms], [alpha]) or [1.0]
    light = np.isin(atoms.numbers, [1, 8, 9, 17])
    limit = WIDE_GAP if 2 * light.sum() >= len(atoms) else PLAUSIBLE_PERMITTIVITY
    if not low <= volume / len(atoms) <= high:
        return f"{volume / len(atoms):.3g} Å³ an atom, not {low:g} to {high:g}"
    if epsilon > limit:
        return f"ε_∞ {epsilon:.3g}, above {limit:g}"
    free = BOHR**3 * sum(FREE.get(int(z), np.inf) for z in atoms.numbers)
    kind = "anion" if total_charge(atoms, "it") < 0 else "molecule"
    if atoms.pbc.all():
        if 1 not in atoms.numbers:
            return None
        kind = "condensed"
        volume = 3.0 * atoms.get_volume() / (4.0 * math.pi) * (epsilon - 1.0) / (epsilon + 2.0)
    if volume > MOST_FREE[kind] * free:
        return f"{volume:.3g} Å³, but the sum of its free atoms is {free:.3g}"
    return None


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"
