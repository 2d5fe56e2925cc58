"""What molecular dynamics conserves: drift without a field, in a field, at constant D.

    python benchmarks/conservation.py [--picoseconds 5] [--field 0.2] [--case none field ...]

64 waters, bundled model, velocity Verlet, 0.5 fs, after a time at 300 K with a thermostat under
the same conditions (a field that is switched on heats the water: another state would be compared).
The conserved quantity is kinetic energy plus the enthalpy. Prints the slope of a straight line
with its standard error from ten blocks of the residual, and the range.
"""

import argparse
import json
import pathlib

import numpy as np
from ase import units
from ase.io import read
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from tqdm import tqdm

from lrcalc import LRCalculator
from lrcalc.commands.demo import starting_structure
from lrcalc.units import EPSILON_0

CASES = ("none", "field", "displacement")


def conserved(
    case: str, field: float, steps: int, warm_up: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Time (ps), conserved quantity (meV/atom) every four steps of 0.5 fs, temperature (K)."""
    atoms = read(starting_structure())
    settings = {
        "none": {},
        "field": {"electric_field": [0.0, 0.0, field]},
        # D of a field E in a medium of the optical permittivity alone: the dipoles reply.
        "displacement": {"electric_displacement": [0.0, 0.0, EPSILON_0 * field]},
    }
    atoms.calc = LRCalculator("water", **settings[case])
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(2))
    warm = Bussi(atoms, 0.5 * units.fs, 300.0, 50 * units.fs, rng=np.random.default_rng(3))
    warm.run(warm_up)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    rows: list[tuple[float, float, float]] = []
    bar = tqdm(total=steps, desc=case, unit="step", mininterval=2)

    def sample() -> None:
        time = dynamics.get_time() / (1000 * units.fs)
        rows.append((time, atoms.get_total_energy(), atoms.get_temperature()))
        bar.update(4 if len(rows) > 1 else 0)

    dynamics.attach(sample, interval=4)
    dynamics.run(steps)
    bar.close()
    time, energy, temperature = np.array(rows).T
    return time, 1000 * energy / len(atoms), float(temperature.mean())


def slope(time: np.ndarray, energy: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """Slope of a straight line and its standard error, residuals averaged over blocks."""
    fit = np.polyfit(time, energy, 1)
    residual = energy - np.polyval(fit, time)
    means = [b.mean() for b in np.array_split(residual, blocks)]
    centres = np.array([b.mean() for b in np.array_split(time, blocks)])
    spread = np.sqrt(np.sum(np.square(means)) / (blocks - 2))
    return float(fit[0]), float(spread / np.sqrt(np.sum((centres - centres.mean()) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picoseconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0, help="ps with the thermostat")
    parser.add_argument("--field", type=float, default=0.2, help="V/Å")
    parser.add_argument("--case", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    print(f"64 waters, {args.picoseconds} ps after {args.warm_up} ps, field {args.field} V/Å")
    print(f"{'':14}{'drift (meV/atom/ps)':>24}{'range (meV/atom)':>20}{'T (K)':>8}")
    table = {}
    for case in args.case:
        time, energy, temperature = conserved(
            case, args.field, round(2000 * args.picoseconds), round(2000 * args.warm_up)
        )
        drift, error = slope(time, energy)
        table[case] = {"drift": drift, "error": error, "range": float(np.ptp(energy))}
        print(
            f"{case:14}{drift:15.4f} ± {error:.4f}{np.ptp(energy):20.3f}{temperature:8.0f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
