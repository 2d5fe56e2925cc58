"""LRCalculator: the potential as an ASE calculator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from lrcalc.evaluator import Evaluator
from lrcalc.models.branch import Branch
from lrcalc.models.potential import Potential

if TYPE_CHECKING:
    from ase import Atoms


STILL = 20
"""Structures in a row at one time after which a time-dependent field warns."""


class LRCalculator(Calculator):
    """ASE calculator with electrostatics and electrical response.

    Parameters
    ----------
    model : str, path-like or Potential
        Bundled name (``lrcalc.bundled()``), model file, or potential.
    device, dtype, epsilon_infinity, asr_projection, allow_net_charge
        As in `lrcalc.Evaluator`.
    electric_field : array-like (3,) or callable, V/Å, optional
        Constant E, or a function of `time` (fs) that returns (3,). ASE's own dynamics do not
        tell a calculator the time: use `lrcalc.dynamics.Simulation` or `lrcalc md`, or set
        `time` before each step.
    electric_displacement : array-like (3,) or callable, e/Å², optional
        Constant D, or a function of `time`.
    reduced_field : array-like (3,) or callable, V, optional
        Constant voltage along each lattice vector, or a function of `time`.
    follow_branch : bool, optional
        Undo jumps of atoms by lattice vectors between calls, so that dipole and enthalpy stay on
        one branch when a trajectory is wrapped. Structures in which most atoms are elsewhere than
        in the last call start a new branch; `reset_branch` forgets the history.
    also : sequence of str, optional
        Properties that come with energy and forces, in the same call: a dipole that an integrator
        will want to record costs next to nothing so, and a forward pass when asked for later.
        Not the current, which needs velocities that integrators change after the forces.

    Attributes
    ----------
    also : tuple of str
        Settable between steps.
    time : float
        fs; what time-dependent fields are evaluated at. Whoever integrates sets it, before the
        forces of that time are computed (`lrcalc.dynamics` does). Setting it leaves results that
        were already computed as they are: they belong to the time they were computed at. Whatever
        is computed next in another field replaces them all, so that `results` are of one field.

    Notes
    -----
    Results: energy and free_energy (eV), forces (N, 3), stress (6,) in ASE's Voigt order (eV/Å³),
    dipole (3,) e Å, polarization (3,) e/Å², born_effective_charges (N, 3, 3) e as
    [atom, field, displacement], polarizability (3, 3) e Å²/V, polarizability_derivative
    (N, 3, 3, 3) e Å/V as [atom, displacement, a, b], charges (N,) e, current (3,) e Å/fs,
    dielectric_tensor (3, 3), the electronic permittivity that the forces hold
    (`Evaluator.enthalpy_permittivity`; for optics see `Evaluator.optical_permittivity`). In a
    field the energy is the electric enthalpy, forces and stress are its derivatives (stress at
    constant E with ``electric_field``, at constant voltage with ``reduced_field``), and
    ``results["electric_field"]`` is the field of that moment. Energy and forces come together,
    with what `also` names; everything else is computed when it is asked for.

    Born charges, polarizability and current in a field are those in that field. At constant D
    (and for enthalpies in a field, by a constant) the branch of the dipole matters: a structure
    that is wrapped differently from the start is another state of D.

    ASE's writers of extended xyz cannot write Born charges; `lrcalc.write_extxyz` can.

    Atomic charges in periodic cells have no enthalpy (physics §4): the force of the field is
    ``E·born`` and the energy contains the work that it has done since the calculator first saw
    the structure, by the trapezoidal rule.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from lrcalc import LRCalculator
    >>> water = molecule("H2O")
    >>> water.calc = LRCalculator("water", dtype="float64")
    >>> water.get_forces().shape
    (3, 3)
    >>> water.calc.get_property("born_effective_charges", water).shape
    (3, 3, 3)
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy", "free_energy", "forces", "stress", "dipole", "polarization",
        "born_effective_charges", "polarizability", "polarizability_derivative", "charges",
        "current", "electric_field", "dielectric_tensor",
    ]  # fmt: skip

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential = "water",
        *,
        device: str = "cpu",
        dtype: str = "float32",
        electric_field: Any = None,
        electric_displacement: Any = None,
        reduced_field: Any = None,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
        allow_net_charge: bool = False,
        follow_branch: bool = True,
        also: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.evaluator = Evaluator(
            model, device=device, dtype=dtype, epsilon_infinity=epsilon_infinity,
            asr_projection=asr_projection, allow_net_charge=allow_net_charge,
        )  # fmt: skip
        self.time = 0.0
        self.follow_branch = follow_branch
        self.also = also
        self._branch = Branch()
        self._work = Work()
        self._source: dict[str, Callable[[float], Any]] = {}
        self._last_time = self.time
        self._unmoved = 0  # structures in a row that a time-dependent field saw at one time
        self.electric_field = electric_field
        self.electric_displacement = electric_displacement
        self.reduced_field = reduced_field

    @property
    def also(self) -> tuple[str, ...]:
        """Properties that are computed together with energy and forces."""
        return self._also

    @also.setter
    def also(self, names: Sequence[str]) -> None:
        allowed = [name for name in self.implemented_properties if name != "current"]
        if isinstance(names, str) or set(names) - set(allowed):
            raise ValueError(f"`also` is {names!r} but must be a list of names among {allowed}")
        self._also = tuple(names)

    def _set(self, name: str, value: Any) -> None:
        setattr(self.evaluator, name, at_time(name, value, self.time) if callable(value) else value)
        self._source.pop(name, None)
        if callable(value):
            self._source[name] = value
        self._unmoved = 0
        self.reset()

    @property
    def electric_field(self) -> np.ndarray | None:
        """Constant field (3,), V/Å, or None; of the last evaluation if it depends on time."""
        return self.evaluator.electric_field

    @electric_field.setter
    def electric_field(self, value: Any) -> None:
        self._set("electric_field", value)

    @property
    def electric_displacement(self) -> np.ndarray | None:
        """Constant electric displacement (3,), e/Å², or None."""
        return self.evaluator.electric_displacement

    @electric_displacement.setter
    def electric_displacement(self, value: Any) -> None:
        self._set("electric_displacement", value)

    @property
    def reduced_field(self) -> np.ndarray | None:
        """Constant voltage (3,) along the lattice vectors, V, or None."""
        return self.evaluator.reduced_field

    @reduced_field.setter
    def reduced_field(self, value: Any) -> None:
        self._set("reduced_field", value)

    @property
    def sum_rule_residual(self) -> float:
        """Largest violation (e per atom) of the acoustic sum rule that was projected out."""
        return self.evaluator.sum_rule_residual

    @property
    def varies(self) -> bool:
        """Whether a field depends on time."""
        return bool(self._source)

    @property
    def charge_work(self) -> float:
        """Work (eV) of a field on atomic charges in a periodic cell so far; settable."""
        return self._work.total

    @charge_work.setter
    def charge_work(self, value: float) -> None:
        self._work = Work()
        self._work.total = value

    def reset_branch(self) -> None:
        """Forget on which branch of the dipole the last structure was, and work done so far."""
        self._branch = Branch()
        self._work = Work()
        self.reset()

    def dipole_quantum(self, atoms: Atoms) -> dict[str, np.ndarray]:
        """Jumps of the dipole when one atom of a species moves by a lattice vector.

        Returns
        -------
        dict
            Symbol → (3, 3) array, e Å: row a is the jump for lattice vector a (zero along open
            directions). The dipole of a periodic structure means something modulo integer sums of
            these.
        """
        charges = self.evaluator.constant_charges(atoms)
        cell = np.where(atoms.pbc[:, None], np.asarray(atoms.cell), 0.0)
        return {symbol: charge * cell for symbol, charge in charges.items()}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute ``properties`` of ``atoms`` into ``results``; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self._take_field(moved="positions" in system_changes)
        wanted = set(properties or ["energy"])
        if wanted & {"energy", "free_energy", "forces", "stress"}:
            wanted |= {"energy", "forces", *self.also}
        wanted.discard("free_energy")
        if self.evaluator.in_field:
            wanted.add("electric_field")
        seen = self._branch.follow(self.atoms) if self.follow_branch else self.atoms
        (result,) = self.evaluator([seen], wanted)
        if "energy" in result:
            result["energy"] += self._work.add(seen, self.evaluator.charge_forces)
            result["free_energy"] = result["energy"]
        if "stress" in result:
            result["stress"] = voigt(result["stress"])
        self.results.update(result)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Say what changed since the last call: charge counts, velocities only for the current."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self.atoms is None:
            return changes
        if atoms.info.get("charge", 0.0) != self.atoms.info.get("charge", 0.0):
            changes.append("initial_charges")
        if "current" in self.results and not np.array_equal(
            atoms.get_velocities(), self.atoms.get_velocities()
        ):
            del self.results["current"]
        return changes

    def _take_field(self, *, moved: bool) -> None:
        """Evaluate time-dependent fields; results of another field are forgotten."""
        for name, function in self._source.items():
            before = getattr(self.evaluator, name)
            value = at_time(name, function, self.time)
            setattr(self.evaluator, name, value)
            if not np.array_equal(before, getattr(self.evaluator, name)):
                self.results: dict[str, Any] = {}
        if not self._source:
            return
        self._unmoved = self._unmoved + moved if self.time == self._last_time else 0
        self._last_time = self.time
        if self._unmoved == STILL:
            warnings.warn(
                f"a field that depends on time was asked for {STILL} structures in a row at "
                f"time = {self.time:g} fs: whoever integrates must set `calculator.time` "
                "(lrcalc.dynamics.Simulation and `lrcalc md` do)",
                stacklevel=4,
            )


