"""TorchSimModel: a potential behind torch-sim's `ModelInterface`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from lrcalc.checkpoint import opened
from lrcalc.field_views import HoldsConstantField
from lrcalc.fields import Field
from lrcalc.memory import keep_freed_memory
from lrcalc.models.potential import Potential
from lrcalc.models.requests import check_device
from lrcalc.models.screening import screening_factor
from lrcalc.properties import PROPERTIES, as_names, needing
from lrcalc.resident import Kind, Resident
from lrcalc.torchsim.branch import Branch
from lrcalc.torchsim.states import Kinds, Read, read


class TorchSimModel(ModelInterface, HoldsConstantField):
    """Energies, forces, stresses and electrical properties of the structures of a state.

    What a structure gets does not depend on the others of its batch, and is what `LRCalculator`
    gives for it alone, beyond rounding. Tensors stay on the device.

    Parameters
    ----------
    model : str, path-like or Potential
        As for `lrcalc.load`; or a potential, which is used as it is, not copied.
    device : str, optional
        Torch device; states are to be there.
    dtype : {"float32", "float64"}, optional
        Of the weights. States, energies and forces are float64 in any case (`dtype`, which
        torch-sim makes states in): positions and sums keep their digits in a model of float32.
    field, electric_field, electric_displacement, reduced_field : optional
        What is held, one of them, the same for all structures, as for `lrcalc.Evaluator`.
    properties : sequence of str, optional
        Further properties to compute in every call, among `lrcalc.properties.PROPERTIES`: "dipole",
        "polarization", "born_effective_charges", "charges", "polarizability", "electric_field", …
        Not the current, which needs velocities. They are entries of the output, under these names.
    compute_forces, compute_stress : bool, optional
        Settable. States that are not periodic in three directions have no stress: none is among
        the output.
    total_charge : float, optional
        e, of every structure of a state that does not say it: torch-sim 0.3 has no place for it,
        later ones system extras named "total_charge" or "charge".
    follow_branch : bool, optional
        Undo jumps of atoms by lattice vectors from call to call, as torch-sim 0.3 makes them, so
        that dipole and enthalpy stay on one branch; `forget` starts anew.
    epsilon_infinity, asr_projection, allow_net_charge, trust_pickle, compile
        As for `lrcalc.Evaluator`.

    Attributes
    ----------
    properties : tuple of str
        Settable.
    potential : Potential
    screening : float
        Physical over latent multipoles (`lrcalc.models.screening`): latent charges are ``charges``
        over it.

    Raises
    ------
    ValueError
        In a call: for species that the model does not know, properties or a field that it or a
        structure cannot have, overlapping atoms, or positions that are not finite.

    Notes
    -----
    A field on atomic charges in a periodic cell has forces that have no energy (physics §4), and a
    state has no place for the work they do: such a model is refused in a field.
    """

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
        properties: Sequence[str] = (),
        compute_forces: bool = True,
        compute_stress: bool = True,
        total_charge: float = 0.0,
        follow_branch: bool = True,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
        allow_net_charge: bool = False,
        trust_pickle: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        keep_freed_memory()
        # with its index, which tensors on it say
        self._device = torch.empty(0, device=check_device(str(device))).device
        self._dtype = torch.float64
        self.potential = opened(model, dtype=dtype, trust_pickle=trust_pickle).to(self._device)
        self.screening = screening_factor(self.potential.metadata, epsilon_infinity)
        self.asr_projection, self.allow_net_charge = asr_projection, allow_net_charge
        self.compile_functions = compile
        self._compute_forces, self._compute_stress = bool(compute_forces), bool(compute_stress)
        self.properties = properties
        self.follow_branch = follow_branch
        self._kinds = Kinds(total_charge)
        self.forget()
        self.field = Field.from_arguments(
            electric_field, electric_displacement, reduced_field, field=field
        )

    def forget(self) -> None:
        """Forget the structures of the last call, with the branch of their dipoles."""
        self._resident: Resident | None = None
        self._branch: Branch | None = None
        self._settings: tuple[Any, ...] = ()

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of further properties that every call gives."""
        return self._properties

    @properties.setter
    def properties(self, names: Sequence[str]) -> None:
        allowed = set(PROPERTIES) - needing("velocities", PROPERTIES)
        if isinstance(names, str) or as_names(names) - allowed:
            raise ValueError(
                f"`properties` is {names!r} but must be a list of names among {sorted(allowed)}"
            )
        self._properties = tuple(names)

    @ModelInterface.compute_forces.setter  # type: ignore[untyped-decorator]
    def compute_forces(self, value: bool) -> None:
        """Set whether forces are computed."""
        self._compute_forces = bool(value)

    @ModelInterface.compute_stress.setter  # type: ignore[untyped-decorator]
    def compute_stress(self, value: bool) -> None:
        """Set whether the stress is computed."""
        self._compute_stress = bool(value)

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Compute the properties of the structures of a state.

        Parameters
        ----------
        state : torch_sim.SimState, or dict of its attributes
            Positions, cells (columns are the lattice vectors), species, structure of each atom,
            boundary. Not changed.

        Returns
        -------
        dict of str to Tensor
            energy (S,) in eV, forces (N, 3) in eV/Å, stress (S, 3, 3) in eV/Å³ as they are asked
            for, and `properties` in their own shapes and units; of the type of the positions.
        """
        given = read(state)
        kind = self._kinds.of(given)
        self._check(given, kind)
        resident = self._resident_of(kind)
        names = {"energy", *self.properties}
        if self._compute_forces:
            names.add("forces")
        if self._compute_stress and bool(kind.pbc.all()):
            names.add("stress")
        positions = given.positions.detach().double()
        cell = self._rows(given.cell)
        if self.follow_branch and self._branch is not None:
            positions = self._branch(positions, cell)
        values = resident(positions, cell, names, self.field)
        return {name: value.to(given.positions.dtype) for name, value in values.items()}

    def _rows(self, columns: Tensor) -> Tensor:
        """Cells with rows as lattice vectors, the same tensor while they are not changed."""
        known = getattr(self, "_known_cell", None)
        if known is None or known[0] is not columns or known[1] != columns._version:
            rows = columns.detach().double().mT.contiguous()
            self._known_cell = known = (columns, columns._version, rows)
        return known[2]

    def _resident_of(self, kind: Kind) -> Resident:
        """Take what evaluated these structures in the last call, or make it."""
        settings = (self.potential, self.screening, self.asr_projection, self.allow_net_charge)
        if self._resident is None or self._resident.kind is not kind or settings != self._settings:
            self._settings = settings
            self._resident = Resident(
                self.potential, kind, screening=self.screening,
                asr_projection=self.asr_projection, allow_net_charge=self.allow_net_charge,
                compile=self.compile_functions,
            )  # fmt: skip
            charged = self.potential.config["level"] != "sr"
            self._branch = Branch(kind, self._device) if charged else None
        return self._resident

    def _check(self, given: Read, kind: Kind) -> None:
        if given.positions.device != self._device:
            raise ValueError(
                f"the state is on {given.positions.device} but the model on {self._device}: make "
                "the state with `device=model.device`"
            )
        config = self.potential.config
        atomic = config["charges"] == "atomic" and config["level"] != "sr"
        if self.field is not None and atomic and bool(np.any(kind.pbc)):
            raise ValueError(
                f"{self.field} is held, but this model has atomic charges and the structures are "
                "periodic: the forces of a field on them have no energy, and a state of torch-sim "
                "has no place for their work; use a model with local charges (charges='local'), "
                "LRCalculator or `lrcalc md`"
            )
