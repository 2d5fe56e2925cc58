"""A NequIP or Allegro model as it was trained: its energies of atoms, without charges.

All of the model is nequip's own, made anew from its settings: layers, readout, scales of energies,
pair potentials, cutoffs of pairs of types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.foreign_import import exactly, forget_programs, quiet, require_version
from lrcalc.models.adapters.nequip_architecture import check_architecture, elements_of_types
from lrcalc.models.adapters.nequip_import import ALLEGRO, NEQUIP, GraphModule
from lrcalc.models.backbone import Features, species_table
from lrcalc.neighbors import Pairs
from lrcalc.system import System

NOT_MODEL = ("_target_", "seed", "model_dtype", "compile_mode", "do_derivatives")
"""Settings that say how a model is made, not which."""


class NequipModel(GraphModule):
    """Energies of atoms, eV, as the only scalar of their features; see `build`."""

    index_of_number: Tensor

    def __init__(self, model: Any, elements: tuple[int, ...], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.species = tuple(sorted(elements))
        self.cutoff = float(settings["cutoff"])
        layers = [name for name, _ in model.named_children() if name.endswith("_convnet")]
        self.layers = max(len(layers), 1)
        self.n_scalars, self.n_channels, self.filled = 1, 0, (0, 0)
        self.register_buffer("index_of_number", species_table(elements), persistent=False)
        self.keep_constants()

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Energies (N, 1) of all atoms from the pair vectors (E, 3)."""
        energies = self.model(self.graph(system.numbers, pairs, vectors))["atomic_energy"]
        n = len(energies)
        return Features(energies, energies.new_zeros(n, 0, 3), energies.new_zeros(n, 0, 5))


def build(species: tuple[int, ...], **settings: Any) -> NequipModel:
    """Make a model with new weights.

    Parameters
    ----------
    species : tuple of int
        Among the model's elements.
    **settings
        As `lrcalc.models.options.NEQUIP_MODEL_DEFAULTS`.

    Raises
    ------
    ValueError
        For a missing package, another version, or settings that name what is not known.
    """
    architecture = settings["architecture"]
    check_architecture(architecture)
    elements = elements_of_types(architecture)
    with exactly():
        model = _made(architecture)
    forget_programs(model)
    backbone = NequipModel(model, elements, settings)
    return backbone.to(torch.get_default_dtype())


def _made(architecture: Mapping[str, Any]) -> Any:
    """Call nequip's builder as one of its own parts, without seeds and global settings."""
    module, _, name = architecture["_target_"].rpartition(".")
    import lrcalc.models.native.e3nn_import  # noqa: F401 (without torch's compiler)

    extra = module.split(".")[0]
    try:
        with quiet():
            import nequip.model
            from nequip.model.utils import _IS_BUILDING_MODEL

            if extra == "allegro":
                import allegro.model
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this model needs the package {error.name!r}: pip install lrcalc[{extra}]"
        ) from error
    require_version(extra, "nequip", NEQUIP)
    if extra == "allegro":
        require_version("allegro", "nequip-allegro", ALLEGRO)
    builder = getattr(nequip.model if extra == "nequip" else allegro.model, name)
    arguments = {key: value for key, value in architecture.items() if key not in NOT_MODEL}
    token = _IS_BUILDING_MODEL.set(True)
    try:
        return builder(**arguments, do_derivatives=False).func
    except (TypeError, AssertionError) as error:
        raise ValueError(
            f"{name} of nequip {NEQUIP} does not take these settings: {error}"
        ) from error
    finally:
        _IS_BUILDING_MODEL.reset(token)
