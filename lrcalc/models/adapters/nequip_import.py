"""Modules of NequIP and Allegro, made in double precision, and the graph that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from ase.data import chemical_symbols
from torch import Tensor

from lrcalc.models.adapters.exact_constants import ExactConstants
from lrcalc.models.adapters.foreign import ForeignBackbone
from lrcalc.models.adapters.foreign_import import (
    elements_of,
    exactly,
    forget_programs,
    quiet,
    require_version,
)
from lrcalc.models.adapters.nequip_architecture import ALLEGRO, NEQUIP, made_of
from lrcalc.models.adapters.nequip_settings import settings_of_backbone
from lrcalc.neighbors import Pairs

RADIAL = ("num_bessels", "bessel_trainable", "polynomial_cutoff_p")
"""Settings of radial functions, which both have."""

ALLEGRO_SIZES = (
    "num_scalar_features", "num_tensor_features", "scalar_embed_mlp_hidden_layers_depth",
    "scalar_embed_mlp_hidden_layers_width", "allegro_mlp_hidden_layers_depth",
    "allegro_mlp_hidden_layers_width", "tp_path_channel_coupling",
)  # fmt: skip
"""Settings that Allegro takes as they are."""

POSITIVE = ("cutoff", "num_layers", "num_bessels", "num_tensor_features", "avg_num_neighbors")
"""Settings for which the packages take anything and fail later."""


class GraphModule(ExactConstants):
    """Modules that read and write a dictionary of NequIP's."""

    index_of_number: Tensor

    def graph(self, numbers: Tensor, pairs: Pairs, vectors: Tensor) -> dict[str, Tensor]:
        """Return the dictionary: kinds of atoms, edges, and their vectors, taken as they are."""
        return {
            "atom_types": self.index_of_number[numbers],
            "edge_index": torch.stack([pairs.i, pairs.j]),
            "edge_vectors": vectors,
        }

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        """Let the modules convert to the precision that they are in now."""
        super()._apply(*args, **kwargs)
        modules: Any = self.modules()
        for module in modules:
            if hasattr(module, "_output_dtype"):
                module._output_dtype = next(self.parameters()).dtype
        return self


class GraphBackbone(GraphModule, ForeignBackbone):
    """A backbone made of such modules."""

    def neighbor_constants(self, average: Tensor) -> dict[str, Tensor]:
        """Return the constants that hang on the average number of neighbours, by name."""
        names = [name for name, _ in self.named_buffers() if name.endswith(".norm_const")]
        return dict.fromkeys(names, average.double().rsqrt())


def make_nequip(species: tuple[int, ...], settings: Mapping[str, Any]) -> Any:
    """Make NequIP's modules with random weights, by NequIP's names for them.

    Raises
    ------
    ModuleNotFoundError
        If a package is missing.
    ValueError
        For another version, or settings that no NequIP model has.
    """
    if settings["architecture"]:
        return _of_file("nequip", species, settings)
    _check(settings)
    elements = elements_of("NequIP", species, settings)
    import lrcalc.models.native.e3nn_import  # noqa: F401 (without torch's compiler)

    with quiet():
        from nequip.model.nequip_models import FullNequIPGNNModel
    require_version("nequip", "nequip", NEQUIP)
    l_max, layers, widths = (settings[name] for name in ("l_max", "num_layers", "num_features"))
    widths = [widths] * (l_max + 1) if isinstance(widths, int) else list(widths)
    if len(widths) != l_max + 1 or min(widths) < 1:
        raise ValueError(
            f"`num_features` is {settings['num_features']} but must be a positive number, or one "
            f"for each ℓ up to `l_max`, which is {l_max}"
        )
    hidden = _irreps(widths, parity=settings["parity"])
    with exactly():
        model = FullNequIPGNNModel.__wrapped__(
            irreps_edge_sh=_irreps([1] * (l_max + 1)),
            type_embed_num_features=settings["type_embed_num_features"] or widths[0],
            # NequIP's last layer has scalars only: one more is made, and left out
            feature_irreps_hidden=[hidden] * layers + ["1x0e"],
            radial_mlp_depth=[settings["radial_mlp_depth"]] * (layers + 1),
            radial_mlp_width=[settings["radial_mlp_width"]] * (layers + 1),
            **_common(elements, settings),
            **{name: settings[name] for name in RADIAL},
        )
    forget_programs(model)
    modules = dict(model.func.named_children())
    del modules[f"layer{layers}_convnet"]
    return modules


