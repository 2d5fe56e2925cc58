"""What may be chosen of a model: plain values, for which nothing has to be imported."""

from __future__ import annotations

from typing import Any

LEVELS = {
    "sr": frozenset[str](),
    "q": frozenset({"q"}),
    "u": frozenset({"q", "u"}),
    "uQ": frozenset({"q", "u", "Q"}),
    "uiq": frozenset({"q", "u", "iq"}),
    "uiu": frozenset({"q", "u", "iu"}),
    "uiqiu": frozenset({"q", "u", "iq", "iu"}),
    "uQiqiu": frozenset({"q", "u", "Q", "iq", "iu"}),
}
"""What each level of the theory reads out; the paper's names, and `sr` for none."""

PRIORS = ("none", "zbl")
"""Repulsions that are not learned, `lrcalc.models.prior`."""

CONTACTS = "zbl-contacts"
"""Name in `lrcalc train` of the repulsion between elements that are not bonded in the data."""

DEFAULTS: dict[str, Any] = {
    "level": "u",
    "charges": "local",
    "transfer_cutoff": 3.5,
    "transfer_channels": 4,
    "transfer_hops": 1,
    "transfer_decay": [0.25, 0.8],
    "anisotropic": False,
    "smearing": 1.0,
    "k_cutoff": None,
    "accuracy": 1e-4,
    "iterations": 0,
    "remove_self_interaction": True,
    "strength": 1.0,
    "prior": "none",
    "prior_between": None,
    "wall": None,
    "surface": 0,
}
"""Options of every potential, beside the settings of its backbone: plain values, stored in its
file."""

BROAD_TRANSFERS: dict[str, Any] = {"transfer_cutoff": 5.0, "transfer_decay": [0.8, 2.5]}
"""Shares that several hops are made with (docs/local-charges.md)."""

NATIVE_DEFAULTS: dict[str, Any] = {
    "cutoff": 5.0, "channels": 32, "n_basis": 8, "hidden": 64, "layers": 1,
}  # fmt: skip
"""Settings of our own backbone."""

PRESETS: dict[str, dict[str, int]] = {
    "small": {"channels": 16, "hidden": 32, "layers": 1},
    "medium": {name: NATIVE_DEFAULTS[name] for name in ("channels", "hidden", "layers")},
    "large": {"channels": 32, "hidden": 64, "layers": 2},
}
"""Sizes of our own backbone, which have names."""

YOUNGER: dict[str, Any] = {
    "layers": 1, "remove_self_interaction": True, "strength": 1.0, "prior": "none", "latent": {},
    "architecture": None, "wall": None, "prior_between": None,
}  # fmt: skip
"""Options that the first model files did not know, and what they meant.

A configuration tells them where they are something else only: a file, a fingerprint or a state from
before they were there stays what it was.
"""

MACE_DEFAULTS: dict[str, Any] = {
    "cutoff": 5.0,
    "num_interactions": 2,
    "hidden_irreps": "32x0e + 32x1o",
    "full_last": True,
    "max_ell": 3,
    "correlation": 3,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "radial_type": "bessel",
    "distance_transform": "None",
    "apply_cutoff": True,
    "radial_MLP": [64, 64, 64],
    "edge_irreps": None,
    "interaction_first": "RealAgnosticResidualInteractionBlock",
    "interaction": "RealAgnosticResidualInteractionBlock",
    "avg_num_neighbors": None,
    "use_reduced_cg": True,
    "use_so3": False,
    "use_agnostic_product": False,
    "elements": None,
    "subtract_isolated": True,
}
"""Settings of MACE's layers as a backbone, by MACE's own names (``cutoff`` is its ``r_max``) and:

``full_last``: the last layer has vectors and tensors too (MACE's own has scalars only).
``avg_num_neighbors``: None counts them in the training data.
``elements``: all those that a file was made for; None for those of the potential.
``subtract_isolated``: take off what an atom alone has, so that its features are zero.
"""

MACE_MODEL = "mace-model"
"""Name of the backbone that is a whole MACE or MACE-LES model, with its own readouts."""

MACE_MODEL_DEFAULTS: dict[str, Any] = {
    **MACE_DEFAULTS,
    "subtract_isolated": False,
    "couplings": None,
    "readout_hidden": [0, 16],
    "readout_bias": False,
    "repulsion": None,
    "latent": {},
}
"""Settings of MACE's layers, and of the readouts that came with them.

``couplings``: where features are scalars alone, the number of invariant products of each layer;
they are then evaluated by `lrcalc.models.adapters.mace_scalars`, without mace-torch. None: by it.
``readout_hidden``: of each layer the width of its readouts' hidden layer, 0 for linear ones, None
for none; ``readout_bias``: they have biases and a second hidden layer; ``repulsion``: power of the
polynomial that ends a ZBL repulsion, None for none; ``latent``: moments and responses beside
charges, by their names in `Multipoles`, and what they are read out of
(`lrcalc.models.adapters.mace_latent.Latent`).
"""

