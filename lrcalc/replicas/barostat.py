"""Constant pressure for a batch of structures: isotropic, with Nosé–Hoover chains.

Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994). Operations and their order are those of
ASE's `IsotropicMTKNPT` with chains of three and one loop, by which they are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase import units
from torch import Tensor

from lrcalc.integrators import RunSettings
from lrcalc.replicas.moving import Evaluate, Matter, Moving
from lrcalc.system import volumes

CUBE = 2.0 ** (1.0 / 3.0)
FOURTH_ORDER = (1.0 / (2.0 - CUBE), -CUBE / (2.0 - CUBE), 1.0 / (2.0 - CUBE))
"""Parts of a time step that together are accurate to the fourth order (Suzuki, Yoshida)."""


def exprel(x: Tensor) -> Tensor:
    """``(exp(x) - 1)/x``, 1 at 0."""
    small = x.abs() < 1e-9
    safe = torch.where(small, 1.0, x)
    return torch.where(small, 1.0 + 0.5 * x, torch.expm1(safe) / safe)


class Chain:
    """Nosé–Hoover chains, one for each structure.

    Parameters
    ----------
    masses : sequence of float
        Of the thermostats of a chain.
    heat : float
        k_B T, eV.
    like : Tensor, shape (S,)
        For number and device of the structures.

    Attributes
    ----------
    positions, momenta : list of Tensor, shape (S,)
        Of the first, second, … thermostats.
    """

    def __init__(self, masses: Sequence[float], heat: float, like: Tensor) -> None:
        self.masses, self.heat = masses, heat
        self.positions = [torch.zeros_like(like) for _ in masses]
        self.momenta = [torch.zeros_like(like) for _ in masses]

    def scaling(self, twice: Tensor, aim: float, delta: float) -> Tensor:
        """Advance by ``delta``; return what the momenta of the coupled system are scaled by, (S,).

        Parameters
        ----------
        twice : Tensor, shape (S,), eV
            Twice the kinetic energy of the coupled system.
        aim : float, eV
            What that is on average.
        delta : float
        """
        scale, last = torch.ones_like(twice), len(self.masses) - 1
        for part in FOURTH_ORDER:
            step = part * delta
            for j in range(last, -1, -1):
                self._push(j, twice, aim, step)
            moves = zip(self.positions, self.momenta, self.masses, strict=True)
            self.positions = [x + step * p / mass for x, p, mass in moves]
            factor = torch.exp(-step * self.momenta[0] / self.masses[0])
            scale, twice = scale * factor, twice * factor**2
            for j in range(last + 1):
                self._push(j, twice, aim, step)
        return scale

    def _push(self, j: int, twice: Tensor, aim: float, step: float) -> None:
        """Advance the momentum of one thermostat by half a step."""
        drag: Tensor | float = 1.0
        if j + 1 < len(self.masses):
            drag = torch.exp(-0.25 * step * self.momenta[j + 1] / self.masses[j + 1])
        if j == 0:
            force = twice - aim
        else:
            force = self.momenta[j - 1] ** 2 / self.masses[j - 1] - self.heat
        self.momenta[j] = drag * (drag * self.momenta[j] + 0.5 * step * force)

    @property
    def energy(self) -> Tensor:
        """Kinetic energies of the thermostats, (S,), eV."""
        pairs = zip(self.momenta, self.masses, strict=True)
        return torch.stack([0.5 * p**2 / mass for p, mass in pairs]).sum(0)


class Barostat:
    """Volumes and thermostats that move with the atoms.

    Parameters
    ----------
    matter : Matter
    settings : RunSettings
    """

    def __init__(self, matter: Matter, settings: RunSettings) -> None:
        self.matter = matter
        self.dt = settings.timestep * units.fs
        self.pressure = settings.pressure * units.GPa
        self.heat = units.kB * settings.temperature
        self.count = matter.degrees / 3.0  # atoms, as far as they move
        fast, slow = (x * units.fs for x in (settings.thermostat_time, settings.barostat_time))
        self.mass = 3.0 * (matter.atoms + 1) * self.heat * slow**2
        self.momentum = torch.zeros(
            matter.structures, dtype=torch.float64, device=matter.batch.device
        )

        def chain(first: float, time: float) -> Chain:
            masses = [self.heat * time**2 * x for x in (first, 1.0, 1.0)]
            return Chain(masses, self.heat, self.momentum)

        self.thermostat = chain(3.0 * matter.atoms, fast)
        self.barostat = chain(9.0, slow)

    def step(self, at: Moving, evaluate: Evaluate) -> Moving:
        """Advance by one time step."""
        half = 0.5 * self.dt
        self._scale_momentum(half)
        at = self._scale(at, half)
        at = self._push(self._push_volume(at, half), half)
        rate = self.momentum * self.dt / self.mass
        positions = at.positions * self.matter.each(rate.exp())
        drift = at.momenta * self.dt / self.matter.masses
        positions = positions + drift * self.matter.each(exprel(rate))
        at = evaluate(at._replace(positions=positions, cell=at.cell * rate.exp()[:, None, None]))
        at = self._push_volume(self._push(at, half), half)
        at = self._scale(at, half)
        self._scale_momentum(half)
        return at

    def _scale(self, at: Moving, delta: float) -> Moving:
        twice = 2.0 * self.matter.kinetic(at.momenta)
        scale = self.thermostat.scaling(twice, 3.0 * self.count * self.heat, delta)
        return at._replace(momenta=at.momenta * self.matter.each(scale))

    def _scale_momentum(self, delta: float) -> None:
        twice = self.momentum**2 / self.mass
        self.momentum = self.momentum * self.barostat.scaling(twice, self.heat, delta)

    def _push(self, at: Moving, delta: float) -> Moving:
        rate = (1.0 + 1.0 / self.count) * self.momentum * delta / self.mass
        kept = at.momenta * self.matter.each(torch.exp(-rate))
        return at._replace(momenta=kept + delta * at.forces * self.matter.each(exprel(-rate)))

    def _push_volume(self, at: Moving, delta: float) -> Moving:
        """Change the momentum of the volume; the structures stay as they are."""
        assert at.stress is not None
        twice = 2.0 * self.matter.kinetic(at.momenta)
        trace = at.stress.diagonal(dim1=1, dim2=2).sum(1)
        inside = twice - volumes(at.cell) * trace  # 3 p V
        force = inside - 3.0 * volumes(at.cell) * self.pressure + twice / self.count
        self.momentum = self.momentum + delta * force
        return at

    def bath(self, at: Moving) -> Tensor:
        """Chains, kinetic energy of the volume, work against the pressure."""
        first, *others = [*self.thermostat.positions, *self.barostat.positions]
        heat = 3.0 * self.count * first + torch.stack(others).sum(0)
        own = self.momentum**2 / (2.0 * self.mass) + self.pressure * volumes(at.cell)
        return self.heat * heat + self.thermostat.energy + self.barostat.energy + own

    def state(self) -> dict[str, np.ndarray]:
        """Momenta of volumes, positions and momenta of the chains."""
        out = {"p_eps": self.momentum.cpu().numpy()}
        for name, chain in (("eta", self.thermostat), ("xi", self.barostat)):
            out[name] = torch.stack(chain.positions, 1).cpu().numpy()
            out[f"p_{name}"] = torch.stack(chain.momenta, 1).cpu().numpy()
        return out

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        device = self.momentum.device
        self.momentum = torch.as_tensor(state["p_eps"]).to(device)
        for name, chain in (("eta", self.thermostat), ("xi", self.barostat)):
            chain.positions = list(torch.as_tensor(state[name]).to(device).unbind(1))
            chain.momenta = list(torch.as_tensor(state[f"p_{name}"]).to(device).unbind(1))
