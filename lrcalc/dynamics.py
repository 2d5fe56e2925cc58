"""Molecular dynamics in a field: ASE's integrators, the field's work, and a resumable state.

What is constant, up to the square of the time step (`Simulation.conserved`), with K the kinetic
energy, f the degrees of freedom (`degrees_of_freedom`) and W the work of the source that changes
the field (`lrcalc.field_work`, 0 for a constant one), whatever is held:

========  ===============================================  ======================================
ensemble  conserved                                        source
========  ===============================================  ======================================
nve       𝓕 + K - W                                        velocity Verlet
nvt       𝓕 + K - W - Σ heat of the thermostat             Bussi, Donadio, Parrinello, J. Chem.
                                                           Phys. 126, 014101 (2007)
npt       𝓕 + K - W + p_ext V + p_ε²/2W_ε + chain of the   Martyna, Tobias, Klein, J. Chem. Phys.
          barostat + Σ p_η²/2Q + f k_BT η_1 + k_BT Σ η_j   101, 4177 (1994)
========  ===============================================  ======================================

𝓕 is the energy without a field, ``E_KS - E·M - …`` at constant E or voltage, ``U(D)`` at constant D
(physics §2; Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009)). Atomic charges in periodic
cells have no such energy: there 𝓕 contains minus the work that the field has done on them.
"""

from __future__ import annotations

import warnings
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
from lrcalc.field_work import branch_warning, properties_needed, source, work
from lrcalc.fields import KINDS
from lrcalc.files import replacing
from lrcalc.run_conditions import RunConditions, to_info
from lrcalc.run_identity import OUTPUT, check_same, describe, fingerprint, pack
from lrcalc.structures import degrees_of_freedom, fixed_atoms, moves_as_a_whole, total_charge
from lrcalc.system import validate_atoms
from lrcalc.velocities import draw_velocities

THERMOSTATS = {"nve": "none", "nvt": "bussi", "npt": "nose-hoover"}
"""Ensemble → thermostat."""

ENSEMBLES = tuple(THERMOSTATS)

NPT_STATE = (("", "_p_eps"), ("_thermostat", "_eta"), ("_thermostat", "_p_eta"),
             ("_barostat", "_xi"), ("_barostat", "_p_xi"))  # fmt: skip
"""Where ASE's integrator keeps the momenta of cell, thermostat and barostat."""


UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError,
              AttributeError, RuntimeError)  # fmt: skip
"""What numpy raises for a damaged or foreign file, depending on where it breaks."""


class RunSettings(NamedTuple):
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


Settings = RunSettings
"""Earlier name."""


class Simulation:
    """Atoms, an integrator, and the accounts of energy.

    Parameters
    ----------
    atoms : Atoms
        Changed in place. Velocities are drawn if there are none, or all are zero. Of constraints
        FixAtoms is understood. ``atoms.info`` gets the `conditions`, so that every frame that is
        written carries them.
    calculator : LRCalculator
        With whatever field; time-dependent ones see the time of this simulation, from 0.
    settings : RunSettings

    Attributes
    ----------
    steps : int
        Done so far.
    identity : dict
        What must be the same for a saved state to be continued; saved with it. Add what else
        decides: a function of time can only be told from a constant here.
    field_work : float
        eV; what changing the field has added to the enthalpy (`lrcalc.field_work`).
    degrees_of_freedom : int
        That share the temperature: what moves, without the whole where that stands still.
    notes : list of str
        What whoever starts the run should know: that velocities were drawn, and so on.

    Raises
    ------
    ValueError
        For an unknown ensemble, values that make no sense, or a structure that cannot move.

    Warns
    -----
    UserWarning
        Where the pressure of a changing cell depends on the branch of the dipole.
    """

    def __init__(self, atoms: Atoms, calculator: LRCalculator, settings: RunSettings) -> None:
        fixed = check_start(atoms)
        check_settings(settings, atoms)
        self.atoms = atoms
        self.calculator = calculator
        self.settings = settings
        self.steps = 0
        self.field_work = 0.0
        self.rng = np.random.default_rng(settings.seed)
        calculator.time = 0.0
        calculator.reset_branch()  # neither results nor work of what it saw before
        atoms.calc = calculator
        pushed = calculator.evaluator.in_field and total_charge(atoms) != 0.0
        self.notes = start(atoms, settings.temperature, self.rng, fixed)
        self.degrees_of_freedom = degrees_of_freedom(atoms, fixed, pushed=pushed)
        if pushed:
            self.notes.append("a net charge in a field accelerates the structure as a whole")
        self.identity = describe(atoms, calculator, settings._asdict())
        self.identity["degrees_of_freedom"] = self.degrees_of_freedom
        self.integrator = make_integrator(atoms, settings, self.rng, self.degrees_of_freedom)
        self.set_conditions()
        warning = branch_warning(settings.ensemble, self.conditions.held)
        if warning:
            warnings.warn(warning, stacklevel=2)

    def set_conditions(self, **known: Any) -> None:
        """Write the conditions of the run into ``atoms.info``.

        Parameters
        ----------
        **known
            Entries of `RunConditions` that a calculator does not know: the model's name, the
            amplitude of a field that varies.
        """
        calculator, settings = self.calculator, self.settings
        held = next((name for name in KINDS if getattr(calculator, name) is not None), "")
        value = None
        if held and not calculator.varies:
            x, y, z = getattr(calculator, held)
            value = (float(x), float(y), float(z))
        self.conditions = RunConditions(
            ensemble=settings.ensemble, thermostat=THERMOSTATS[settings.ensemble],
            temperature=self.temperature if settings.ensemble == "nve" else settings.temperature,
            timestep=settings.timestep, held=held, value=value, varies=calculator.varies,
            epsilon_infinity=calculator.evaluator.mean_permittivity(self.atoms),
            model=fingerprint(calculator.evaluator.potential),
        )._replace(**known)  # fmt: skip
        self.atoms.info |= to_info(self.conditions)

    @property
    def temperature(self) -> float:
        """Of this moment, K: kinetic energy over the degrees of freedom that share it."""
        kinetic = self.atoms.get_kinetic_energy()
        return float(2 * kinetic / (units.kB * self.degrees_of_freedom))

    @property
    def time(self) -> float:
        """Simulated time, fs."""
        return self.steps * self.settings.timestep

    @property
    def pressure(self) -> float:
        """Of this moment, with that of the kinetic energy, GPa."""
        stress = self.atoms.get_stress(voigt=False, include_ideal_gas=True)
        return float(-np.trace(stress) / 3 / units.GPa)

    def step(self) -> None:
        """Advance by one time step."""
        npt, varies = self.settings.ensemble == "npt", self.calculator.varies
        # with the forces, not in evaluations of their own
        needed = ["stress"] * npt
        if varies:
            needed += properties_needed(self.calculator, self.atoms)
        self.calculator.also = sorted({*self.calculator.also, *needed})
        # what the integrator starts from is of the field of this time: computed before the time
        # advances, where it is not there already
        self.atoms.get_forces()
        if npt:
            self.atoms.get_stress()
        before = source(self.calculator, self.atoms) if varies else None
        self.calculator.time = self.time + self.settings.timestep
        self.integrator.step()
        self.steps += 1
        if before is not None:
            self.field_work += work(before, source(self.calculator, self.atoms))

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
        self.integrator = make_integrator(
            self.atoms, self.settings, self.rng, self.degrees_of_freedom
        )
        if self.settings.ensemble == "nvt":
            self.integrator.transferred_energy = float(state["transferred"])
        if self.settings.ensemble == "npt":
            for owner, name in NPT_STATE:
                target = getattr(self.integrator, owner) if owner else self.integrator
                value = state[name]
                setattr(target, name, float(value) if value.ndim == 0 else value.copy())


