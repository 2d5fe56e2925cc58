"""LRCalculator: the potential as an ASE calculator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes, all_properties
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress

from lrcalc.callers import users_line
from lrcalc.evaluator import Evaluator
from lrcalc.field_views import FieldViews
from lrcalc.fields import KINDS, Field, check_field
from lrcalc.information.guard import Guard
from lrcalc.models.branch import Past, evaluate_on_branch
from lrcalc.models.potential import Potential
from lrcalc.properties import PROPERTIES, as_names, needing
from lrcalc.seen import Seen

if TYPE_CHECKING:
    from ase import Atoms


STILL = 20
"""Structures in a row at one time after which a time-dependent field warns."""

SETTABLE = ("field", *KINDS, "time", "also", "follow_branch")
"""What may be changed between calls."""

FIXED = (
    "model", "device", "dtype", "epsilon_infinity", "asr_projection", "allow_net_charge",
    "trust_pickle",
)  # fmt: skip
"""Arguments that cannot be changed: an attribute of that name would be set and have no effect."""


class Implemented:
    """ASE's ``implemented_properties``: all that there are when it is looked at."""

    def __get__(self, owner: Any, owner_type: type) -> list[str]:
        """Names, with ASE's other one for the energy."""
        return ["energy", "free_energy", *(name for name in PROPERTIES if name != "energy")]


