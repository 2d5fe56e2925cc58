"""MACE's modules: which there are, and a model made of given settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lrcalc.models.adapters.foreign_import import (
    elements_of,
    exactly,
    forget_programs,
    quiet,
    require_version,
)

VERSION = "0.3.16"
"""Of mace-torch: what the adapter was written for and tested with."""

CHOICES = {
    "radial_type": ("bessel", "gaussian", "chebyshev"),
    "distance_transform": ("None", "Agnesi", "Soft"),
}
"""Settings for which MACE takes anything and fails later."""


def import_mace() -> Any:
    """Return ``mace.modules``.

    Raises
    ------
    ModuleNotFoundError
        If a package is missing.
    ValueError
        For another version.
    """
    from lrcalc.models.native.e3nn_import import o3  # noqa: F401 (which knows e3nn 0.4's tables)

    with quiet():
        from mace import modules
    require_version("mace", "mace-torch", VERSION)
    return modules


def make_mace(species: tuple[int, ...], settings: Mapping[str, Any]) -> Any:
    """Make a MACE model in double precision, with random weights and no TorchScript in it.

    Parameters
    ----------
    species : tuple of int
        Atomic numbers that it has to know.
    settings : mapping
        As `lrcalc.models.options.MACE_DEFAULTS`.

    Raises
    ------
    ValueError
        For settings that no MACE model has.
    """
    layers = settings["num_interactions"]
    extra = int(settings["full_last"])  # MACE's last layer has scalars only: make one more
    arguments = mace_arguments(species, settings)
    arguments["num_interactions"] += extra
    arguments["correlation"] += [1] * extra
    with exactly():
        mace = import_mace().MACE(**arguments)
    mace.interactions, mace.products = mace.interactions[:layers], mace.products[:layers]
    forget_programs(mace)
    return mace


def mace_arguments(species: tuple[int, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what MACE's class is called with; the same parameters and errors as `make_mace`."""
    modules = import_mace()
    from e3nn import o3

    elements = elements_of("MACE", species, settings)
    for name, known in CHOICES.items():
        if settings[name] not in known:
            raise ValueError(f"`{name}` is {settings[name]!r} but must be one of {known}")
    blocks = modules.interaction_classes
    for name in ("interaction", "interaction_first"):
        if settings[name] not in blocks:
            raise ValueError(f"`{name}` is {settings[name]!r} but must be one of {sorted(blocks)}")
    for name, allowed in {"cutoff": "positive", "num_interactions": "at least 1"}.items():
        if not settings[name] > 0:
            raise ValueError(f"`{name}` is {settings[name]} but must be {allowed}")
    try:
        hidden = o3.Irreps(settings["hidden_irreps"])
    except ValueError as error:
        raise ValueError(f"`hidden_irreps` is {settings['hidden_irreps']!r}: {error}") from error
    if hidden.count("0e") == 0 or len({mul for mul, _ in hidden}) > 1:
        raise ValueError(
            f"`hidden_irreps` is {settings['hidden_irreps']!r} but must have scalars, and as many "
            "channels of each kind: 32x0e + 32x1o"
        )
    layers = settings["num_interactions"]
    correlation = settings["correlation"]
    if isinstance(correlation, int):
        correlation = [correlation] * layers
    if len(correlation) != layers:
        raise ValueError(f"`correlation` is {correlation} but there are {layers} layers")
    edge = settings["edge_irreps"]
    average = settings["avg_num_neighbors"]
    return {
        "r_max": settings["cutoff"],
        "num_bessel": settings["num_bessel"],
        "num_polynomial_cutoff": settings["num_polynomial_cutoff"],
        "max_ell": settings["max_ell"],
        "interaction_cls": blocks[settings["interaction"]],
        "interaction_cls_first": blocks[settings["interaction_first"]],
        "num_interactions": layers,
        "num_elements": len(elements),
        "hidden_irreps": hidden,
        "MLP_irreps": o3.Irreps("1x0e"),
        "atomic_energies": [0.0] * len(elements),
        "avg_num_neighbors": 1.0 if average is None else average,
        "atomic_numbers": list(elements),
        "correlation": list(correlation),
        "gate": torch.nn.functional.silu,
        "apply_cutoff": settings["apply_cutoff"],
        "use_reduced_cg": settings["use_reduced_cg"],
        "use_so3": settings["use_so3"],
        "use_agnostic_product": settings["use_agnostic_product"],
        "distance_transform": settings["distance_transform"],
        "edge_irreps": None if edge is None else o3.Irreps(edge),
        "radial_MLP": settings["radial_MLP"],
        "radial_type": settings["radial_type"],
    }
