"""Modes at Γ as text, and as what a JSON file holds."""

from typing import Any

import numpy as np

from lrcalc.analysis.index_order import (
    DISPLACEMENT_FIRST,
    FIELD_FIRST,
    OrderChange,
    order_changes,
    other_intensity,
)
from lrcalc.analysis.modes import (
    DEBYE2_PER_A2_AMU,
    KM_PER_MOL,
    Modes,
    lines,
    longitudinal,
    static_dielectric,
)
from lrcalc.analysis.raman_modes import depolarisation, invariants, raman_lines


def table(modes: Modes) -> str:
    """Lines (degenerate modes summed) as text."""
    if not len(modes.wavenumber):
        return "  one atom in the cell: no modes at Γ"
    head = "     ν (cm⁻¹)  irrep  g" + "   e²/amu     (D/Å)²/amu    km/mol" * modes.charged
    scattering = raman_lines(modes) if modes.raman is not None else []
    rows = [head + ("   Raman (Å⁴/amu)  depol." if scattering else "")]
    for index, line in enumerate(lines(modes)):
        nu = f"{line.wavenumber:.3f}" if line.wavenumber >= 0 else f"{-line.wavenumber:.3f}i"
        row = f"  {nu:>11s}  {line.irrep or '-':5s} {line.degeneracy:2d}"
        if modes.charged:
            row += (
                f"  {line.intensity:9.6f}  {line.intensity * DEBYE2_PER_A2_AMU:10.4f}"
                f"  {line.intensity * KM_PER_MOL:10.3f}"
            )
        if scattering:
            one = scattering[index]
            ratio = "    -" if np.isnan(one.depolarisation) else f"{one.depolarisation:5.3f}"
            row += f"  {one.activity:14.4f}   {ratio}"
        rows.append(row)
    return "\n".join(rows)


def order_table(changes: list[OrderChange], order: str) -> str:
    """Warning with the intensities in both index orders of the Born tensors."""
    other = DISPLACEMENT_FIRST if order == FIELD_FIRST else FIELD_FIRST
    worst = changes[0]
    rows = [
        "  WARNING: the Born tensors are not symmetric, and neither symmetry nor the sum rule tells"
        f" their index order.\n  They were read as {order}; in the other order "
        f"{len(changes)} lines would change, by {100 * worst.relative:.0f} % at most "
        f"({worst.wavenumber:.1f} cm⁻¹):",
        f"     ν (cm⁻¹)  irrep   e²/amu as read   {other}",
    ]
    rows += [
        f"  {one.wavenumber:11.3f}  {one.irrep or '-':5s}  {one.as_read:15.6f}  {one.other:15.6f}"
        for one in changes
    ]
    rows.append(
        "  phonopy, VASP and Quantum ESPRESSO's E-U block put the field first; i-PI, LES, MACE-LES "
        f"and U-E\n  the displacement. If it is the other one: --born-order {other}"
    )
    return "\n".join(rows)


def order_summary(modes: Modes, born: np.ndarray, order: str) -> dict[str, Any]:
    """Report both index orders for the JSON."""
    changes = order_changes(modes, born)
    return {
        "born_order": {
            "read_as": order,
            "largest_relative_change": changes[0].relative if changes else 0.0,
            "other_order_intensity_e2_per_amu": other_intensity(modes, born),
        }
    }


def summarise(modes: Modes, directions: list[list[float]]) -> dict[str, Any]:
    """Collect what the JSON holds."""
    if not modes.charged:
        pairs = zip(modes.wavenumber, modes.irreps, strict=True)
        return {
            "modes": [{"frequency_cm1": nu, "irrep": label} for nu, label in pairs],
            **({"volume_A3": modes.volume} if modes.periodic else {}),
            "units": {"imaginary modes": "negative frequency"},
            "notes": modes.notes,
        }
    scattering = _raman_entries(modes)
    return {
        "modes": [
            {
                "frequency_cm1": nu,
                "intensity_e2_per_amu": strength,
                "intensity_km_per_mol": strength * KM_PER_MOL,
                "intensity_D2_per_A2_amu": strength * DEBYE2_PER_A2_AMU,
                "mode_charge": charge,
                "irrep": label,
                **more,
            }
            for nu, strength, charge, label, more in zip(
                modes.wavenumber,
                modes.intensity,
                modes.charge,
                modes.irreps,
                scattering,
                strict=True,
            )
        ],
        "lines": lines(modes),
        **({"raman_lines": raman_lines(modes)} if modes.raman is not None else {}),
        **(_of_crystal(modes, directions) if modes.periodic else {}),
        "total_charge_e": modes.total_charge,
        "units": {"mode_charge": "e amu^-1/2", "imaginary modes": "negative frequency"},
        "notes": modes.notes,
    }


def _of_crystal(modes: Modes, directions: list[list[float]]) -> dict[str, Any]:
    """Return what only a structure with periods in three directions has."""
    return {
        "static_dielectric": static_dielectric(modes),
        "epsilon_infinity": modes.epsilon_infinity,
        **({} if modes.epsilon_optical is None else {"epsilon_optical": modes.epsilon_optical}),
        "volume_A3": modes.volume,
        "longitudinal": [
            {"direction": d, "wavenumbers_cm1": longitudinal(modes, d)} for d in directions
        ],
    }


def _raman_entries(modes: Modes) -> list[dict[str, Any]]:
    if modes.raman is None:
        return [{} for _ in modes.wavenumber]
    isotropic, anisotropic = invariants(modes.raman)
    ratio = depolarisation(modes)
    return [
        {
            "raman_activity_A4_per_amu": 45 * a + 7 * g,
            "raman_a2_A4_per_amu": a,
            "raman_gamma2_A4_per_amu": g,
            "depolarisation": r,
            "raman_tensor_A2_per_sqrt_amu": tensor,
        }
        for a, g, r, tensor in zip(isotropic, anisotropic, ratio, modes.raman, strict=True)
    ]


def shifted(modes: Modes, moved: np.ndarray) -> str:
    """Name the wavenumbers that the field of a long wave changes: transverse → longitudinal.

    Only the two sets can be compared: mode by mode the order may change.
    """
    left = list(modes.wavenumber)
    new = []
    for nu in moved:
        near = min(left, key=lambda old: abs(old - nu), default=np.inf)
        if abs(near - nu) < 0.01:
            left.remove(near)
        else:
            new.append(nu)
    if not new:
        return "no shift"
    return ", ".join(f"{nu:.2f}" for nu in left) + " → " + ", ".join(f"{nu:.2f}" for nu in new)