class LRCalculator(FieldViews, Calculator):
    """ASE calculator with electrostatics and electrical response.

    Parameters
    ----------
    model : str, path-like or Potential
        Bundled name (``lrcalc.bundled()``), model file, or potential.
    device, dtype, epsilon_infinity, asr_projection, allow_net_charge, trust_pickle, compile
        As for `lrcalc.Evaluator`.
    field, electric_field, electric_displacement, reduced_field : optional
        What is held, one of them, as for `lrcalc.Evaluator`; or a function of `time` (fs) that
        returns (3,). ASE's own dynamics do not tell a calculator the time: use
        `lrcalc.dynamics.Simulation` or `lrcalc md`, or set `time` before each step.
    follow_branch : bool, optional
        Undo jumps of atoms by lattice vectors between calls, so that dipole and enthalpy stay on
        one branch when a trajectory is wrapped. Structures in which most atoms are elsewhere than
        in the last call start a new branch; `reset_branch` forgets the history.
    also : sequence of str, optional
        Properties that come with energy and forces, in the same call: a dipole that an integrator
        will want to record costs next to nothing so, and a forward pass when asked for later.
        Not the current, which needs velocities that integrators change after the forces.
    watch : bool, optional
        Warn, once, of a structure outside of what the model was trained on, if its file tells
        (`lrcalc.information.guard`). Settable.

    Attributes
    ----------
    field : Field or None
        What is held; settable, as are its views electric_field, electric_displacement and
        reduced_field, which show the value (3,) of the last evaluation if it depends on time.
    also : tuple of str
        Settable between steps.
    time : float
        fs; what time-dependent fields are evaluated at. Whoever integrates sets it, before the
        forces of that time are computed (`lrcalc.dynamics` does). Setting it leaves results that
        were already computed as they are: they belong to the time they were computed at. Whatever
        is computed next in another field replaces them all, so that `results` are of one field.

    Notes
    -----
    Results are those of `lrcalc.properties.PROPERTIES`; stress (6,) is in ASE's Voigt order, and
    ``results["electric_field"]`` is there whenever a field is held. Energy and forces come
    together, with what `also` names; everything else is computed when it is asked for.

    At constant D (and for enthalpies in a field, by a constant) the branch of the dipole matters: a
    structure that is wrapped differently from the start is another state of D.

    ASE's writers of extended xyz cannot write Born charges; `lrcalc.write_extxyz` can.

    Atomic charges in periodic cells have no enthalpy (physics §4): the force of the field is
    ``E·born`` and the energy contains the work that it has done since the calculator first saw
    the structure, by the trapezoidal rule.

    Weights that change in place (``load_state_dict``, an optimizer's step, ``.double()``) are
    noticed, and results of the old ones forgotten; after writing into ``parameter.data`` or into a
    numpy view, of which torch keeps no count, call ``reset()``.

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

    implemented_properties = Implemented()

    atoms: Atoms | None  # what `results` are of
    results: dict[str, Any]

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential = "water",
        *,
        device: str = "cpu",
        dtype: str = "float32",
        field: Field | None = None,
        electric_field: Any = None,
        electric_displacement: Any = None,
        reduced_field: Any = None,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
        allow_net_charge: bool = False,
        trust_pickle: bool = False,
        compile: bool = False,
        follow_branch: bool = True,
        also: Sequence[str] = (),
        watch: bool = True,
    ) -> None:
        super().__init__()
        self.evaluator = Evaluator(
            model, device=device, dtype=dtype, epsilon_infinity=epsilon_infinity,
            asr_projection=asr_projection, allow_net_charge=allow_net_charge,
            trust_pickle=trust_pickle, compile=compile,
        )  # fmt: skip
        self.time = 0.0
        self.also = also
        self._model = "a Potential" if isinstance(model, Potential) else os.fspath(model)
        self.watch = watch
        self._guard = Guard(self._model)
        self._conditions: tuple[Any, ...] = ()  # under which `results` of `atoms` were obtained
        self._seen: Seen | None = None  # what `results` are of
        self._residual = float("nan")
        self._past = Past()
        self._follow_branch = follow_branch
        self._last_time = self.time
        self._unmoved = 0  # structures in a row that a time-dependent field saw at one time
        self.field = Field.from_arguments(
            electric_field, electric_displacement, reduced_field, field=field
        )

    @property
    def also(self) -> tuple[str, ...]:
        """Properties that are computed together with energy and forces."""
        return self._also

    @also.setter
    def also(self, names: Sequence[str]) -> None:
        names_ = self.implemented_properties
        allowed = [name for name in names_ if name not in needing("velocities", PROPERTIES)]
        if isinstance(names, str) or set(names) - set(allowed):
            raise ValueError(f"`also` is {names!r} but must be a list of names among {allowed}")
        self._also = tuple(names)

    @property
    def field(self) -> Field | None:
        """What is held, constant or a function of `time`; None for nothing."""
        return self._field

    @field.setter
    def field(self, value: Field | None) -> None:
        self.evaluator.field = None if value is None else check_field(value).at(self.time)
        self._field = value
        self._unmoved = 0
        self.reset()

    @property
    def field_now(self) -> Field | None:
        """What was held in the last evaluation."""
        return self.evaluator.field

    @property
    def follow_branch(self) -> bool:
        """Whether jumps by lattice vectors are undone; setting it forgets the history."""
        return self._follow_branch

    @follow_branch.setter
    def follow_branch(self, value: bool) -> None:
        self._follow_branch = value
        self.reset_branch()

    @property
    def sum_rule_residual(self) -> float:
        """Largest violation (e per atom) of the acoustic sum rule in the Born charges' results.

        It was projected out of them if ``asr_projection``. NaN while `results` have none.
        """
        return self._residual if "born_effective_charges" in self.results else float("nan")

    @property
    def varies(self) -> bool:
        """Whether a field depends on time."""
        return self._field is not None and self._field.varies

    @property
    def charge_work(self) -> float:
        """Work (eV) of a field on atomic charges in a periodic cell so far; settable."""
        return self._past.work

    @charge_work.setter
    def charge_work(self, value: float) -> None:
        self._past = Past(work=value)
        self.reset()

    def reset_branch(self) -> None:
        """Forget on which branch of the dipole the last structure was, and work done so far."""
        self._past = Past()
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

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """ASE's; without ``atoms`` that of the last structure, if nothing else has changed."""
        return super().get_property(name, self.atoms if atoms is None else atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute ``properties`` of ``atoms`` into ``results``; called by ASE and others.

        What the caller says has changed is not relied upon. ``results`` are of one structure
        under one condition; a calculation that fails leaves none of another.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("`atoms` is None and this calculator has no structure yet; give one")
        changes = self._forget_unless_of(atoms)
        if self.varies:
            self._take_field(moved="positions" in changes)
            self._forget_unless_of(atoms)
        wanted = {"energy" if name == "free_energy" else name for name in properties or ["energy"]}
        if wanted & {"energy", "forces", "stress"}:
            wanted |= {"energy", "forces", *self.also}
        if self.evaluator.in_field:
            wanted.add("electric_field")
        result, self._past = evaluate_on_branch(
            self.evaluator, self._past, atoms, as_names(wanted), follow=self.follow_branch
        )
        if "energy" in result:
            result["free_energy"] = result["energy"]
        if "stress" in result:
            result["stress"] = full_3x3_to_voigt_6_stress(result["stress"])
        if "born_effective_charges" in result:
            self._residual = self.evaluator.sum_rule_residual
        self._conditions = self._now()
        self._see(atoms)
        self.results.update(locked(result))
        if self.watch:
            self._guard.see(self.evaluator.potential, atoms)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Say what changed since the last call: charge counts, velocities only for the current."""
        if self.atoms is None or self._seen is None or self._conditions != self._now():
            return list(all_changes)
        changes = self._seen.changes(atoms, tol)
        if not changes and not np.array_equal(atoms.get_velocities(), self._seen.velocities):
            self.results.pop("current", None)
            self._see(atoms)
        return changes

    def _see(self, atoms: Atoms) -> None:
        """Remember what `results` are of."""
        self.atoms, self._seen = atoms.copy(), Seen.of(atoms)

    def _now(self) -> tuple[Any, ...]:
        """All that results depend on beside the structure."""
        return (*self.evaluator.conditions, self.follow_branch)

    def _forget_unless_of(self, atoms: Atoms) -> list[str]:
        """Drop results of another structure, or obtained under another condition."""
        changes = self.check_state(atoms)
        if changes:
            self.reset()
        return changes

    def _take_field(self, *, moved: bool) -> None:
        """Evaluate a field that depends on time; warn of a clock that stands still."""
        assert self._field is not None
        self.evaluator.field = self._field.at(self.time)
        self._unmoved = self._unmoved + moved if self.time == self._last_time else 0
        self._last_time = self.time
        if self._unmoved == STILL:
            warnings.warn(
                f"a field that depends on time was asked for {STILL} structures in a row at "
                f"time = {self.time:g} fs: whoever integrates must set `calculator.time` "
                "(lrcalc.dynamics.Simulation and `lrcalc md` do)",
                stacklevel=users_line(),
            )

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Tell what results depend on beside the structure: ASE's files and databases keep it."""
        held: dict[str, Any] = {}
        if self._field is not None:
            now = "function of time" if self.varies else list(self._field.value)
            held[self._field.kind] = now
        evaluator = self.evaluator
        return {
            "model": self._model, "dtype": str(evaluator.potential.dtype).removeprefix("torch."),
            "epsilon_infinity": evaluator.epsilon_infinity,
            "asr_projection": evaluator.asr_projection, **held,
        }  # fmt: skip

    def export_properties(self) -> Properties:
        """Results that ASE has a name for, and ``natoms`` (which SinglePointCalculator refuses)."""
        return Properties({k: v for k, v in self.results.items() if k in all_properties})

    def set(self, **settings: Any) -> dict[str, Any]:
        """ASE's way to set a field, `time`, `also` or `follow_branch`."""
        unknown = [name for name in settings if name not in SETTABLE]
        if unknown:
            raise ValueError(f"`{unknown[0]}` cannot be set; settable are {', '.join(SETTABLE)}")
        given = {name: settings.get(name) for name in ("field", *KINDS)}
        Field.from_arguments(**given)  # two exclude each other; what is given up comes first
        for name in sorted(settings, key=lambda name: settings[name] is not None):
            setattr(self, name, settings[name])
        return settings

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would be set in vain."""
        if name in FIXED:
            raise AttributeError(
                f"`{name}` is fixed when a calculator is made; make another one, "
                f"LRCalculator(…, {name}={value!r})"
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """For a copy or a pickle, whose weights lie elsewhere: whether results are still valid."""
        return {**self.__dict__, "_conditions": self._conditions == self._now()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy or a pickle: nothing that changes is shared with the original."""
        self.__dict__.update(state)
        self.evaluator, self._guard = copy(self.evaluator), copy(self._guard)
        self.results = locked(dict(self.results))
        self._conditions = self._now() if state["_conditions"] else ()


def locked(results: dict[str, Any]) -> dict[str, Any]:
    """Forbid changing arrays in place: `get_property` would return them again."""
    for value in results.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return results
