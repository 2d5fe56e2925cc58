"""Potential: backbone + readout + electrostatics, one energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrcalc.domain import total
from lrcalc.electrostatics import ElectrostaticsResult, Ewald
from lrcalc.electrostatics.sums import Geometry
from lrcalc.models.backbone import (
    NATIVE,
    AnyReadout,
    Backbone,
    Features,
    build_backbone,
    find_backbone,
    find_readout,
    species_table,
)
from lrcalc.models.blocks import features_of, for_all
from lrcalc.models.card import VOLUME_PER_ATOM
from lrcalc.models.compiled_vectors import vectors_of
from lrcalc.models.ghosts import owned_readings
from lrcalc.models.options import complete_config, told_config
from lrcalc.models.pickling import Picklable
from lrcalc.models.prior import build_prior
from lrcalc.models.readout import Readings, Readout, build_readout
from lrcalc.models.repulsion import repulsion
from lrcalc.models.screening import charge_screening, screening_factor
from lrcalc.models.surface import PolarizabilitySurface
from lrcalc.models.terms import Terms
from lrcalc.models.wall import build_wall
from lrcalc.neighbors import Pairs, pair_vectors
from lrcalc.system import System, structure_sums

EWALD_OPTIONS = (
    "smearing", "k_cutoff", "accuracy", "iterations", "remove_self_interaction", "strength",
)  # fmt: skip
"""Options of a potential that `Ewald` takes as they are."""


class Potential(Picklable):
    """A semi-local potential with latent polarizable multipoles (physics §1).

    Parameters
    ----------
    species : sequence of int
        Atomic numbers.
    backbone : str or Backbone
        Name in `lrcalc.models.backbone.BACKBONES`, or one that is made already: then the potential
        cannot be saved, for a file holds the name and the settings to make it from.
    **config
        Options (`lrcalc.models.options.DEFAULTS`) and settings of the backbone; others by default.

    Attributes
    ----------
    backbone : Backbone
    readout : AnyReadout
        `Readout`, unless the backbone brings its own or it was made by hand (`compose`).
    ewald : Ewald or None
        The electrostatics; None for a short-ranged model (level "sr"), or one whose energies
        have it in them (`own_field`).
    prior : NuclearRepulsion or None
        A repulsion that is not learned (option ``prior``).
    wall : Wall or None
        What keeps atoms from coming closer than in any training frame (option ``wall``).
    surface : PolarizabilitySurface or None
        Made with the option ``surface`` (its hidden width; 0 for none) or `add_surface`.
    species : tuple of int
        Atomic numbers the model knows, ascending.
    config : dict
        All options; ``backbone`` is among them unless it is the native one.
    metadata : dict
        The card of the model: epsilon_infinity, data, errors, licence, ...
    environments : dict or None
        Tensors and plain values that say what it was trained on (`lrcalc.information.reference`).
    """

    reference_energy: Tensor
    species_of_number: Tensor

    def __init__(
        self, species: Sequence[int], *, backbone: str | Backbone = NATIVE, **config: Any
    ) -> None:
        super().__init__()
        species = tuple(sorted(int(z) for z in species))
        settings = dict(find_backbone(backbone).defaults) if isinstance(backbone, str) else {}
        options = complete_config(settings, config)
        readout = None
        if isinstance(backbone, str):
            if backbone != NATIVE:
                options["backbone"] = backbone
            readout = find_readout(backbone)
            chosen = {name: options[name] for name in settings}
            backbone = build_backbone(backbone, species, chosen)
        else:
            options["backbone"] = None
        _check_species(species, backbone)
        read = (readout or build_readout)(species, backbone, options)
        ewald = None
        if options["level"] != "sr" and not has_own_field(read):
            ewald = Ewald(**{name: options[name] for name in EWALD_OPTIONS})
        self._assemble(species, backbone, read, ewald, told_config(settings, options))
        if options["surface"]:
            self.add_surface(options["surface"])

    @classmethod
    def compose(
        cls,
        backbone: Backbone,
        readout: AnyReadout,
        ewald: Ewald | None,
        *,
        species: Sequence[int] | None = None,
    ) -> Potential:
        """Make a potential of modules that were made by hand; it cannot be saved.

        Parameters
        ----------
        backbone : Backbone
        readout : AnyReadout
            Of the widths of the backbone, and for as many species as ``species``.
        ewald : Ewald or None
            None for a readout of level "sr" or with an energy of its own in a field, and only
            there.
        species : sequence of int, optional
            Atomic numbers; all that the backbone knows by default.
        """
        if (ewald is None) != (readout.level == "sr" or has_own_field(readout)):
            raise ValueError(
                f"`ewald` is {ewald!r} but `readout` is of level {readout.level!r}: charges need "
                "an Ewald, and a short-ranged model (level 'sr') None"
            )
        known = tuple(sorted(int(z) for z in (backbone.species if species is None else species)))
        _check_species(known, backbone)
        options = complete_config({}, {"level": readout.level, "charges": readout.charges})
        if ewald is not None:
            options |= {name: getattr(ewald, name) for name in EWALD_OPTIONS}
        potential = cls.__new__(cls)
        nn.Module.__init__(potential)
        potential._assemble(known, backbone, readout, ewald, {**options, "backbone": None})
        return potential

    def _assemble(
        self,
        species: tuple[int, ...],
        backbone: Backbone,
        readout: AnyReadout,
        ewald: Ewald | None,
        options: dict[str, Any],
    ) -> None:
        """Put the parts together, in a module that has none yet."""
        self.species = species
        self.config = options
        self.metadata: dict[str, Any] = {"epsilon_infinity": 1.0}
        self.environments: dict[str, Any] | None = None
        self.backbone = backbone
        self.readout = readout
        self.ewald = ewald
        self.register_buffer("species_of_number", species_table(species), persistent=False)
        zero = torch.zeros(len(species), dtype=torch.float64)
        self.register_buffer("reference_energy", zero)
        self.surface: PolarizabilitySurface | None = None
        self.prior = build_prior(
            options.get("prior", "none"), species, backbone.cutoff, options.get("prior_between")
        )
        self.wall = build_wall(options.get("wall"), species)
        self._made = self._parts()

    def _parts(self) -> dict[str, tuple[type, dict[str, Any]]]:
        """Class and settings of each module but those that may be added later."""
        return {
            name: (_class(part), _settings(part))
            for name, part in self.named_modules()
            if name and name.partition(".")[0] not in ("surface", "wall")
        }

    def exchanged_part(self) -> str | None:
        """Name of a module that `config` would not make again as it is; None if there is none."""
        if type(self) is not Potential:
            return type(self).__name__
        now = self._parts()
        names = [k for k in {**self._made, **now} if self._made.get(k) != now.get(k)]
        return min(names, default=None)

    def set_wall(self, start: list[list[float]] | None) -> None:
        """Give the potential another wall (`lrcalc.models.wall`), or none."""
        self.config["wall"] = start
        self.wall = build_wall(start, self.species)
        if self.wall is not None:
            self.wall.to(self._weight.device)

    def add_surface(self, hidden: int) -> PolarizabilitySurface:
        """Give the potential a new, untrained polarizability surface of this width."""
        if self.config["level"] == "sr":
            raise ValueError(
                "this model is short-ranged (level 'sr') and has no dipole; a polarizability "
                "needs a model of level 'q' or above"
            )
        self.config["surface"] = int(hidden)
        self.surface = PolarizabilitySurface(
            len(self.species), self.backbone.n_scalars, self.backbone.n_channels, int(hidden)
        ).to(self._weight)
        return self.surface

    @property
    def own_field(self) -> bool:
        """Whether the model has an energy of its own in a field (`lrcalc.models.own_field`)."""
        return has_own_field(self.readout)

    @property
    def cutoff(self) -> float:
        """Radius of the local description, Å."""
        return self.backbone.cutoff

    @property
    def reach(self) -> float:
        """How far what an owned atom feels depends on others, Å: ghosts are needed so far."""
        local = self.readout.charges == "local" and self.ewald is not None
        hops = getattr(self.readout, "transfer_hops", 1)
        handed = hops * self.readout.transfer_cutoff if local else 0.0
        return self.backbone.layers * self.cutoff + handed

    @property
    def screening(self) -> float:
        """Screening factor of the card: physical over latent charges."""
        return screening_factor(self.metadata)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        """One of the parameters, for their type and device."""
        return next(self.parameters())

    def forward(self, system: System, pairs: Pairs, *, surface: bool = True) -> Terms:
        """Energy and multipoles of a batch of structures.

        Parameters
        ----------
        system : System
            Positions may be float64 with a float32 model: pair vectors are formed first.
        pairs : Pairs
            Within `cutoff` at least; farther pairs contribute nothing. Of a system with ghosts
            (`System.owned`) those of the ghosts too, see `lrcalc.models.ghosts`.
        surface : bool
            Evaluate the polarizability surface, if there is one; energies do not need it.

        Returns
        -------
        Terms

        Raises
        ------
        ValueError
            For an unknown species (on a GPU `check_species` has to be asked).
        """
        vectors = vectors_of(system, pairs, self.dtype)
        species = self.species_of_number[system.numbers]
        try:
            reference = self.reference_energy[species]
        except IndexError:
            self.check_species(system.numbers)
            raise
        features, readings = self.read(system, pairs, vectors)
        if system.owned is not None:
            readings = owned_readings(readings, system.owned, pairs)
            reference = reference * system.owned
        local = readings.energies.double() + reference
        repelled = repulsion(self.prior, self.wall, species, system, pairs, vectors)
        if repelled is not None:
            local = local + (repelled if system.owned is None else repelled * system.owned)
        energy = structure_sums(system, local)
        if self.ewald is None:
            return Terms(energy, readings, None, vectors, heard=features.heard, local=local)
        electrostatics: ElectrostaticsResult = self.ewald(
            system.positions.to(self.dtype),
            system.cell.to(self.dtype),
            readings.multipoles,
            batch=None if system.n_structures == 1 else system.batch,
            pbc=system.pbc,
            owned=system.owned,
            domain=system.domain,
            # structures were checked where they came in (`from_ase`); what the readout makes of
            # them is not the user's input, and rounding in it is no error
            check=False,
            host=None if system.host is None else _geometry(system.host),
            compiled=system.compiled,
            alone=system.alone,
        )
        alpha = None
        if surface and self.surface is not None:
            rows = len(features.scalars)
            owned = None if system.owned is None else system.owned[:rows]
            known = (species[:rows], system.batch[:rows], system.n_structures, owned)
            may = {"once": system.once, "compiled": system.compiled}
            alpha = total(system.domain, self.surface(features, *known, **may))
        whole = energy + electrostatics.energy.double()
        volume = self.metadata.get("polarizability", {}).get(VOLUME_PER_ATOM)
        return Terms(whole, readings, electrostatics, vectors, alpha, volume, features.heard, local)

    def prior_energy(self, system: System, pairs: Pairs) -> Tensor:
        """Energy (S,), eV, that is not learned."""
        if self.prior is None:
            return system.positions.new_zeros(system.n_structures)
        species = self.species_of_number[system.numbers]
        atoms = self.prior(species, pairs, pair_vectors(system, pairs))
        return structure_sums(system, atoms)

    def read(self, system: System, pairs: Pairs, vectors: Tensor) -> tuple[Features, Readings]:
        """Features of the backbone and what is read out of them, from the pair vectors (E, 3)."""
        features = features_of(self.backbone, system, pairs, vectors)
        if system.centres is not None and not isinstance(self.readout, Readout):
            features = for_all(features, len(system.numbers))
        return features, self.interpret(features, system, pairs, vectors)

    def interpret(
        self, features: Features, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out features."""
        latent = system._replace(total_charge=system.total_charge / charge_screening(self.metadata))
        species = self.species_of_number[system.numbers]
        return self.readout(features, species, latent, pairs, vectors)

    def calibrate(self, system: System, pairs: Pairs) -> None:
        """Let the backbone bring its features near 1 on this batch, if it knows how to."""
        calibrate = getattr(self.backbone, "calibrate", None)
        if calibrate is not None:
            calibrate(system, pairs, pair_vectors(system, pairs).to(self.dtype))

    def check_species(self, numbers: Tensor | np.ndarray) -> None:
        """Refuse atomic numbers (N,) that the model does not know."""
        unknown = set(numbers.tolist()) - set(self.species)
        if unknown:
            raise ValueError(
                f"the model knows the atomic numbers {list(self.species)} but the structure has "
                f"{sorted(unknown)}; use or train a model for them"
            )


def has_own_field(readout: AnyReadout) -> bool:
    """Whether energies that are read out are those in the field (`lrcalc.models.own_field`)."""
    return bool(getattr(readout, "own_field", False))


def _check_species(species: tuple[int, ...], backbone: Backbone) -> None:
    missing = sorted(set(species) - set(backbone.species))
    if missing:
        raise ValueError(
            f"the backbone knows the atomic numbers {list(backbone.species)}, not {missing}"
        )


def _class(part: nn.Module) -> type:
    """Class of a module; what torch.fx traced has one of its own, and each copy another."""
    classes = type(part).__mro__
    return next(c for c in classes if not c.__qualname__.endswith("GraphModuleImpl"))


def _settings(part: nn.Module) -> dict[str, Any]:
    """Plain values that a module was configured with; caches and the mode of training apart."""
    plain = (bool, int, float, str, tuple, type(None))
    return {
        name: value
        for name, value in vars(part).items()
        if isinstance(value, plain) and not name.startswith("_") and name != "training"
    }


def _geometry(host: System) -> Geometry:
    """Structures as the electrostatics plan by them."""
    return Geometry(host.positions, host.cell, host.batch, host.n_structures, host.pbc)
