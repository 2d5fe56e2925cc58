"""Molecular dynamics in a field: ASE's integrators, the field's work, and a resumable state."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

from lrcalc.calculator import LRCalculator
from lrcalc.run_identity import OUTPUT, check_same, describe, pack
from lrcalc.system import validate_atoms

ENSEMBLES = ("nve", "nvt", "npt")

NPT_STATE = (("", "_p_eps"), ("_thermostat", "_eta"), ("_thermostat", "_p_eta"),
             ("_barostat", "_xi"), ("_barostat", "_p_xi"))  # fmt: skip
"""Where ASE's integrator keeps the momenta of cell, thermostat and barostat."""


UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError,
              AttributeError, RuntimeError)  # fmt: skip
"""What numpy raises for a damaged or foreign file, depending on where it breaks."""


class Settings(NamedTuple):
    """How to integrate.

    Attributes
    ----------
    ensemble : str
        nve (velocity Verlet), nvt (stochastic velocity rescaling, Bussi et al. 2007) or npt
        (isotropic Martyna-Tobias-Klein with Nosé-Hoover chains).
    timestep : float
        fs.
    temperature : float
        K; of the thermostat, and of the initial velocities where there are none.
    pressure : float
        GPa.
    thermostat_time, barostat_time : float
        fs.
    seed : int
        Of initial velocities and stochastic thermostat.
    """

    ensemble: str = "nve"
    timestep: float = 0.5
    temperature: float = 300.0
    pressure: float = 0.0
    thermostat_time: float = 100.0
    barostat_time: float = 500.0
    seed: int = 0


