"""What a MACE-LES file of MACE's main branch has beside charges: its readouts, and their weights.

Names, order and scales are those of `MACELES` and of its readouts in MACE's main branch of August
2026 (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lrcalc.models.adapters.mace_latent import Dyads, Head, Latent, TensorHead, VectorHead
from lrcalc.models.adapters.mace_model import MaceReadout
from lrcalc.multipoles import quadrupole_from_spherical

STACKS = {
    ("dipole", "vector"): "les_u_readouts",
    ("quadrupole", "tensor"): "les_quad_2e_readouts",
    ("quadrupole", "dyads"): "les_quad_1o_readouts",
    ("capacitance", "scalar"): "les_kappa_readouts",
    ("polarizability", "scalar"): "les_alpha_readouts",
    ("polarizability", "tensor"): "les_alpha_2e_readouts",
    ("polarizability", "dyads"): "les_alpha_1o_readouts",
}
"""What is read out (`Latent`) → name of the list of readouts in the file."""

SWITCHES = {
    "dipole": "use_dipoles",
    "quadrupole": "use_quads",
    "capacitance": "use_induced_charges",
    "polarizability": "use_induced_dipoles",
}

SQUARED = {"capacitance": "make_kappa_positive", "polarizability": "make_alpha_positive"}

SCALES = {
    "charge": "les_output_scale",
    "dipole": "les_output_scale",
    "quadrupole": "les_output_scale",
    "capacitance": "les_kappa_scale",
    "polarizability": "les_alpha_scale",
}
"""Numbers that sums over readouts are multiplied by, before they are squared; 1 in files of MACE
0.3.16, which do not have them."""

BASES = {"polarizability": "change_of_basis", "quadrupole": "change_of_basis_quads"}
"""Tensors of the file that turn components of e3nn into matrices."""

Map = dict[tuple[int, int], Tensor]
"""Irrep → matrix (inputs, outputs) of an e3nn linear map."""


def latent_of(mace: Any) -> dict[str, dict[str, Any]]:
    """Return the settings of `Latent` for all that a MACE-LES model has beside charges.

    Raises
    ------
    ValueError
        If switches and readouts of the file do not fit each other, or it is for cuequivariance.
    """
    found: dict[str, dict[str, Any]] = {}
    for (name, part), stack in STACKS.items():
        blocks = list(getattr(mace, stack, ()))
        on = bool(getattr(mace, SWITCHES[name], False))
        if on and blocks:
            each = found.setdefault(name, {"parts": []})
            each["parts"].append(_part(part, blocks))
            if each["parts"][-1].startswith("mixed"):
                each["width"] = len(_mlp(blocks[0])[0].bias)
        elif blocks:
            raise ValueError(
                f"this MACE-LES model has `{stack}` but `{SWITCHES[name]}` is False: which of the "
                "two counts is not known"
            )
    for name, switch in SWITCHES.items():
        if getattr(mace, switch, False) and name not in found:
            raise ValueError(f"this MACE-LES model has `{switch}` but no readouts for it")
    for name, switch in SQUARED.items():
        if name in found and getattr(mace, switch, False):
            found[name]["squared"] = True
    return found


def _part(part: str, blocks: list[Any]) -> str:
    """Return which kind of dyads the readouts are; other parts are what they are called."""
    if part != "dyads":
        return part
    kinds = {type(block).__name__ for block in blocks}
    if any(getattr(block, "ir_mul", False) for block in blocks):
        raise ValueError(
            "the readouts of dyads of this MACE-LES model are for cuequivariance (`ir_mul`): turn "
            "it into e3nn's layout with MACE's own mace_cueq_to_e3nn first"
        )
    if kinds == {"NonLinearLesReadoutBlock"}:
        return "mixed dyads"
    if kinds != {"LinearLesReadoutBlock"}:
        raise ValueError(f"the readouts of dyads {sorted(kinds)} cannot be converted")
    squared = {bool(block.make_w_pos) for block in blocks}
    if len(squared) > 1:
        raise ValueError("`make_w_pos` is not the same for all layers of this MACE-LES model")
    return "squared dyads" if squared.pop() else "dyads"


@torch.no_grad()
def fill_latent(readout: MaceReadout, mace: Any, fill: Callable[[Head, Any], None]) -> None:
    """Give the readouts of a model (float64) beside charges the weights of the file.

    Parameters
    ----------
    readout : MaceReadout
        Made with `latent_of`.
    mace : Inert
    fill : callable
        Gives a `Head` the weights of a readout of scalars.
    """
    for name, latent in readout.latent.items():
        assert isinstance(latent, Latent)
        for part, heads in zip(latent.parts, latent.heads, strict=True):
            stack = STACKS[name, "dyads" if part.endswith("dyads") else part]
            for head, block in zip(cast("Any", heads), getattr(mace, stack), strict=True):
                if isinstance(head, Dyads):
                    _fill_dyads(head, block)
                elif isinstance(head, VectorHead):
                    head.weight.copy_(_column(block, (1, -1)))
                elif isinstance(head, TensorHead):
                    head.weight.copy_(_column(block, (2, 1)))
                    head.basis.copy_(basis_of(mace, name))
                    if head.scalars is not None:
                        head.scalars.copy_(_column(block, (0, 1)))
                else:
                    fill(head, block)
        latent.times(scale_of(mace, name))


def scale_of(mace: Any, name: str) -> float:
    """Return what the sum over readouts is multiplied by."""
    return float(getattr(mace, SCALES[name], 1.0))


def basis_of(mace: Any, name: str) -> Tensor:
    """Return the matrices of the components of a tensor, (5, 3, 3), or with a scalar (6, 3, 3).

    Raises
    ------
    ValueError
        If they are not e3nn's, of norm 1 and in its order.
    """
    theirs = getattr(mace, BASES[name]).detach().double()
    ours = quadrupole_from_spherical(torch.eye(5, dtype=torch.float64))
    if name == "polarizability":
        unit = torch.eye(3, dtype=torch.float64)[None] / math.sqrt(3.0)
        ours = torch.cat([unit, ours])
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, atol=1e-6):
        raise ValueError(
            f"`{BASES[name]}` of this MACE-LES model is not e3nn's: it cannot be converted"
        )
    return theirs


def maps_of(linear: Any) -> Map:
    """Return the matrices of an ``e3nn.o3.Linear`` that has each irrep once, float64.

    Its weights are one after another by the irreps of the input; each sum is divided by the root
    of the number of its terms.
    """
    inputs, outputs = (
        [(mul, (ir.l, ir.p)) for mul, ir in irreps]
        for irreps in (linear.irreps_in, linear.irreps_out)
    )
    if any(len({ir for _, ir in side}) < len(side) for side in (inputs, outputs)):
        raise ValueError(
            f"a readout maps {linear.irreps_in} to {linear.irreps_out}; wanted is each kind once"
        )
    weight, wanted = linear.weight.detach().double().flatten(), {ir: mul for mul, ir in outputs}
    found: Map = {}
    for mul, ir in inputs:
        if ir in wanted:
            size = mul * wanted[ir]
            found[ir], weight = weight[:size].view(mul, -1) / math.sqrt(mul), weight[size:]
    if len(weight):
        raise ValueError(
            f"a readout from {linear.irreps_in} to {linear.irreps_out} has more weights"
        )
    return found


def _column(block: Any, ir: tuple[int, int]) -> Tensor:
    """Return the weights of one number, vector or tensor that is linear in those of a layer."""
    if type(block).__name__ != "LinearReadoutBlock":
        raise ValueError(
            f"the readout {type(block).__name__} of vectors or tensors cannot be converted; known "
            "is LinearReadoutBlock"
        )
    column = maps_of(block.linear).get(ir)
    if column is None or column.shape[1] != 1:
        raise ValueError(
            f"a readout maps {block.linear.irreps_in} to {block.linear.irreps_out}: there is "
            "nothing to read it out of"
        )
    return column[:, 0]


def _mlp(block: Any) -> list[Any]:
    """Return the two linear layers of the network that mixes vectors."""
    first, gate, last = block.mlp._modules.values()
    if type(gate).__name__ != "SiLU":
        raise ValueError(f"a readout has the gate {type(gate).__name__}; only SiLU is known")
    return [first, last]


def _fill_dyads(head: Dyads, block: Any) -> None:
    maps = maps_of(block.linear)
    head.vectors.copy_(maps[1, -1])
    layers = [block.scalar_to_weight_1o] if len(head.weights) == 1 else _mlp(block)
    for k, (weight, theirs) in enumerate(zip(head.weights, layers, strict=True)):
        matrix = theirs.weight.detach().double().T
        weight.copy_(torch.cat([matrix if k else maps[0, 1] @ matrix, theirs.bias[None].double()]))