MACE_POLAR = "mace-polar"
"""Name of the backbone that is a whole MACE-POLAR model."""

MACE_POLAR_DEFAULTS: dict[str, Any] = {
    **{name: value for name, value in MACE_DEFAULTS.items() if name != "subtract_isolated"},
    "polar": {},
    "heads": ["Default"],
    "head": 0,
}
"""Settings of MACE's layers, and ``polar``: those of ``PolarMACE`` beside them, by its own names;
``heads``: names of all, ``head``: the place of the one that is used."""

NEQUIP_MODEL = "nequip-model"
"""Name of the backbone that is a whole NequIP or Allegro model, its energies and nothing else."""

NEQUIP_MODEL_DEFAULTS: dict[str, Any] = {"cutoff": 5.0, "architecture": {}}
"""``architecture``: what nequip's builder is called with, by nequip's own names, and ``_target_``,
the builder; ``cutoff``: its ``r_max``."""

NEQUIP_DEFAULTS: dict[str, Any] = {
    "cutoff": 5.0,
    "num_layers": 2,
    "l_max": 2,
    "parity": False,
    "num_features": 32,
    "type_embed_num_features": None,
    "radial_mlp_depth": 1,
    "radial_mlp_width": 64,
    "num_bessels": 8,
    "bessel_trainable": False,
    "polynomial_cutoff_p": 6,
    "avg_num_neighbors": None,
    "elements": None,
    "architecture": None,
}
"""Settings of NequIP's layers as a backbone, by NequIP's own names (``cutoff`` is its ``r_max``).

``num_features`` may be a list, one number for each ℓ; ``avg_num_neighbors``: None counts them in
the training data; ``elements``: all those that a file was made for, None for the potential's;
``architecture``: what nequip's builder of a file was called with (`NEQUIP_MODEL_DEFAULTS`), which
then has all settings, and the others repeat what it states. None: ours, whose last layer has
vectors and tensors too (NequIP's and Allegro's own have scalars only).
"""

ALLEGRO_DEFAULTS: dict[str, Any] = {
    "cutoff": 5.0,
    "num_layers": 2,
    "l_max": 2,
    "parity": True,
    "num_scalar_features": 64,
    "num_tensor_features": 16,
    "scalar_embed_mlp_hidden_layers_depth": 1,
    "scalar_embed_mlp_hidden_layers_width": 64,
    "allegro_mlp_hidden_layers_depth": 1,
    "allegro_mlp_hidden_layers_width": 64,
    "tp_path_channel_coupling": True,
    "num_bessels": 8,
    "bessel_trainable": False,
    "polynomial_cutoff_p": 6,
    "avg_num_neighbors": None,
    "elements": None,
    "architecture": None,
}
"""Settings of Allegro's layers as a backbone, by Allegro's own names, and as `NEQUIP_DEFAULTS`.

``num_bessels`` and so on are those of its ``TwoBodyBesselScalarEmbed``.
"""


WHOLE_MODELS = (MACE_MODEL, MACE_POLAR, NEQUIP_MODEL)
"""Backbones that are whole models of others, as conversions make them: not to be trained anew."""


def complete_config(settings: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return all options: those of ``config`` over the defaults of the backbone and `DEFAULTS`.

    Parameters
    ----------
    settings : dict
        Defaults of the backbone.
    config : dict

    Raises
    ------
    ValueError
        For an unknown option, or one that both backbone and potential have.
    """
    known = {**settings, **DEFAULTS}
    if len(known) < len(settings) + len(DEFAULTS):
        twice = sorted(set(settings) & set(DEFAULTS))
        raise ValueError(f"settings {twice} of the backbone have names of options of the potential")
    unknown = set(config) - set(known)
    if unknown:
        raise ValueError(f"unknown model options {sorted(unknown)}; known: {sorted(known)}")
    return {**known, **config}


def told_config(settings: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return ``config`` without options of `YOUNGER` that mean what was meant before them.

    Unless that is not the default of this backbone, whose ``settings`` are as in `complete_config`.
    """
    known = {**settings, **DEFAULTS}
    return {
        k: v for k, v in config.items() if k not in YOUNGER or not v == YOUNGER[k] == known.get(k)
    }
