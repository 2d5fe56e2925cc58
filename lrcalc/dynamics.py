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
from typing import Any

import numpy as np
from ase import Atoms, units

from lrcalc.calculator import LRCalculator
from lrcalc.callers import users_line
from lrcalc.field_work import branch_warning, properties_needed, source, work
from lrcalc.integrators import (
    THERMOSTATS,
    RunSettings,
    check_settings,
    integrator_state,
    make_integrator,
    restore_integrator,
)
from lrcalc.run_conditions import RunConditions, to_info
from lrcalc.run_identity import check_same, describe, fingerprint, pack
from lrcalc.run_state import generator_state, generator_words
from lrcalc.structures import degrees_of_freedom, fixed_atoms, moves_as_a_whole, total_charge
from lrcalc.system import validate_atoms
from lrcalc.velocities import draw_velocities

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
        decides: of a function of time only a `lrcalc.courses.Course` says here which one it is.
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
        warning = branch_warning(settings.ensemble, calculator.field)
        if warning:
            warnings.warn(warning, stacklevel=users_line())

    def set_conditions(self, **known: Any) -> None:
        """Write the conditions of the run into ``atoms.info``.

        Parameters
        ----------
        **known
            Entries of `RunConditions` that a calculator does not know: the model's name.
        """
        self.conditions = conditions_of(
            self.calculator, self.settings, self.atoms, self.temperature
        )._replace(**known)
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
        state: dict[str, Any] = {
            "steps": self.steps, "field_work": self.field_work,
            "charge_work": self.calculator.charge_work, "positions": self.atoms.positions,
            "momenta": self.atoms.get_momenta(), "cell": np.asarray(self.atoms.cell),
            "rng": generator_words(self.rng), "run": pack(self.identity),
            **integrator_state(self.integrator),
        }  # fmt: skip
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
        self.rng.bit_generator.state = generator_state(state["rng"])
        self.integrator = make_integrator(
            self.atoms, self.settings, self.rng, self.degrees_of_freedom
        )
        restore_integrator(self.integrator, state)


def conditions_of(
    calculator: LRCalculator, settings: RunSettings, atoms: Atoms, temperature: float
) -> RunConditions:
    """Conditions of a run that has this temperature (K) at its start."""
    held = calculator.field
    return RunConditions(
        ensemble=settings.ensemble, thermostat=THERMOSTATS[settings.ensemble],
        temperature=temperature if settings.ensemble == "nve" else settings.temperature,
        timestep=settings.timestep, held="" if held is None else held.kind,
        value=None if held is None else held.amplitude, varies=calculator.varies,
        epsilon_infinity=calculator.evaluator.mean_permittivity(atoms),
        model=fingerprint(calculator.evaluator.potential),
    )  # fmt: skip


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