def make_integrator(
    atoms: Atoms, settings: RunSettings, rng: np.random.Generator, degrees: int
) -> Any:
    """ASE's integrator for an ensemble, with a thermostat of so many degrees of freedom."""
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, timestep=step)
    if settings.ensemble == "nvt":
        bussi = Bussi(
            atoms, timestep=step, temperature_K=settings.temperature,
            taut=settings.thermostat_time * units.fs, rng=rng,
        )  # fmt: skip
        # ASE counts the motion of the whole, which stays at rest
        bussi.ndof = degrees
        bussi.target_kinetic_energy = 0.5 * degrees * units.kB * settings.temperature
        return bussi
    npt = IsotropicMTKNPT(
        atoms, timestep=step, temperature_K=settings.temperature,
        pressure_au=settings.pressure * units.GPa, tdamp=settings.thermostat_time * units.fs,
        pdamp=settings.barostat_time * units.fs,
    )  # fmt: skip
    for part in (npt, npt._thermostat, npt._barostat):
        part._num_atoms_global = degrees / 3
    return npt


def check_settings(settings: RunSettings, atoms: Atoms) -> None:
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


def check_start(atoms: Atoms) -> np.ndarray:
    """Refuse a structure that cannot move; return which atoms are fixed, (N,) bool."""
    validate_atoms(atoms)
    mass, momenta = atoms.get_masses(), atoms.get_momenta()
    if not (np.isfinite(mass) & (mass > 0)).all():
        raise ValueError("`atoms` has masses that are not positive; set them")
    if not np.isfinite(momenta).all():
        raise ValueError("`atoms` has NaN or infinite velocities; remove them, or start earlier")
    fixed = fixed_atoms(atoms, where="molecular dynamics")
    if fixed.all():
        raise ValueError("all atoms of the structure are fixed: nothing can move; free some")
    return fixed


def start(
    atoms: Atoms, temperature: float, rng: np.random.Generator, fixed: np.ndarray
) -> list[str]:
    """Give the atoms velocities where they have none; say what was done to them."""
    momenta = atoms.get_momenta()
    if momenta[~fixed].any():
        notes = ["velocities of fixed atoms set to zero"] if momenta[fixed].any() else []
        atoms.set_momenta(momenta)  # which constraints act upon
    else:
        zeros = ", because those of the structure are zero" if atoms.has("momenta") else ""
        draw_velocities(atoms, temperature, rng, fixed)
        notes = [f"velocities drawn at {temperature:g} K{zeros}"]
    if not fixed.any() and moves_as_a_whole(atoms):
        notes.append("the structure moves as a whole, which its temperature and thermostat count")
    return notes


def save_state(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a state atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type]


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
