"""Evaluator: `predict` for lists of ASE structures, numpy arrays out. ASE and i-PI stand on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lrcalc.arrays import as_numpy, split
from lrcalc.captured.requests import Request
from lrcalc.captured.steps import Steps
from lrcalc.checkpoint import opened
from lrcalc.compiled import one_torch_thread
from lrcalc.door import Door
from lrcalc.electronic import ElectronicConstants
from lrcalc.field_views import HoldsConstantField
from lrcalc.fields import Field
from lrcalc.frames import Frames
from lrcalc.memory import keep_freed_memory
from lrcalc.models.potential import Potential
from lrcalc.models.requests import as_structures, check_device, check_results_finite
from lrcalc.models.versions import version_of
from lrcalc.neighbors import SKIN, NeighborList
from lrcalc.prediction import Options, Prediction, call_model, is_lean
from lrcalc.properties import as_names, needing
from lrcalc.system import System, as_frames, from_ase, from_frames, velocities_of

if TYPE_CHECKING:
    from ase import Atoms


class Evaluator(HoldsConstantField, ElectronicConstants):
    """Energies and electrical properties of batches of structures.

    Parameters
    ----------
    model : str, path-like or Potential
        As for `lrcalc.load`; or a potential, which is used as it is, not copied.
    device : str, optional
        Torch device.
    dtype : {"float32", "float64"}, optional
        Of the model. Energies and dipoles are summed in float64 in any case.
    field : Field, optional
        What is held, constant; or one of the next three (3,), instead (V/Å, e/Å², V:
        `lrcalc.Field`; which field is meant where boundaries are open: `lrcalc.models.boundary`).
    electric_field, electric_displacement, reduced_field : array-like, optional
    epsilon_infinity, asr_projection, allow_net_charge, trust_pickle
        As for `lrcalc.predict` and `lrcalc.load`.
    compile : bool, optional
        On a CPU use C++ for native models and the mesh, compiled on this machine at the first call
        (half a minute) and kept for later ones (`lrcalc.compiler`). Numbers agree to rounding.
        Without a compiler, or where there is nothing to compile, everything is as without it.

    Attributes
    ----------
    field, electric_field, electric_displacement, reduced_field, epsilon_infinity
        Settable between calls.
    sum_rule_residual : float
        Of the last call that asked for Born charges: largest component (e) of
        ``Σ_i born_i - Q 1`` per atom; NaN before.
    capture : bool
        Whether the same atoms, asked for again, are evaluated by one launch of a recorded step
        (`lrcalc.captured`): on a GPU, unless the environment has ``LRCALC_CAPTURE=0``. Settable.
    steps : lrcalc.captured.steps.Steps
        What was recorded; ``steps.reason`` says why the last call was not one of them.
    charge_forces : ndarray (N, 3) or None
        Of the last call: forces of the field on atomic charges in periodic cells, ``E·born``,
        which are in the forces but have no energy (physics §4). None where the energy is whole,
        or no forces were asked for.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from lrcalc import Evaluator
    >>> result, = Evaluator("water")([molecule("H2O")], ["energy", "dipole"])
    >>> sorted(result)
    ['dipole', 'energy']
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential,
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
    ) -> None:
        keep_freed_memory()
        self.device = check_device(device)
        potential = opened(model, dtype=dtype, trust_pickle=trust_pickle)
        self.potential = potential.to(self.device)
        self._pairs = NeighborList(self.potential.cutoff, SKIN)
        self._door = Door()
        self.steps = Steps(torch.device(self.device))
        self.capture = self.steps.launches and os.environ.get("LRCALC_CAPTURE") != "0"
        self.epsilon_infinity = epsilon_infinity
        self.asr_projection = asr_projection
        self.allow_net_charge = allow_net_charge
        self.compile = compile
        self.sum_rule_residual = float("nan")
        self.charge_forces: np.ndarray | None = None
        self.field = Field.from_arguments(
            electric_field, electric_displacement, reduced_field, field=field
        )

    @property
    def conditions(self) -> tuple[Any, ...]:
        """All that results depend on beside the structures; hashable, equal for equal results."""
        return (
            self.potential, version_of(self.potential), self.screening, self.asr_projection,
            self.allow_net_charge, self._field,
        )  # fmt: skip

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Evaluate all structures in one batched call; compute only what is asked for.

        Parameters
        ----------
        structures : sequence of Atoms
            Of any size, species and boundary that the model knows.
        properties : iterable of str
            Among `lrcalc.properties.PROPERTIES`, where meaning, units and shapes are.

        Returns
        -------
        list of dict
            For each structure, floats and arrays by the names of the properties.

        Raises
        ------
        ValueError
            For a property that is not known or that the structure or model cannot have, bad
            structures, or results that are not finite.
        """
        self.charge_forces = None  # also where the rest is refused
        wanted, structures = as_names(properties), as_structures(structures)
        frames = [as_frames(atoms, f"structure {k}") for k, atoms in enumerate(structures)]
        velocities = velocities_of(structures) if needing("velocities", wanted) else None
        out = self._evaluate(frames, wanted, velocities)
        check_results_finite(out)
        return out

    def of_frames(self, frames: Frames, properties: Iterable[str]) -> list[dict[str, Any]]:
        """As a call, for structures of the same atoms, in arrays; nothing that needs velocities.

        Whether results are finite is for the caller to see.
        """
        self.charge_forces = None
        return self._evaluate([frames], as_names(properties), None)

    def evaluate(
        self, structures: Sequence[Atoms], properties: Iterable[str] = ("polarizability",)
    ) -> Prediction:
        """Tensors of one batched call with what ``properties`` need; little is checked."""
        system = from_ase(list(structures), device=self.device)
        self.potential.check_species(system.numbers)
        return self._predict(system, as_names(properties), None)

    def _evaluate(
        self, frames: Sequence[Frames], names: set[str], velocities: np.ndarray | None
    ) -> list[dict[str, Any]]:
        self._door.check(
            self.potential, frames, names, self._field, allow_net_charge=self.allow_net_charge
        )
        sizes = [len(part.numbers) for part in frames for _ in part.cells]
        request = Request(frozenset(names), self._field, self.screening, self.asr_projection)
        again = self.steps(self.potential, frames, request) if self.capture else None
        if again is not None and not self.steps.doubtful:
            self.charge_forces = again.charge_forces
            if again.residual is not None:
                self.sum_rule_residual = again.residual
            return split(again.values, sizes)
        with one_torch_thread(is_lean(self.potential, names, self.compile)):
            prediction = self._predict(from_frames(frames, device=self.device), names, velocities)
            values = prediction.results(names)
        if again is not None:
            self.steps.confirm(request, again.values, values)
        if "born_effective_charges" in names:
            self.sum_rule_residual = float(prediction.born_residual.abs().max())
        if names & {"forces", "stress"} and prediction.charge_forces is not None:
            self.charge_forces = as_numpy(prediction.charge_forces)
        return split(values, sizes)

    def _predict(
        self, system: System, names: set[str], velocities: np.ndarray | None
    ) -> Prediction:
        given = None if velocities is None else torch.as_tensor(velocities, device=self.device)
        options = Options(self.screening, self.asr_projection, given, compile=self.compile)
        if self._pairs.cutoff != self.potential.cutoff:  # another potential was put in its place
            self._pairs = NeighborList(self.potential.cutoff, SKIN)
        pairs = self._pairs(system)
        return call_model(self.potential, system, pairs, self.field, names, options)