def at_time(name: str, function: Callable[[float], Any], time: float) -> Any:
    """Value of a time-dependent field; it has to have one."""
    try:
        value = function(time)
    except TypeError as error:
        raise ValueError(
            f"`{name}` is a function that cannot be called with the time in fs as its only "
            f"argument: {error}"
        ) from error
    if value is None:
        raise ValueError(
            f"`{name}` returned None at time {time:g} fs but must return three numbers; does the "
            "function lack a `return`?"
        )
    return value


class Work:
    """Work of forces that have no energy, along the positions they were computed at."""

    def __init__(self) -> None:
        self.total = 0.0
        self._positions: np.ndarray | None = None
        self._forces: np.ndarray | None = None

    def add(self, atoms: Atoms, forces: np.ndarray | None) -> float:
        """Add the step to ``atoms`` (trapezoidal rule); return minus the work so far, eV."""
        if forces is None:
            return 0.0
        positions = atoms.get_positions()
        if self._positions is not None and self._forces is not None:
            if len(positions) == len(self._positions):
                step = positions - self._positions
                self.total += float(0.5 * ((forces + self._forces) * step).sum())
            else:
                self.total = 0.0
        self._positions, self._forces = positions, forces
        return -self.total


def voigt(stress: np.ndarray) -> np.ndarray:
    """(3, 3) → (6,) in ASE's order xx, yy, zz, yz, xz, xy."""
    return stress.reshape(9)[[0, 4, 8, 5, 2, 1]]
