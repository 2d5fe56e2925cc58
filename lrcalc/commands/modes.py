"""``lrcalc modes``: vibrations, infrared intensities, dielectric function, LO–TO."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.modes import (
    DEBYE2_PER_A2_AMU,
    KM_PER_MOL,
    Modes,
    infrared_lines,
    lines,
    longitudinal,
    permittivity,
    reflectivity,
    static_dielectric,
)
from lrcalc.analysis.output import write_atomic, write_csv, write_json

NAME = "modes"
HELP = "modes at Γ with infrared intensities, ε(ω), LO–TO, from DFT files or a model"
EXAMPLE = "lrcalc modes --from quartz/ --json quartz.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structure", nargs="?", help="structure file, with --model")
    parser.add_argument("--from", dest="folder", metavar="DIR", help="folder of phonopy files")
    parser.add_argument("--model", help="bundled name or checkpoint for the calculator")
    parser.add_argument("--supercell", default="1,1,1", help="repeats, e.g. 2,2,2")
    parser.add_argument("--no-relax", action="store_true", help="take the structure as it is")
    parser.add_argument("--relax-cell", action="store_true")
    parser.add_argument("--epsilon-infinity", type=float, help="overrides the calculator's")
    parser.add_argument(
        "--transposed", action="store_true", help="BORN holds (displacement, field)"
    )
    parser.add_argument("--directions", default="1,0,0;0,0,1", help="of q → 0 for LO–TO")
    parser.add_argument("--damping", type=float, default=10.0, help="line width, cm⁻¹")
    parser.add_argument("--bands", action="store_true", help="band structure with LO–TO")
    parser.add_argument("--animate", metavar="LIST", help="modes to write as extxyz, e.g. 0,5")
    parser.add_argument("--json", metavar="OUT", help="summary file")
    parser.add_argument("-o", "--output", metavar="PREFIX", help="CSV, BORN and pictures")


def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    from lrcalc.analysis import phonons as ph

    if (args.folder is None) == (args.structure is None):
        raise ValueError("give a folder with --from, or a structure with --model")
    if args.folder:
        phonons = ph.from_folder(args.folder, transposed=args.transposed)
    else:
        phonons = _from_model(args)
    modes = ph.solve(phonons)
    directions = [[float(x) for x in d.split(",")] for d in args.directions.split(";")]
    print(table(modes))
    summary = summarise(modes, directions)
    eps = np.array(summary["static_dielectric"])
    print(f"  ε_0 diagonal {np.round(np.diag(eps), 4)}  ε_∞ {np.diag(modes.epsilon_infinity)}")
    for direction, found in zip(directions, summary["longitudinal"], strict=True):
        print(f"  LO along {direction}: {_shifted(modes, np.array(found['wavenumbers_cm1']))}")
    for note in modes.notes:
        print(f"  note: {note}")
    if args.json:
        write_json(args.json, summary)
    if args.output:
        for path in write_modes(phonons, modes, args.output, args.damping, bands=args.bands):
            print(f"  wrote {path}")
    if args.animate:
        from ase.io import write

        for index in (int(i) for i in args.animate.split(",")):
            frames = ph.animation(phonons, modes, index)
            name = f"{args.output or 'modes'}-mode-{index:03d}.extxyz"
            write_atomic(name, lambda t, f=frames: write(t, f, format="extxyz"))  # type: ignore[misc]
            print(f"  wrote {name}")
    return 0


def _from_model(args: argparse.Namespace) -> Any:
    from ase.io import read

    from lrcalc.analysis import phonons as ph
    from lrcalc.calculator import LRCalculator

    if args.model is None:
        raise ValueError("a structure needs --model")
    if not Path(args.structure).is_file():
        raise FileNotFoundError(f"no file {args.structure}")
    calculator = LRCalculator(args.model, dtype="float64")
    return ph.from_calculator(
        read(args.structure),
        calculator,
        supercell=[int(n) for n in args.supercell.split(",")],
        relax=None if args.no_relax else 0.002,
        relax_cell=args.relax_cell,
        epsilon_infinity=args.epsilon_infinity,
        progress=True,
    )


def table(modes: Modes) -> str:
    """Lines (degenerate modes summed) as text."""
    rows = ["     ν (cm⁻¹)  irrep  g   e²/amu     (D/Å)²/amu    km/mol"]
    for line in lines(modes):
        nu = f"{line.wavenumber:.3f}" if line.wavenumber >= 0 else f"{-line.wavenumber:.3f}i"
        rows.append(
            f"  {nu:>11s}  {line.irrep or '-':5s} {line.degeneracy:2d}  {line.intensity:9.6f}  "
            f"{line.intensity * DEBYE2_PER_A2_AMU:10.4f}  {line.intensity * KM_PER_MOL:10.3f}"
        )
    return "\n".join(rows)


def summarise(modes: Modes, directions: list[list[float]]) -> dict[str, Any]:
    """Collect what the JSON holds."""
    return {
        "modes": [
            {
                "frequency_cm1": nu,
                "intensity_e2_per_amu": strength,
                "intensity_km_per_mol": strength * KM_PER_MOL,
                "intensity_D2_per_A2_amu": strength * DEBYE2_PER_A2_AMU,
                "mode_charge": charge,
                "irrep": label,
            }
            for nu, strength, charge, label in zip(
                modes.wavenumber, modes.intensity, modes.charge, modes.irreps, strict=True
            )
        ],
        "lines": lines(modes),
        "static_dielectric": static_dielectric(modes),
        "epsilon_infinity": modes.epsilon_infinity,
        "volume_A3": modes.volume,
        "longitudinal": [
            {"direction": d, "wavenumbers_cm1": longitudinal(modes, d)} for d in directions
        ],
        "units": {"mode_charge": "e amu^-1/2", "imaginary modes": "negative frequency"},
        "notes": modes.notes,
    }


def _shifted(modes: Modes, moved: np.ndarray) -> str:
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


def write_modes(
    phonons: Any, modes: Modes, prefix: str, damping: float, *, bands: bool = False
) -> list[Path]:
    """CSV of modes and of ε(ω), BORN file, pictures."""
    from lrcalc.analysis import plots
    from lrcalc.analysis.converters import write_phonopy_born
    from lrcalc.analysis.phonons import band_structure

    # up to beyond the longitudinal modes: the band of high reflectivity ends there
    highest = (
        [longitudinal(modes, axis).max() for axis in np.eye(3).tolist()] if modes.volume else []
    )
    top = 1.15 * float(max([modes.wavenumber.max(), *highest]))
    grid = np.linspace(1.0, top, 2000)
    epsilon = permittivity(modes, grid, damping)
    settings = {"damping_cm1": damping, "volume_A3": modes.volume, "notes": list(modes.notes)}
    mode_columns = [
        ("wavenumber_cm-1", modes.wavenumber),
        ("intensity_e2/amu", modes.intensity),
        ("intensity_km/mol", modes.intensity * KM_PER_MOL),
        *((f"mode_charge_{a}", modes.charge[:, i]) for i, a in enumerate("xyz")),
    ]
    eps_columns = [
        ("wavenumber_cm-1", grid),
        ("n_alpha_cm-1", infrared_lines(modes, grid, damping)),
    ]
    for i, axis in enumerate("xyz"):
        diagonal = epsilon[:, i, i]
        eps_columns += [
            (f"epsilon_real_{axis}{axis}", diagonal.real),
            (f"epsilon_imag_{axis}{axis}", diagonal.imag),
            (f"reflectivity_{axis}", reflectivity(diagonal)),
        ]
    figure = plots.modes_figure(modes, grid, epsilon, infrared_lines(modes, grid, damping))
    written = [
        write_csv(f"{prefix}-modes.csv", mode_columns, settings),
        write_csv(f"{prefix}-epsilon.csv", eps_columns, settings),
        write_phonopy_born(
            f"{prefix}-BORN", phonons.born, phonons.epsilon_infinity, phonons.phonopy
        ),
        plots.save(figure, f"{prefix}-modes.png"),
    ]
    if bands:
        structure = band_structure(phonons)
        written.append(plots.save(plots.bands_figure(structure), f"{prefix}-bands.png"))
    return written
