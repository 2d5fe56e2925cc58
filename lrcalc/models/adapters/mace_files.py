"""What a MACE model that somebody trained has: its settings, and its weights for a backbone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lrcalc.models.adapters.exact_constants import constants_of, numbers_of
from lrcalc.models.adapters.nequip_files import CHECKPOINT, PACKAGE
from lrcalc.models.adapters.pickles import DANGER, read_pickle

if TYPE_CHECKING:
    from lrcalc.models.adapters.mace import MaceBackbone

RADIAL = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
TRANSFORMS = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft", "NoneType": "None"}


def read_backbone(
    name: str, path: Path, *, trust_pickle: bool, flag: str
) -> tuple[dict[str, Any], Callable[[Any], None]]:
    """Return settings of the backbone ``name``, and what gives one that is made so its weights.

    Raises
    ------
    ValueError
        Naming what is wrong: no consent, or no MACE model.
    """
    if path.name.endswith((CHECKPOINT, PACKAGE)):
        raise ValueError(
            f"{path} is a file of nequip, not of MACE, by its name: --backbone nequip or allegro"
        )
    if not trust_pickle:
        raise ValueError(f"{path} is a pickle, and {DANGER.format(flag=flag)}")
    mace = read_pickle(path)
    try:
        return settings_of(mace), partial(load_weights, mace=mace)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def settings_of(mace: Any) -> dict[str, Any]:
    """Return the settings of `build` (plain values) that make the backbone of a MACE model.

    Parameters
    ----------
    mace : torch.nn.Module
        ``mace.modules.MACE`` or one derived from it.

    Raises
    ------
    ValueError
        If it is nothing of the kind, or needs more than structures as its input.
    """
    lacking = [
        name
        for name in ("atomic_numbers", "r_max", "radial_embedding", "interactions", "products")
        if not hasattr(mace, name)
    ]
    if lacking:
        raise ValueError(f"a {type(mace).__name__} is no MACE model: it has no {lacking[0]}")
    if hasattr(mace, "joint_embedding"):
        raise ValueError(
            f"this {type(mace).__name__} wants {', '.join(mace.embedding_specs)} of each structure "
            "beside its atoms, which the backbone 'mace' does not have"
        )
    first, last, radial = mace.interactions[0], mace.interactions[-1], mace.radial_embedding
    irreps = [product.linear.irreps_out for product in mace.products]
    edge = getattr(mace, "edge_irreps", None)
    transform = type(getattr(radial, "distance_transform", None)).__name__
    return {
        "cutoff": float(mace.r_max),
        "num_interactions": len(mace.interactions),
        "hidden_irreps": str(irreps[0]),
        "full_last": irreps[-1] == irreps[0] and irreps[0].lmax > 0,
        "max_ell": int(mace.spherical_harmonics.irreps_out.lmax),
        "correlation": [
            len(product.symmetric_contractions.contractions[0].weights) + 1
            for product in mace.products
        ],
        "num_bessel": int(radial.out_dim),
        "num_polynomial_cutoff": int(radial.cutoff_fn.p),
        "radial_type": RADIAL[type(radial.bessel_fn).__name__],
        "distance_transform": TRANSFORMS[transform],
        "apply_cutoff": bool(getattr(radial, "apply_cutoff", True)),
        "radial_MLP": list(getattr(first, "radial_MLP", (64, 64, 64))),
        "edge_irreps": None if edge is None else str(edge),
        "interaction_first": type(first).__name__,
        "interaction": type(last).__name__,
        "avg_num_neighbors": float(first.avg_num_neighbors),
        "use_reduced_cg": bool(getattr(mace, "use_reduced_cg", False)),
        "use_so3": bool(getattr(mace, "use_so3", False)),
        "use_agnostic_product": bool(getattr(mace, "use_agnostic_product", False)),
        "elements": [int(z) for z in mace.atomic_numbers],
    }


@torch.no_grad()
def load_weights(backbone: MaceBackbone, mace: Any) -> None:
    """Give a backbone, made with `settings_of` the model, the model's weights and constants.

    The constants as well, because a file in single precision has them rounded, which is 5e-6 eV
    for 192 atoms of a published model.

    Raises
    ------
    ValueError
        If a tensor is missing or of another shape.
    """
    given = {**dict(mace.named_parameters()), **dict(mace.named_buffers()), **numbers_of(mace)}
    constants = constants_of(backbone)
    rounded = next(mace.parameters()).dtype
    exact = {}
    for name, own in {**dict(backbone.named_parameters()), **constants}.items():
        value = given.get(name)
        if value is None and "_compiled_" in name:  # in e3nn's programs, which were not run
            value = own.to(rounded)
        if value is None or value.shape != own.shape:
            found = "is missing" if value is None else f"has the shape {tuple(value.shape)}"
            raise ValueError(
                f"`{name}` of this MACE model {found} (expected {tuple(own.shape)}): it was made "
                "by a version of mace-torch that this one cannot read, or for cuequivariance"
            )
        if name in constants:
            exact[name] = value
        else:
            own.copy_(value)
    backbone.set_constants(exact)