def make_allegro(species: tuple[int, ...], settings: Mapping[str, Any]) -> Any:
    """Make Allegro's modules with random weights, by Allegro's names for them.

    Raises
    ------
    ModuleNotFoundError, ValueError
        As `make_nequip`.
    """
    if settings["architecture"]:
        return _of_file("allegro", species, settings)
    _check(settings)
    elements = elements_of("Allegro", species, settings)
    if settings["num_scalar_features"] % 2:
        raise ValueError(
            f"`num_scalar_features` is {settings['num_scalar_features']} but must be even"
        )
    import lrcalc.models.native.e3nn_import  # noqa: F401 (without torch's compiler)

    with quiet():
        from allegro.model.allegro_models import FullAllegroModel
    require_version("allegro", "nequip", NEQUIP)
    require_version("allegro", "nequip-allegro", ALLEGRO)
    l_max, layers = settings["l_max"], settings["num_layers"]
    embed = {name: settings[name] for name in RADIAL}
    with exactly():
        model = FullAllegroModel.__wrapped__(
            irreps_edge_sh=_irreps([1] * (l_max + 1)),
            tensor_track_allowed_irreps=_irreps([1] * (l_max + 1), parity=settings["parity"]),
            radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", **embed},
            # Allegro's last layer keeps no tensors: one more is made, and left out
            num_layers=layers + 1,
            **_common(elements, settings),
            **{name: settings[name] for name in ALLEGRO_SIZES},
        )
    modules = dict(model.func.named_children())
    last = modules["allegro"]
    last.latents, last.tps = last.latents[:layers], last.tps[:layers]
    last.num_layers = layers
    forget_programs(model)
    return modules


def _of_file(name: str, species: tuple[int, ...], settings: Mapping[str, Any]) -> Any:
    """Make the modules as nequip itself makes those of a file; the settings say the same of it."""
    stated = settings_of_backbone(name, settings["architecture"])
    for key, value in stated.items():
        if settings[key] != value:
            raise ValueError(
                f"`{key}` is {settings[key]} but `architecture`, which has all settings of a file, "
                f"says {value}"
            )
    _check_smooth(settings["polynomial_cutoff_p"])
    elements_of("NequIP" if name == "nequip" else "Allegro", species, settings)
    return dict(made_of(settings["architecture"]).named_children())


def _irreps(widths: Sequence[int], *, parity: bool = False) -> str:
    """Representations up to the highest ℓ, in both parities or in that of the harmonics."""
    return " + ".join(
        f"{width}x{ell}{sign}"
        for ell, width in enumerate(widths)
        for sign in ("eo" if parity else "eo"[ell % 2])
    )


def _common(elements: tuple[int, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that both have."""
    average = settings["avg_num_neighbors"]
    return {
        "r_max": settings["cutoff"],
        "type_names": [chemical_symbols[z] for z in elements],
        "avg_num_neighbors": 1.0 if average is None else average,
        "do_derivatives": False,
    }


def _check(settings: Mapping[str, Any]) -> None:
    for name in POSITIVE:
        value = settings.get(name)
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` is {value} but must be positive")
    if settings["l_max"] < 0:
        raise ValueError(f"`l_max` is {settings['l_max']} but must be 0 or more")
    _check_smooth(settings["polynomial_cutoff_p"])


def _check_smooth(power: float | None) -> None:
    if power is not None and power < 3:
        raise ValueError(
            f"`polynomial_cutoff_p` is {power} but must be at least 3, for forces to be smooth at "
            "the cutoff"
        )
