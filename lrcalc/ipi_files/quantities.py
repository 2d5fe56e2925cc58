"""Names and units of i-PI, and their factors to lrcalc's (Å, fs, eV, K, amu, e, V, cm⁻¹).

i-PI writes a unit as an SI prefix and a base, ``femtosecond``, ``megapascal``; nothing, or
``automatic``, is the atomic unit.
"""

import re

from lrcalc.units import ASE_TIME, ATOMIC_TIME, BOHR, DEBYE, HARTREE

KELVIN_PER_HARTREE = 315775.02480407
"""Atomic unit of temperature, K."""

AMU = 1822.888486209
"""Atomic mass unit in electron masses."""

# i-PI's own roundings, with which it wrote the files: they are off by 3e-5 and 7e-4
_PASCAL = 3.398827377e-14 * HARTREE / BOHR**3
_CAL_MOL = 1.5946679e-6 * HARTREE

FACTORS: dict[str, dict[str, float]] = {
    "length": {"atomic_unit": BOHR, "ase": 1.0, "angstrom": 1.0, "meter": 1e10},
    "time": {"atomic_unit": ATOMIC_TIME, "ase": ASE_TIME, "second": 1e15},
    "energy": {
        "atomic_unit": HARTREE,
        "ase": 1.0,
        "electronvolt": 1.0,
        "j/mol": 1.0364269656262e-5,
        "cal/mol": _CAL_MOL,
        "kelvin": HARTREE / KELVIN_PER_HARTREE,
        "hartree": HARTREE,
    },
    "temperature": {"atomic_unit": KELVIN_PER_HARTREE, "kelvin": 1.0},
    "mass": {"atomic_unit": 1 / AMU, "electronmass": 1 / AMU, "dalton": 1.0, "ase": 1.0},
    "velocity": {
        "atomic_unit": BOHR / ATOMIC_TIME,
        "ase": 1 / ASE_TIME,
        "m/s": 1e-5,
        "angstrom/femtosecond": 1.0,
    },
    "momentum": {"atomic_unit": BOHR / ATOMIC_TIME / AMU, "ase": 1 / ASE_TIME},
    "force": {
        "atomic_unit": HARTREE / BOHR,
        "ase": 1.0,
        "ev/ang": 1.0,
        "newton": 1.0 / 1.602176634e-9,
    },
    "pressure": {
        "atomic_unit": HARTREE / BOHR**3,
        "ase": 1.0,
        "ev/ang3": 1.0,
        "pascal": _PASCAL,
        "bar": 1e5 * _PASCAL,
        "atmosphere": 101325 * _PASCAL,
    },
    "volume": {"atomic_unit": BOHR**3, "ase": 1.0, "angstrom3": 1.0},
    "electric-field": {"atomic_unit": HARTREE / BOHR, "ase": 1.0, "v/ang": 1.0},
    "electric-dipole": {"atomic_unit": BOHR, "ase": 1.0, "eang": 1.0, "debye": DEBYE},
    "frequency": {
        "atomic_unit": 219474.6313632,
        "inversecm": 1.0,
        "hertz": 1e-12 * 33.35640952,
        "hz": 1e-12 * 33.35640952,
        "thz": 33.35640952,
    },
}
"""Dimension, base unit (in small letters) -> factor to the unit in `OURS`."""

OURS = {
    "length": "Å",
    "time": "fs",
    "energy": "eV",
    "temperature": "K",
    "mass": "amu",
    "velocity": "Å/fs",
    "momentum": "amu Å/fs",
    "force": "eV/Å",
    "pressure": "eV/Å³",
    "volume": "Å³",
    "electric-field": "V/Å",
    "electric-dipole": "e Å",
    "frequency": "cm⁻¹",
}
"""lrcalc's unit of each dimension."""

_NAMED = {
    "time": "time",
    "temperature": "temperature ensemble_temperature",
    "volume": "volume",
    "length": "cell_h r_gyration atom_x atom_x_path positions x_centroid x_centroid_even"
    " x_centroid_odd",
    "electric-field": "Efield",
    "energy": "conserved interaction_energy ensemble_bias potential bead_potentials"
    " potential_opsc potential_tdsc pot_component pot_component_raw spring kinetic_md kinetic_cv"
    " kinetic_td kinetic_prsc kinetic_tdsc kinetic_opsc kinetic_tens kinetic_ij virial_fq ti_pot"
    " kinetic_od",
    "electric-dipole": "dipole",
    "pressure": "ensemble_pressure vir_component vir_component_raw stress_md pressure_md"
    " kstress_md virial_md stress_cv pressure_tdsc vir_tdsc kstress_tdsc pressure_cv kstress_cv"
    " virial_cv",
    "force": "forcemod atom_f forces forces_spring Eforces forces_sc f_centroid forces_component"
    " forces_component_raw atom_f_path",
    "velocity": "atom_v vcom velocities v_centroid v_centroid_even v_centroid_odd",
    "momentum": "atom_p momenta p_centroid",
}
DIMENSION = {name: dimension for dimension, names in _NAMED.items() for name in names.split()}
"""Dimension of a property or trajectory; what is not here has none."""

_PREFIXES = {
    "": 1.0, "tera": 1e12, "giga": 1e9, "mega": 1e6, "kilo": 1e3, "milli": 1e-3, "micro": 1e-6,
    "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18,
}  # fmt: skip
_UNIT = re.compile(f"({'|'.join(p for p in _PREFIXES if p)})?(.+)")


def factor(dimension: str, unit: str | None) -> float:
    """Factor from a unit of i-PI to lrcalc's.

    Parameters
    ----------
    dimension : str
        A key of `FACTORS`.
    unit : str or None
        As i-PI has it; None, "" and "automatic" are the atomic unit.

    Raises
    ------
    ValueError
        For a unit that i-PI does not have.
    """
    bases = FACTORS[dimension]
    name = (unit or "").strip(" '\"")
    if name.lower() in ("", "automatic"):
        return bases["atomic_unit"]
    if name.lower() in bases:
        return bases[name.lower()]
    match = _UNIT.fullmatch(name.lower())
    if match is None or match[2] not in bases:
        raise ValueError(
            f"{unit!r} is no unit of {dimension}: i-PI has {', '.join(bases)}, with SI prefixes"
        )
    return _PREFIXES[match[1] or ""] * bases[match[2]]
