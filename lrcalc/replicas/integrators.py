"""Velocity Verlet and Bussi's thermostat for a batch of structures; nothing waits for the device.

Operations and their order are those of ASE's integrators, by which they are tested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from ase import units
from torch import Tensor

from lrcalc.integrators import RunSettings
from lrcalc.replicas.moving import Evaluate, Matter, Moving


class Integrator(Protocol):
    """What advances structures."""

    def step(self, at: Moving, evaluate: Evaluate) -> Moving:
        """Advance by one time step."""

    def bath(self, at: Moving) -> Tensor:
        """Return what the conserved quantity has beside energy and kinetic energy, (S,), eV."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything that a continued run needs beside positions, momenta and cells."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""


class Verlet:
    """Velocity Verlet.

    Parameters
    ----------
    matter : Matter
    settings : RunSettings
    """

    def __init__(self, matter: Matter, settings: RunSettings) -> None:
        self.matter = matter
        self.dt = settings.timestep * units.fs

    def step(self, at: Moving, evaluate: Evaluate) -> Moving:
        """Advance by one time step."""
        half = at.momenta + 0.5 * self.dt * at.forces
        positions = at.positions + self.dt * half / self.matter.masses
        at = evaluate(at._replace(positions=positions, momenta=half))
        return at._replace(momenta=at.momenta + 0.5 * self.dt * at.forces)

    def bath(self, at: Moving) -> Tensor:
        """Nothing."""
        return torch.zeros_like(at.energy)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Do nothing."""


class Bussi(Verlet):
    """Velocity Verlet after a stochastic rescaling of velocities.

    Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), equation A7.

    Parameters
    ----------
    matter : Matter
    settings : RunSettings
    generators : sequence of numpy.random.Generator
        One for each structure.
    """

    def __init__(
        self, matter: Matter, settings: RunSettings, generators: Sequence[np.random.Generator]
    ) -> None:
        super().__init__(matter, settings)
        self.generators = generators
        self.decay = math.exp(-self.dt / (settings.thermostat_time * units.fs))
        self.target = 0.5 * matter.degrees * units.kB * settings.temperature
        self.transferred = torch.zeros(
            matter.structures, dtype=torch.float64, device=matter.batch.device
        )

    def step(self, at: Moving, evaluate: Evaluate) -> Moving:
        """Advance by one time step."""
        kinetic = self.matter.kinetic(at.momenta)
        share = (1.0 - self.decay) * self.target / kinetic / self.matter.degrees
        normal, rest = self._noise()
        square = self.decay + share * (rest + normal**2)
        square = square + 2.0 * normal * (self.decay * share).sqrt()
        self.transferred = self.transferred + (square - 1.0) * kinetic
        return super().step(
            at._replace(momenta=at.momenta * self.matter.each(square.sqrt())), evaluate
        )

    def _noise(self) -> Tensor:
        """Draw a normal number and a sum of squares of the others for each structure, (2, S).

        Drawn on the host, in the order of ASE, and sent without waiting.
        """
        shape = 0.5 * (self.matter.degrees - 1)
        drawn = [(r.standard_normal(), 2.0 * r.standard_gamma(shape)) for r in self.generators]
        return torch.as_tensor(np.array(drawn).T.copy()).to(
            self.transferred.device, non_blocking=True
        )

    def bath(self, at: Moving) -> Tensor:
        """Heat that has gone into the thermostat."""
        return -self.transferred

    def state(self) -> dict[str, np.ndarray]:
        """Heat so far; the random numbers are kept by whoever gave the generators."""
        return {"transferred": self.transferred.cpu().numpy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.transferred = torch.as_tensor(state["transferred"]).to(self.transferred.device)


def make(
    matter: Matter, settings: RunSettings, generators: Sequence[np.random.Generator]
) -> Integrator:
    """Integrator of an ensemble (`lrcalc.integrators.RunSettings`).

    Parameters
    ----------
    matter : Matter
    settings : RunSettings
    generators : sequence of numpy.random.Generator
        One for each structure.
    """
    from lrcalc.replicas.barostat import Barostat

    if settings.ensemble == "nve":
        return Verlet(matter, settings)
    if settings.ensemble == "nvt":
        return Bussi(matter, settings, generators)
    return Barostat(matter, settings)
