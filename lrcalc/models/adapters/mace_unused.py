"""What a MACE file has that its conversion does not use: found, so that it is refused by name.

Layers may have been added to MACE, and readouts to MACE-LES, since the conversion was written. A
model without them would be another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lrcalc.models.adapters.mace_scalars import ScalarMace

BESIDE_LAYERS = """
atomic_numbers r_max num_interactions atomic_energies_fn.atomic_energies spherical_harmonics
scale_shift.scale scale_shift.shift
pair_repulsion_fn.c pair_repulsion_fn.p pair_repulsion_fn.covalent_radii
pair_repulsion_fn.a_exp pair_repulsion_fn.a_prefactor
"""
"""Modules and tensors that are used; and so is what they are in."""

LAYERS = """
node_embedding.linear.weight
radial_embedding.bessel_fn.bessel_weights radial_embedding.bessel_fn.prefactor
radial_embedding.bessel_fn.r_max radial_embedding.cutoff_fn.p radial_embedding.cutoff_fn.r_max
interactions.#.linear_up.weight interactions.#.linear.weight interactions.#.skip_tp.weight
interactions.#.conv_tp_weights.layer#.weight interactions.#.conv_tp_weights.layer#.act
interactions.#.conv_tp interactions.#.reshape products.#.linear.weight
products.#.symmetric_contractions.contractions.#.weights_max
products.#.symmetric_contractions.contractions.#.weights.#
products.#.symmetric_contractions.contractions.#.U_matrix_#
products.#.symmetric_contractions.contractions.#.graph_opt_main
products.#.symmetric_contractions.contractions.#.contractions_weighting.#
products.#.symmetric_contractions.contractions.#.contractions_features.#
"""
"""The same of layers that `ScalarMace` takes; others are made by mace-torch, and named as there."""

READOUT = "linear.weight linear_1.weight linear_2.weight linear_mid.weight non_linearity.acts.#"
BIASES = "linear_mid.bias linear_2.bias"
DYADS = """linear.weight scalar_to_weight_1o.weight scalar_to_weight_1o.bias
    mlp.#.weight mlp.#.bias"""
LES = """les.atomwise les.ewald les.bec les.ewald.nvec_all les.ewald.hemisphere_mask
    les.ewald.factors change_of_basis change_of_basis_quads"""
MOMENTS = {
    "les_readouts": READOUT,
    "les_u_readouts": "linear.weight",
    "les_quad_2e_readouts": "linear.weight",
    "les_alpha_2e_readouts": "linear.weight",
    "les_kappa_readouts": READOUT,
    "les_alpha_readouts": READOUT,
    "les_quad_1o_readouts": DYADS,
    "les_alpha_1o_readouts": DYADS,
}
"""Lists of readouts beside those of energies, and what is used of each readout."""

UNUSED_TABLES = {
    "fixed_charges": "use_fixed_atomic_charges", "atomic_alpha": "use_atomic_alpha",
}  # fmt: skip
"""Modules of ``les`` that are there, with numbers in them, whether they are used or not; `read_les`
refuses those that are."""

WITHOUT_EFFECT = re.compile(r"output_mask|weights_(\d+|max)_zeroed")
"""Last names of tensors: what is masked and zeroed so is zero among the weights as well."""

ATTRIBUTES = {
    "": """given heads lammps_mliap apply_cutoff edge_irreps use_reduced_cg use_agnostic_product
        use_so3 use_last_readout_only pair_repulsion compute_bec bec_output_index
        readout_input_dims use_dipoles use_quads use_induced_charges use_induced_dipoles
        use_anisotropic_polarizability alpha_irreps alpha_1o_nonlinear_readout
        alpha_1o_linear_w_pos make_alpha_positive make_kappa_positive
        les_output_scale les_kappa_scale les_alpha_scale""",
    "les": """given n_layers n_hidden add_linear_nn output_scaling_factor sigma dl remove_mean
        epsilon_factor use_atomwise compute_bec bec_output_index remove_self_interaction
        fixed_atomic_charges_scaling_factor is_periodic N_max""",
    "les.ewald": """given dl sigma sigma_sq_half twopi twopi_sq remove_self_interaction norm_factor
        k_sq_max is_periodic N_max""",
}
"""Plain attributes of modules that are used, that are read when the conversion begins, or that
belong to Born charges, networks that are not there (`read_les`) or LAMMPS."""


def refuse_unused(mace: Any, backbone: nn.Module, *, charges: bool, biases: bool) -> None:
    """Refuse a model of which something would be left out.

    Parameters
    ----------
    mace : Inert
        A model as it is in the file.
    backbone : ScalarMace or MaceBackbone
        What its layers become.
    charges, biases : bool
        Whether its charges are used, and biases of its readouts.

    Raises
    ------
    ValueError
        With the names of all that is left out.
    """
    used = set(f"{BESIDE_LAYERS} {LES if charges else ''}".split())
    stacks = {"readouts": READOUT, **(MOMENTS if charges else {})}
    for stack, names in stacks.items():
        biased = BIASES if biases and names is READOUT else ""
        used |= {f"{stack}.#.{name}" for name in f"{names} {biased}".split()}
    if isinstance(backbone, ScalarMace):
        used |= set(LAYERS.split())
    else:
        for named in (backbone.named_modules, backbone.named_parameters, backbone.named_buffers):
            used |= {_general(name) for name, _ in named()}
        # programs, which are not run
        used |= {name for name in LAYERS.split() if "contractions" in name}
    for name in list(used):  # and what they are in
        parts = name.split(".")
        used |= {".".join(parts[:k]) for k in range(1, len(parts))}
    found = [*_strangers(mace, "", used), *_switched_on(mace)]
    if found:
        raise ValueError(
            f"this {type(mace).__name__} has {', '.join(found)}, which the conversion does not "
            "know and would leave out: it would be another model"
        )


def _strangers(module: nn.Module, path: str, used: set[str]) -> Iterator[str]:
    """Names of modules and tensors that are not used; of modules, without what is in them."""
    for name, child in module._modules.items():
        if child is None or path + name in {f"les.{table}" for table in UNUSED_TABLES}:
            continue
        if _general(path + name) in used:
            yield from _strangers(child, f"{path}{name}.", used)
        elif any(True for _ in child.parameters()) or type(child) is not nn.ModuleList:
            yield f"`{path}{name}`"
    for name, tensor in {**module._parameters, **module._buffers}.items():
        known = _general(path + name) in used or WITHOUT_EFFECT.fullmatch(name)
        if tensor is not None and tensor.numel() and not known:
            yield f"`{path}{name}`"


def _general(name: str) -> str:
    """Put # for what counts layers and the like."""
    return re.sub(r"(?<=\.)\d+|(?<=layer)\d+|(?<=U_matrix_)\d+", "#", name)


def _switched_on(mace: Any) -> Iterator[str]:
    """Attributes that are not known and not None, False, zero or empty."""
    for path, known in ATTRIBUTES.items():
        try:
            module = mace.get_submodule(path)
        except AttributeError:
            continue
        for name, value in vars(module).items():
            known_name = name.startswith("_") or name == "training" or name in known.split()
            if not known_name and (value.numel() if isinstance(value, Tensor) else value):
                yield f"`{f'{path}.{name}'.lstrip('.')} = {str(value)[:40]}`"
