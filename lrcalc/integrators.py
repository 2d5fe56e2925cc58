"""Ensembles: ASE's integrators, the settings of a run, and what an integrator has to remember."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

THERMOSTATS = {"nve": "none", "nvt": "bussi", "npt": "nose-hoover"}
"""Ensemble → thermostat."""

ENSEMBLES = tuple(THERMOSTATS)

NPT_STATE = (("", "_p_eps"), ("_thermostat", "_eta"), ("_thermostat", "_p_eta"),
             ("_barostat", "_xi"), ("_barostat", "_p_xi"))  # fmt: skip
"""Where ASE's integrator keeps the momenta of cell, thermostat and barostat."""


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


def integrator_state(integrator: Any) -> dict[str, Any]:
    """Return what it has beside positions and momenta: heat of the bath, momenta of chains."""
    if isinstance(integrator, Bussi):
        return {"transferred": integrator.transferred_energy}
    if isinstance(integrator, IsotropicMTKNPT):
        return {
            name: getattr(getattr(integrator, owner) if owner else integrator, name)
            for owner, name in NPT_STATE
        }
    return {}


def restore_integrator(integrator: Any, state: dict[str, np.ndarray]) -> None:
    """Give it back what `integrator_state` returned."""
    if isinstance(integrator, Bussi):
        integrator.transferred_energy = float(state["transferred"])
    if isinstance(integrator, IsotropicMTKNPT):
        for owner, name in NPT_STATE:
            target = getattr(integrator, owner) if owner else integrator
            value = state[name]
            setattr(target, name, float(value) if value.ndim == 0 else value.copy())