class Simulation:
    """Atoms, an integrator, and the accounts of energy.

    Parameters
    ----------
    atoms : Atoms
        Changed in place. Velocities are drawn if there are none.
    calculator : LRCalculator
        With whatever field; time-dependent ones see the time of this simulation.
    settings : Settings

    Attributes
    ----------
    steps : int
        Done so far.
    identity : dict
        What must be the same for a saved state to be continued; saved with it. Add what else
        decides: a function of time can only be told from a constant here.
    field_work : float
        eV; what changing the field has added to the enthalpy, ``∫ ∂𝓕/∂t dt``. In NPT the
        conserved quantity is exact for constant E, D or voltage only.

    Raises
    ------
    ValueError
        For an unknown ensemble, or values that make no sense.
    """

    def __init__(self, atoms: Atoms, calculator: LRCalculator, settings: Settings) -> None:
        check_start(atoms)
        check_settings(settings, atoms)
        self.atoms = atoms
        self.calculator = calculator
        self.settings = settings
        self.steps = 0
        self.field_work = 0.0
        self.rng = np.random.default_rng(settings.seed)
        self.identity = describe(atoms, calculator, settings._asdict())
        atoms.calc = calculator
        if not atoms.get_momenta().any():
            draw_velocities(atoms, settings.temperature, self.rng)
        self.integrator = make_integrator(atoms, settings, self.rng)

    @property
    def time(self) -> float:
        """Simulated time, fs."""
        return self.steps * self.settings.timestep

    def step(self) -> None:
        """Advance by one time step."""
        npt, varies = self.settings.ensemble == "npt", self.calculator.varies
        # with the forces, not in evaluations of their own
        needed = ["stress"] * npt + ["dipole"] * varies
        self.calculator.also = sorted({*self.calculator.also, *needed})
        # what the integrator starts from is of the field of this time: computed before the time
        # advances, where it is not there already
        self.atoms.get_forces()
        if npt:
            self.atoms.get_stress()
        before = self._field_and_moment() if varies else None
        self.calculator.time = self.time + self.settings.timestep
        self.integrator.step()
        self.steps += 1
        if before is not None:
            after = self._field_and_moment()
            mean = 0.5 * (before[1] + after[1])
            self.field_work += float(mean @ (after[0] - before[0]))

    def _field_and_moment(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the controlled variable and the derivative of the enthalpy with respect to it."""
        calculator = self.calculator
        dipole = calculator.get_property("dipole", self.atoms)
        if calculator.electric_displacement is not None:
            volume = self.atoms.get_volume()
            return (
                np.array(calculator.electric_displacement),
                volume * np.array(calculator.results["electric_field"]),
            )
        return np.array(calculator.results["electric_field"]), -np.asarray(dipole)

    def conserved(self) -> float:
        """Return the conserved quantity, eV: enthalpy + kinetic energy + baths - work."""
        if self.settings.ensemble == "npt":
            return float(self.integrator.get_conserved_energy()) - self.field_work
        energy = self.atoms.get_potential_energy() + self.atoms.get_kinetic_energy()
        if self.settings.ensemble == "nvt":
            energy -= self.integrator.transferred_energy
        return float(energy) - self.field_work

    def state(self) -> dict[str, np.ndarray]:
        """Everything a continued run needs, as arrays."""
        integrator = self.integrator
        state: dict[str, Any] = {
            "steps": self.steps, "field_work": self.field_work,
            "charge_work": self.calculator.charge_work, "positions": self.atoms.positions,
            "momenta": self.atoms.get_momenta(), "cell": np.asarray(self.atoms.cell),
            "rng": _words(self.rng), "run": pack(self.identity),
        }  # fmt: skip
        if self.settings.ensemble == "nvt":
            state["transferred"] = integrator.transferred_energy
        if self.settings.ensemble == "npt":
            for owner, name in NPT_STATE:
                state[name] = getattr(getattr(integrator, owner) if owner else integrator, name)
        return {key: np.array(value) for key, value in state.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned.

        Raises
        ------
        ValueError
            If the state is of another run, naming what differs.
        """
        check_same(state.get("run"), self.identity)
        self.atoms.set_cell(state["cell"])
        self.atoms.positions = state["positions"]
        self.atoms.set_momenta(state["momenta"])
        self.steps = int(state["steps"])
        self.field_work = float(state["field_work"])
        self.calculator.reset_branch()  # what it saw before is not where this run comes from
        self.calculator.charge_work = float(state["charge_work"])
        self.calculator.time = self.time
        self.rng.bit_generator.state = _generator(state["rng"])
        self.integrator = make_integrator(self.atoms, self.settings, self.rng)
        if self.settings.ensemble == "nvt":
            self.integrator.transferred_energy = float(state["transferred"])
        if self.settings.ensemble == "npt":
            for owner, name in NPT_STATE:
                target = getattr(self.integrator, owner) if owner else self.integrator
                value = state[name]
                setattr(target, name, float(value) if value.ndim == 0 else value.copy())


def make_integrator(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> Any:
    """ASE's integrator for an ensemble."""
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, timestep=step)
    if settings.ensemble == "nvt":
        return Bussi(
            atoms, timestep=step, temperature_K=settings.temperature,
            taut=settings.thermostat_time * units.fs, rng=rng,
        )  # fmt: skip
    return IsotropicMTKNPT(
        atoms, timestep=step, temperature_K=settings.temperature,
        pressure_au=settings.pressure * units.GPa, tdamp=settings.thermostat_time * units.fs,
        pdamp=settings.barostat_time * units.fs,
    )  # fmt: skip


def check_settings(settings: Settings, atoms: Atoms) -> None:
    """Refuse settings that make no sense, naming them."""
    if settings.ensemble not in ENSEMBLES:
        raise ValueError(f"`ensemble` is {settings.ensemble!r} but must be one of {ENSEMBLES}")
    for name in ("timestep", "thermostat_time", "barostat_time"):
        value = getattr(settings, name)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` is {value} fs but must be positive and finite")
    if not (np.isfinite(settings.temperature) and settings.temperature >= 0):
        raise ValueError(f"`temperature` is {settings.temperature} K but must be zero or more")
    if not np.isfinite(settings.pressure):
        raise ValueError(f"`pressure` is {settings.pressure} GPa but must be a finite number")
    if settings.seed < 0:
        raise ValueError(f"`seed` is {settings.seed} but must be zero or more")
    if settings.ensemble != "nve" and settings.temperature == 0:
        raise ValueError("`temperature` is 0 K: a thermostat needs a positive one; use nve")
    if settings.ensemble == "npt" and not atoms.pbc.all():
        raise ValueError("`ensemble` is npt but the structure is not periodic in all directions")
    if settings.ensemble == "npt" and atoms.constraints:
        raise ValueError(
            "`ensemble` is npt but the structure has constraints, which a changing cell cannot "
            "keep; use nvt, or remove them"
        )


def check_start(atoms: Atoms) -> None:
    """Refuse a structure that cannot move."""
    validate_atoms(atoms)
    mass, momenta = atoms.get_masses(), atoms.get_momenta()
    if not (np.isfinite(mass) & (mass > 0)).all():
        raise ValueError("`atoms` has masses that are not positive; set them")
    if not np.isfinite(momenta).all():
        raise ValueError("`atoms` has NaN or infinite velocities; remove them, or start earlier")


def draw_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Maxwell-Boltzmann velocities without motion of the whole."""
    mass = atoms.get_masses()[:, None]
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(mass * units.kB * temperature)
    atoms.set_momenta(momenta - momenta.sum(0) * mass / mass.sum())


def save_state(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a state atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **state)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_state` wrote.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return {key: file[key] for key in file.files}
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable state ({reason}); {OUTPUT}") from error


def _words(rng: np.random.Generator) -> np.ndarray:
    """State of the generator as eight 32-bit words and a buffered half word."""
    state: Any = rng.bit_generator.state
    numbers = [state["state"]["state"], state["state"]["inc"]]
    words = [(number >> (32 * k)) & 0xFFFFFFFF for number in numbers for k in range(4)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def _generator(words: np.ndarray) -> dict[str, Any]:
    values = [int(w) for w in words]
    numbers = [sum(values[4 * n + k] << (32 * k) for k in range(4)) for n in range(2)]
    return {
        "bit_generator": "PCG64",
        "state": {"state": numbers[0], "inc": numbers[1]},
        "has_uint32": values[8],
        "uinteger": values[9],
    }
