"""What molecular dynamics conserves: drift without a field, in a field, at constant D.

    python benchmarks/conservation.py [--picoseconds 5] [--field 0.2] [--case none field ...]

64 waters, bundled model, velocity Verlet, after a time at 300 K with a thermostat under the same
conditions (a field that is switched on heats the water: another state would be compared).

Two quantities. `H` is kinetic energy plus the enthalpy; its error of order Δt² follows the state of
the water, so that H drifts wherever the water relaxes, even with exact forces. The `shadow` energy
has that error taken out (the modified Hamiltonian of velocity Verlet, Hairer, Lubich, Wanner,
*Geometric Numerical Integration*, IX.3):

    H + Δt²/12 v·(∂²V/∂r∂r)·v − Δt²/24 Σ F²/m ,   (∂²V/∂r∂r)·v = −dF/dt from neighbouring steps.

What is left in it are terms of order Δt⁴, rounding, and any force that is not a gradient.
Prints slopes of straight lines with standard errors from ten blocks of the residuals.

``--loops`` instead takes atoms round closed loops at random and prints the work that the field has
done on return: nothing for local charges, something for atomic charges in a periodic cell, whose
energy in a field is work along the way and not a function of the positions.
"""

import argparse
import json
import pathlib
from typing import NamedTuple

import numpy as np
from ase import units
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from tqdm import tqdm

from lrcalc import LRCalculator
from lrcalc.structures import read_structure
from lrcalc.units import EPSILON_0

CASES = ("none", "field", "displacement")


class Run(NamedTuple):
    """One run, a value each step."""

    time: np.ndarray  # ps
    energy: np.ndarray  # kinetic energy and enthalpy, meV/atom
    shadow: np.ndarray  # the same with the error of the time step removed, meV/atom
    temperature: np.ndarray  # K


def simulate(
    case: str, model: str, field: float, picoseconds: float, warm_up: float, timestep: float,
    seed: int,
) -> Run:  # fmt: skip
    """NVE of `picoseconds` after `warm_up` ps; `timestep` in fs, `field` in V/Å."""
    atoms = read_structure("water64")
    settings = {
        "none": {},
        "field": {"electric_field": [0.0, 0.0, field]},
        # D of a field E in a medium of the optical permittivity alone: the dipoles reply.
        "displacement": {"electric_displacement": [0.0, 0.0, EPSILON_0 * field]},
    }
    atoms.calc = LRCalculator(model, **settings[case])
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    Bussi(atoms, 0.5 * units.fs, 300.0, 50 * units.fs, rng=rng).run(round(2000 * warm_up))
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    steps = round(1000 * picoseconds / timestep)
    energy, temperature = np.empty(steps + 1), np.empty(steps + 1)
    shape = (steps + 1, len(atoms), 3)
    velocities, forces = np.empty(shape), np.empty(shape)
    bar = tqdm(total=steps, desc=f"{case}, seed {seed}", unit="step", mininterval=2)

    def sample() -> None:
        n = dynamics.nsteps
        energy[n], temperature[n] = atoms.get_total_energy(), atoms.get_temperature()
        velocities[n], forces[n] = atoms.get_velocities(), atoms.get_forces()
        bar.n = n
        bar.update(0)

    dynamics.attach(sample, interval=1)
    dynamics.run(steps)
    bar.close()
    dt = timestep * units.fs
    change = (forces[2:] - forces[:-2]) / (2 * dt)
    curvature = -np.einsum("tia,tia->t", velocities[1:-1], change)
    square = np.einsum("tia,tia,i->t", forces[1:-1], forces[1:-1], 1 / atoms.get_masses())
    shadow = energy[1:-1] + dt**2 * (curvature / 12 - square / 24)
    scale = 1000 / len(atoms)
    time = timestep / 1000 * np.arange(1, steps)
    return Run(time, scale * energy[1:-1], scale * shadow, temperature[1:-1])


def loop_work(model: str, field: float, amplitude: float, loops: int, seed: int) -> np.ndarray:
    """Work (meV/atom) of the field round ellipses through all coordinates, rms `amplitude` Å."""
    atoms = read_structure("water64")
    plain = LRCalculator(model, dtype="float64")
    driven = LRCalculator(model, dtype="float64", electric_field=[0.0, 0.0, field])
    rng = np.random.default_rng(seed)
    points = 24  # of a smooth periodic integrand: the trapezoidal sum converges exponentially
    work = np.zeros(loops)
    for loop in range(loops):
        a, b = rng.normal(scale=amplitude / np.sqrt(3), size=(2, len(atoms), 3))
        for angle in tqdm(2 * np.pi * np.arange(points) / points, desc=f"loop {loop + 1}"):
            here = atoms.copy()
            here.positions += np.cos(angle) * a + np.sin(angle) * b
            force = driven.get_forces(here) - plain.get_forces(here)
            tangent = np.cos(angle) * b - np.sin(angle) * a
            work[loop] += (force * tangent).sum() * 2 * np.pi / points
    return 1000 * work / len(atoms)


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
    parser.add_argument("--model", default="water", help="bundled name or file")
    parser.add_argument("--picoseconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0, help="ps with the thermostat")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs, of the run itself")
    parser.add_argument("--seed", type=int, nargs="+", default=[2], help="one run each")
    parser.add_argument("--field", type=float, default=0.2, help="V/Å")
    parser.add_argument("--case", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--loops", type=int, help="closed loops instead of dynamics")
    parser.add_argument("--amplitude", type=float, default=0.05, help="Å, of the loops")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if args.loops:
        work = loop_work(args.model, args.field, args.amplitude, args.loops, args.seed[0])
        print(f"work of {args.field} V/Å on {args.model} round {args.loops} closed loops of "
              f"{args.amplitude} Å: rms {np.sqrt(np.mean(work**2)):.2e} meV/atom")  # fmt: skip
        return
    print(
        f"64 waters, model {args.model}, {args.picoseconds} ps of {args.timestep} fs after "
        f"{args.warm_up} ps, field {args.field} V/Å; drifts in meV/atom/ps, ranges in meV/atom"
    )
    heads = ("drift of H", "range", "drift of shadow", "range", "T (K), first and last fifth")
    print(f"{'':22}{heads[0]:>20}{heads[1]:>8}{heads[2]:>22}{heads[3]:>9}{heads[4]:>30}")
    table = []
    for case in args.case:
        for seed in args.seed:
            run = simulate(
                case, args.model, args.field, args.picoseconds, args.warm_up, args.timestep, seed
            )
            fifth = len(run.time) // 5
            row = {"case": case, "seed": seed} | {
                name: {"drift": drift, "error": error, "range": float(np.ptp(values))}
                for name, values in (("H", run.energy), ("shadow", run.shadow))
                for drift, error in [slope(run.time, values)]
            }
            row["T"] = [run.temperature[:fifth].mean(), run.temperature[-fifth:].mean()]
            table.append(row)
            print(
                f"{case + ', seed ' + str(seed):22}"
                f"{row['H']['drift']:11.4f} ± {row['H']['error']:.4f}{row['H']['range']:8.3f}"
                f"{row['shadow']['drift']:13.5f} ± {row['shadow']['error']:.5f}"
                f"{row['shadow']['range']:9.4f}{row['T'][0]:20.0f}{row['T'][1]:10.0f}",
                flush=True,
            )
            if args.json:  # after each run: what is measured is not lost
                args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
