"""Replicas of a structure that move at once: a run with its accounts of energy and its state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from torch import Tensor

from lrcalc.arrays import split
from lrcalc.calculator import LRCalculator
from lrcalc.dynamics import check_start, conditions_of, start
from lrcalc.integrators import RunSettings, check_settings
from lrcalc.models.requests import check_results_finite
from lrcalc.replicas.integrators import make
from lrcalc.replicas.moving import Matter, Moving
from lrcalc.resident import Kind, Resident
from lrcalc.run_conditions import to_info
from lrcalc.run_identity import check_same, describe, pack
from lrcalc.run_state import generator_state, generator_words
from lrcalc.structures import degrees_of_freedom, total_charge
from lrcalc.system import volumes


class Replicas:
    """Many copies of a structure, an integrator, and the accounts of energy of each.

    Replica k is `lrcalc.dynamics.Simulation` with the seed ``settings.seed + k``, to rounding.

    Parameters
    ----------
    atoms : Atoms
        What all start from; not changed.
    calculator : LRCalculator
        Of which model, field and settings are taken; a field must be constant.
    settings : RunSettings
    count : int
        How many.

    Attributes
    ----------
    steps : int
        Done so far.
    identity : dict
        What must be the same for a saved state to be continued.
    notes : list of str
        What whoever starts the run should know.
    results : dict of str to Tensor
        Properties of all replicas after the last step.

    Raises
    ------
    ValueError
        For settings that make no sense, a structure that cannot move, a field that cannot be held
        here, or replicas that would all be the same run.
    """

    def __init__(
        self, atoms: Atoms, calculator: LRCalculator, settings: RunSettings, count: int = 1
    ) -> None:
        self.settings, self.calculator, self.count = settings, calculator, count
        if count < 1:
            raise ValueError(f"`count` is {count} but must be 1 or more")
        fixed = check_start(atoms)
        check_settings(settings, atoms)
        check_field(calculator, atoms)
        if count > 1 and settings.ensemble != "nvt" and atoms.get_momenta()[~fixed].any():
            raise ValueError(
                f"{count} replicas at the velocities of the structure would be {count} times the "
                f"same run (ensemble {settings.ensemble}): remove its velocities, so that each "
                "draws its own, or take nvt, or one replica"
            )
        self.structures = [atoms.copy() for _ in range(count)]
        seeds = range(settings.seed, settings.seed + count)
        self.generators = [np.random.default_rng(seed) for seed in seeds]
        for copy, generator in zip(self.structures, self.generators, strict=True):
            self.notes = start(copy, settings.temperature, generator, fixed)
        evaluator = calculator.evaluator
        pushed = evaluator.in_field and total_charge(atoms) != 0.0
        if pushed:
            self.notes.append("a net charge in a field accelerates the structure as a whole")
        degrees = degrees_of_freedom(self.structures[0], fixed, pushed=pushed)
        self.identity = describe(atoms, calculator, settings._asdict())
        self.identity |= {"degrees_of_freedom": degrees, "engine": "torch", "replicas": count}
        self.device = torch.device(evaluator.device)
        self.matter = self._matter(atoms, fixed, degrees)
        self.integrator = make(self.matter, settings, self.generators)
        self.resident = self._resident(atoms)
        self.names = {"energy", "forces"} | ({"stress"} if settings.ensemble == "npt" else set())
        self.steps = 0
        self.results: dict[str, Tensor] = {}
        self.set_conditions()
        self._at = self._placed(
            np.concatenate([a.positions for a in self.structures]),
            np.concatenate([a.get_momenta() for a in self.structures]),
            np.stack([np.asarray(a.cell) for a in self.structures]),
        )

    def _matter(self, atoms: Atoms, fixed: np.ndarray, degrees: int) -> Matter:
        def there(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.tile(values, self.count)).to(self.device)

        batch = torch.arange(self.count).repeat_interleave(len(atoms)).to(self.device)
        return Matter(
            there(atoms.get_masses())[:, None], there((~fixed).astype(float))[:, None], batch,
            self.count, len(atoms), degrees,
        )  # fmt: skip

    def _resident(self, atoms: Atoms) -> Resident:
        evaluator, n = self.calculator.evaluator, self.count
        kind = Kind(
            np.tile(atoms.numbers, n).astype(np.int64), np.tile(atoms.pbc, (n, 1)),
            np.full(n, len(atoms)), np.full(n, total_charge(atoms)),
        )  # fmt: skip
        return Resident(
            evaluator.potential, kind, screening=evaluator.screening,
            asr_projection=evaluator.asr_projection, allow_net_charge=evaluator.allow_net_charge,
            compile=evaluator.compile,
        )  # fmt: skip

    def set_conditions(self, **known: Any) -> None:
        """Write the conditions of the run into every frame; more of them as ``known``."""
        first = self.structures[0]
        self.conditions = conditions_of(
            self.calculator, self.settings, first, temperature_of(first, self.matter.degrees)
        )._replace(**known)
        for atoms in self.structures:
            own = self.conditions
            if self.settings.ensemble == "nve":  # that of its start, which each has drawn
                own = own._replace(temperature=temperature_of(atoms, self.matter.degrees))
            atoms.info |= to_info(own)

    @property
    def time(self) -> float:
        """Simulated time, fs."""
        return self.steps * self.settings.timestep

    def _placed(self, positions: np.ndarray, momenta: np.ndarray, cell: np.ndarray) -> Moving:
        """Send structures to the device; nothing is known of them there yet."""
        sent = (torch.as_tensor(np.array(x)).to(self.device) for x in (positions, momenta, cell))
        place, speed, box = sent
        return Moving(place, speed, box, torch.zeros_like(box[:, 0, 0]), torch.zeros_like(place))

    def look(self, also: Iterable[str] = ()) -> None:
        """Compute energy, forces and ``also`` where the structures are."""
        self._at = self._evaluate(self._at, {*self.names, *also})

    def step(self, also: Iterable[str] = ()) -> None:
        """Advance by one time step; properties ``also`` come with the forces at its end."""
        if not self.results:
            self.look()
        names = {*self.names, *also}
        self._at = self.integrator.step(self._at, lambda at: self._evaluate(at, names))
        self.steps += 1

    def _evaluate(self, at: Moving, names: set[str]) -> Moving:
        held = self.calculator.field
        values = self.resident(at.positions, at.cell, names, held)
        self.results = values
        forces = values["forces"].double() * self.matter.mobile
        return at._replace(energy=values["energy"], forces=forces, stress=values.get("stress"))

    def add(self, names: Iterable[str]) -> None:
        """Compute further properties of the structures as they are, with their velocities."""
        at = self._at
        velocities = at.momenta / self.matter.masses * units.fs
        self.results |= self.resident(
            at.positions, at.cell, names, self.calculator.field, velocities
        )

    def conserved(self) -> np.ndarray:
        """Conserved quantity of each replica, eV (`lrcalc.dynamics`), (S,)."""
        at = self._at
        total = at.energy + self.matter.kinetic(at.momenta) + self.integrator.bath(at)
        return total.cpu().numpy()

    def temperatures(self) -> np.ndarray:
        """Of this moment, K, (S,)."""
        kinetic = self.matter.kinetic(self._at.momenta).cpu().numpy()
        return 2.0 * kinetic / (units.kB * self.matter.degrees)

    def pressures(self) -> np.ndarray:
        """Of this moment, with that of the kinetic energy, GPa, (S,)."""
        at = self._at
        assert at.stress is not None, "no stress was computed"
        inside = 2.0 * self.matter.kinetic(at.momenta) / volumes(at.cell)
        trace = at.stress.diagonal(dim1=1, dim2=2).sum(1)
        return ((inside - trace) / 3.0).cpu().numpy() / units.GPa

    def frames(self) -> list[Atoms]:
        """Replicas as they are now, with their results, for files.

        Raises
        ------
        ValueError
            For results that are not numbers.
        """
        values = split(self.results, [self.matter.atoms] * self.count)
        check_results_finite(values)
        places = self._arrays()
        for k, (atoms, result) in enumerate(zip(self.structures, values, strict=True)):
            mine = slice(k * self.matter.atoms, (k + 1) * self.matter.atoms)
            atoms.set_cell(places["cell"][k])
            atoms.set_positions(places["positions"][mine], apply_constraint=False)
            atoms.set_momenta(places["momenta"][mine], apply_constraint=False)
            atoms.info |= {"step": self.steps, "time_fs": self.time}
            atoms.calc = SinglePointCalculator(atoms)
            atoms.calc.results = result
        return self.structures

    def _arrays(self) -> dict[str, np.ndarray]:
        at = self._at
        parts = {"positions": at.positions, "momenta": at.momenta, "cell": at.cell}
        return {name: part.cpu().numpy() for name, part in parts.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Everything a continued run needs, as arrays."""
        return {
            "steps": np.array(self.steps), "run": pack(self.identity), **self._arrays(),
            "rng": np.stack([generator_words(g) for g in self.generators]),
            **self.integrator.state(),
        }  # fmt: skip

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned.

        Raises
        ------
        ValueError
            If the state is of another run, naming what differs.
        """
        check_same(state.get("run"), self.identity)
        self.steps = int(state["steps"])
        self._at = self._placed(state["positions"], state["momenta"], state["cell"])
        self.results = {}
        for generator, words in zip(self.generators, state["rng"], strict=True):
            generator.bit_generator.state = generator_state(words)
        self.integrator.restore(state)


def temperature_of(atoms: Atoms, degrees: int) -> float:
    """Temperature, K, of the velocities of so many degrees of freedom."""
    return float(2.0 * atoms.get_kinetic_energy() / (units.kB * degrees))


def check_field(calculator: LRCalculator, atoms: Atoms) -> None:
    """Refuse what is held where its work cannot be accounted for here."""
    held = calculator.field
    if held is None:
        return
    way_out = "one run after another can (`lrcalc md --engine ase`)"
    if held.varies:
        raise ValueError(
            f"{held} depends on time, and replicas keep no account of its work; {way_out}"
        )
    config = calculator.evaluator.potential.config
    if config["charges"] == "atomic" and config["level"] != "sr" and atoms.pbc.any():
        raise ValueError(
            f"{held} is held on atomic charges in a periodic cell: its forces have no energy, and "
            f"replicas keep no account of their work; {way_out}"
        )
