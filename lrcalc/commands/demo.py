"""`lrcalc demo`: from the bundled water model to an infrared spectrum, through i-PI."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lrcalc.progress import progress_bar

START = "water64"
"""Equilibrated box of 64 waters that comes with lrcalc."""

TEMPERATURE = 300.0
TIMESTEP = 0.5
STRIDE = 2
"""Steps between dipoles: 1 fs resolves the O-H stretch (10 fs) well."""

EQUILIBRATION = 100
"""Steps: the box is one of this model at this temperature, and its velocities are drawn anew."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--output", default="demo-output", help="folder to write into")
    parser.add_argument("--model", default="water", help="bundled name or model file")
    parser.add_argument(
        "--minutes", type=float, default=3.0, help="time for the molecular dynamics"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; everything lands in one folder."""
    from lrcalc.checkpoint import load
    from lrcalc.ipi import DriverSettings, Outputs, bead_average, read_properties, write_input
    from lrcalc.models.requests import has_response
    from lrcalc.structures import read_structure

    if not args.minutes > 0:
        raise ValueError(f"`--minutes` is {args.minutes} but must be positive")
    started = time.perf_counter()
    folder = Path(args.output)
    settings = DriverSettings(model=args.model, extras=("dipole",), virial=False)
    print(f"64 water molecules, model {args.model!r}, {TEMPERATURE:g} K; results in {folder}/\n")

    prepare = partial(write_input, settings=settings, temperature=TEMPERATURE)
    outputs = Outputs(properties=2, dipole=0, positions=50, checkpoint=100)
    thermal = prepare(
        "nvt", START, folder / "1-nvt", steps=EQUILIBRATION, timestep=TIMESTEP, outputs=outputs
    )
    per_step = follow(thermal, "1 equilibration (NVT)")
    steps = affordable_steps(per_step, 60.0 * args.minutes - EQUILIBRATION * per_step)
    outputs = Outputs(properties=2, dipole=STRIDE, positions=50, velocities=4, checkpoint=500)
    responds = has_response(load(args.model))
    recorded = settings._replace(extras=("dipole", "polarizability")) if responds else settings
    free = prepare(
        "nve",
        START,
        folder / "2-nve",
        steps=steps,
        timestep=TIMESTEP,
        settings=recorded,
        outputs=outputs,
        restart=folder / "1-nvt" / "RESTART",
    )
    follow(free, f"2 dynamics with {' and '.join(recorded.extras)} (NVE)")
    dipoles = bead_average([folder / "2-nve" / "sim.dipole_0"]).values
    properties = read_properties(folder / "2-nve" / "sim.out").values
    volume = read_structure(START).get_volume()
    files = spectrum(dipoles, volume, float(properties["temperature"].mean()), folder)
    if responds:
        alpha = bead_average([folder / "2-nve" / "sim.polarizability_0"]).values
        files += raman_spectrum(alpha, float(properties["temperature"].mean()), folder)
    drift = energy_drift(properties["time"], properties["conserved"], n_atoms=192)
    rows = [
        ("NVE", f"{steps} steps, {steps * TIMESTEP / 1000:.1f} ps"),
        ("temperature", f"{properties['temperature'].mean():.0f} K"),
        ("energy drift", f"{1e3 * drift:+.4f} meV/atom/ps"),
        ("wall time", f"{(time.perf_counter() - started) / 60:.1f} min"),
        ("files", ", ".join(str(f) for f in files)),
    ]
    print("\n" + "\n".join(f"{key:14} {value}" for key, value in rows))
    print(
        "RPBE-D3 water with classical nuclei, a few ps: read maxima to about 50 cm⁻¹; the noise "
        "between\nbands is that of a short run (the shaded band is one standard error)."
    )
    return 0


def affordable_steps(seconds_per_step: float, budget: float) -> int:
    """Return the steps that fit the time left: 1 to 5 ps, a multiple of the dipole's stride."""
    steps = int(np.clip(budget / seconds_per_step, 2000, 10000))
    return steps - steps % 100


def affordable_resolution(frames: int) -> float:
    """Resolution (cm⁻¹) at which dipoles 1 fs apart make four blocks, which tell the errors."""
    return max(60.0, 135_000.0 / frames)


def follow(input_file: Path, title: str) -> float:
    """Run i-PI with a progress bar; return the seconds per step once it was started."""
    from lrcalc.ipi import run_ipi
    from lrcalc.ipi.run import read_plan

    total = read_plan(input_file).total_steps
    seen = [(0, time.perf_counter())]
    with progress_bar(total, title=title, unit="step") as bar:

        def progress(step: int, row: Mapping[str, float]) -> None:
            bar.update(step - bar.n)
            seen.append((step, time.perf_counter()))
            if "temperature" in row:
                bar.set_postfix_str(
                    f"{row['temperature']:.0f} K, conserved {row.get('conserved', 0.0):.3f} eV"
                )

        summary = run_ipi(input_file, progress=progress)
        bar.update(total - bar.n if summary.finished else 0)
    if summary.interrupted:
        raise KeyboardInterrupt
    seen.append((total, time.perf_counter()))
    (first, begun), (last, ended) = seen[1], seen[-1]
    return (ended - begun) / (last - first) if last > first else (ended - seen[0][1]) / total


def spectrum(dipoles: np.ndarray, volume: float, temperature: float, folder: Path) -> list[Path]:
    """Write the infrared spectrum and print its bands beside the measured ones."""
    from lrcalc.analysis.infrared import WATER_BANDS, band_table, infrared

    result = infrared(
        dipoles,
        timestep=TIMESTEP * STRIDE,
        volume=volume,
        temperature=temperature,
        resolution=affordable_resolution(len(dipoles)),
    )
    files = result.save(
        folder / "water",
        ranges=WATER_BANDS,
        title="liquid water, n·α (Napierian), lrcalc demo",
    )
    print(
        "\nInfrared bands, n·α (Bertie & Lan 1996, 298 K, in the column 'measured'; in α alone "
        "libration is at 676)"
    )
    print(band_table(result, noise=False))
    return files


def raman_spectrum(alpha: np.ndarray, temperature: float, folder: Path) -> list[Path]:
    """Write the Raman spectrum; print where its stretch band is, and how polarised it is."""
    from lrcalc.analysis.raman import raman

    result = raman(
        alpha.reshape(len(alpha), 9),
        timestep=TIMESTEP * STRIDE,
        temperature=temperature,
        resolution=100.0,  # one isotropic polarizability, where the dipole has three components
        form="reduced",
    )
    title = "liquid water, Raman, Bose-reduced, lrcalc demo"
    files = result.save(folder / "water", title=title)
    band = (result.wavenumber > 2800) & (result.wavenumber < 4000)
    middle = np.average(result.wavenumber[band], weights=result.vv[band])
    ratio = result.integrated("vh", 2800, 4000)[0] / result.integrated("vv", 2800, 4000)[0]
    inside = [p for p in result.peaks if 2800 < p.wavenumber < 4000]
    marked = " and ".join(f"{p.wavenumber:.0f}" for p in inside) or "none"
    print(f"\nRaman: stretch band, mean {middle:.0f} cm⁻¹ (peaks marked in the picture: {marked}), "
          f"VH/VV {ratio:.2f}")  # fmt: skip
    return files


def energy_drift(time_fs: np.ndarray, energy: np.ndarray, n_atoms: int) -> float:
    """Slope of a straight line through the conserved energy, eV/atom/ps."""
    return float(np.polyfit(time_fs / 1000.0, energy / n_atoms, 1)[0])
