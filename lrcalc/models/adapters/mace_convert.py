"""From somebody's MACE or MACE-LES pickle to a `Potential` of plain tensors and settings."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lrcalc.hashing import hash_of
from lrcalc.models.adapters.mace_files import load_weights, settings_of
from lrcalc.models.adapters.mace_latent import Head, Latent, level_of
from lrcalc.models.adapters.mace_latent_files import fill_latent, latent_of, maps_of, scale_of
from lrcalc.models.adapters.mace_model import MaceReadout, Repulsion
from lrcalc.models.adapters.mace_scalars import ScalarMace
from lrcalc.models.adapters.mace_unused import UNUSED_TABLES, refuse_unused
from lrcalc.models.adapters.mace_weights import couplings_of, fill
from lrcalc.models.adapters.pickles import CONSENT, DANGER, Inert, read_pickle
from lrcalc.models.backbone import refuse_broken
from lrcalc.models.options import MACE_MODEL
from lrcalc.models.potential import Potential
from lrcalc.units import EPSILON_0

POLAR = "PolarMACE"

KINDS = {"MACE": "sr", "ScaleShiftMACE": "sr", "MACELES": "q", POLAR: "polar"}
"""Class in the file → level of the model that it becomes; MACE-POLAR is a kind of its own."""

READOUTS = {
    "LinearReadoutBlock": ("linear",),
    "NonLinearReadoutBlock": ("linear_1", "linear_2"),
    "NonLinearBiasReadoutBlock": ("linear_1", "linear_mid", "linear_2"),
}
"""Class of a readout → its layers."""

EWALDS = ("Ewald", "Ewald_vectorized")
"""Classes of the `les` package that sum over charges."""

ACCURACY = 1e-6
"""Of the electrostatics: that of a converged cutoff, and of the mesh for large cells."""


class Les(NamedTuple):
    """Conventions of the electrostatics of a MACE-LES file.

    Attributes
    ----------
    smearing : float, Å
    spacing : float, Å
        Its ``dl``: the sum runs to k_c = 2π/dl.
    strength : float
        Its 1/(2ε0) over that of nature.
    remove_self_interaction : bool
    """

    smearing: float
    spacing: float
    strength: float
    remove_self_interaction: bool


def convert(
    path: str | os.PathLike[str],
    *,
    trust_pickle: bool = False,
    head: str | None = None,
    converge_k: bool = False,
    epsilon_infinity: float = 1.0,
    flip_sign: bool = False,
    flag: str = CONSENT,
) -> Potential:
    """Read a MACE or MACE-LES file.

    Parameters
    ----------
    path : path-like
        A model that ``torch.save`` pickled (``.model``).
    trust_pickle : bool
        Consent to reading a pickle.
    head : str, optional
        Which of several heads.
    converge_k : bool
        Sum charges to a converged k-cutoff. False: to the one the model was trained with, beyond
        which e.g. 0.7 % of the interaction is left out (σ = 1 Å, dl = 2 Å) and energies jump when
        waves enter as a cell changes.
    epsilon_infinity : float
        Electronic permittivity of the matter, for dipoles and Born charges: files do not have it.
    flip_sign : bool
        Turn the sign of all charges, which energies leave open (physics §2): a published model of
        water has its Born charges of O positive.
    flag : str
        How consent is given, for the message.

    Returns
    -------
    Potential
        In float64.

    Raises
    ------
    ValueError
        Naming what is wrong: no consent, another kind of file, a head that is missing.
    """
    path = Path(path)
    if not trust_pickle:
        raise ValueError(f"{path} is a pickle, and {DANGER.format(flag=flag)}")
    mace = read_pickle(path)
    kind = type(mace).__name__
    if not isinstance(mace, Inert) or kind not in KINDS:
        raise ValueError(f"{path} holds {_what(mace)}; wanted is a model: {', '.join(KINDS)}")
    if kind == POLAR and (converge_k or flip_sign or epsilon_infinity != 1.0):
        raise ValueError(
            f"{path} is a MACE-POLAR model, whose charges are physical and whose sums are its own: "
            "leave out converge_k, epsilon_infinity and flip_sign"
        )
    if KINDS[kind] == "sr" and (converge_k or flip_sign or epsilon_infinity != 1.0):
        raise ValueError(
            f"{path} is a {kind} model, without charges: leave out converge_k, epsilon_infinity "
            "and flip_sign"
        )
    try:
        potential = _potential(mace, KINDS[kind], head, converge_k=converge_k)
    except (AttributeError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: this {kind} does not have what those of mace-torch 0.3.16 have ({error}); it "
            "was made by a version that cannot be read"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if flip_sign:
        _flip(potential)
    refuse_broken(potential, path)
    card = potential.metadata
    card["epsilon_infinity"] = float(epsilon_infinity)
    card["epsilon_infinity_from"] = "given at conversion" if epsilon_infinity != 1.0 else "vacuum"
    card["source"] = f"{kind} converted from {path.name} ({hash_of(path.read_bytes())})"
    card["licence"] = "that of the file it was converted from"
    return potential


def _flip(potential: Potential) -> None:
    """Turn the sign of all latent charges, dipoles and quadrupoles, in place."""
    readout = potential.readout
    assert isinstance(readout, MaceReadout)
    for head in cast("Iterable[Head]", readout.heads[1]):
        head.times(-1.0)
    for name in {"dipole", "quadrupole"} & set(readout.latent):
        cast("Latent", readout.latent[name]).times(-1.0)
    potential.metadata["sign"] = "turned at conversion"


def _what(found: Any) -> str:
    if isinstance(found, dict) and str(found.get("format", "")).startswith("lrcalc"):
        return "a model of lrcalc's own, which needs no conversion"
    if isinstance(found, dict):
        names = ", ".join(map(str, list(found)[:4]))
        return f"a dictionary ({names}, …), perhaps a checkpoint or weights without their model"
    module = type(found).__module__
    return f"a {'' if module == 'builtins' else module + '.'}{type(found).__name__}"


def _potential(mace: Any, level: str, head: str | None, *, converge_k: bool) -> Potential:
    heads = [str(name) for name in getattr(mace, "heads", None) or ["default"]]
    place = _head(heads, head)
    if level == "polar":
        from lrcalc.models.adapters.mace_polar_files import polar_potential

        return polar_potential(mace, place, heads)
    settings = {**settings_of(mace), "subtract_isolated": False}
    readouts = list(mace.readouts)
    skipped = settings["num_interactions"] - len(readouts)  # the last only is read out
    settings |= {
        "couplings": couplings_of(mace, settings),
        "readout_hidden": [None] * skipped + [_hidden(block, len(heads)) for block in readouts],
        "readout_bias": any(type(b).__name__ == "NonLinearBiasReadoutBlock" for b in readouts),
        "repulsion": int(mace.pair_repulsion_fn.p) if hasattr(mace, "pair_repulsion_fn") else None,
    }
    options: dict[str, Any] = {"level": level, "charges": "atomic", "accuracy": ACCURACY}
    if level != "sr":
        les, latent = read_les(mace.les), latent_of(mace)
        settings["latent"], options["level"] = latent, level_of(latent)
        options |= {
            "smearing": les.smearing,
            "k_cutoff": None if converge_k else 2.0 * math.pi / les.spacing,
            "strength": les.strength,
            "remove_self_interaction": les.remove_self_interaction,
        }
    elements = [int(z) for z in mace.atomic_numbers]
    potential = Potential(elements, backbone=MACE_MODEL, **settings, **options)
    layers = cast("nn.Module", potential.backbone)
    refuse_unused(mace, layers, charges=level != "sr", biases=settings["readout_bias"])
    reference = potential.reference_energy
    potential = potential.double()
    if isinstance(potential.backbone, ScalarMace):
        fill(potential.backbone, mace)
    else:
        from lrcalc.models.adapters.mace import MaceBackbone

        assert isinstance(potential.backbone, MaceBackbone)
        load_weights(potential.backbone, mace)
    readout = potential.readout
    assert isinstance(readout, MaceReadout)
    blocks = [readouts] if level == "sr" else [readouts, list(mace.les_readouts)]
    with torch.no_grad():
        for own, theirs in zip(readout.heads, blocks, strict=True):
            for one, block in zip(own, theirs, strict=True):  # type: ignore[call-overload]
                _fill(one, block, len(heads), place)
        for one in [] if level == "sr" else readout.heads[1]:  # type: ignore[union-attr]
            one.times(scale_of(mace, "charge"))
        fill_latent(readout, mace, lambda one, block: _fill(one, block, len(heads), place))
        if hasattr(mace, "scale_shift"):
            readout.scale.copy_(_of_head(mace.scale_shift.scale, place))
            readout.shift.copy_(_of_head(mace.scale_shift.shift, place))
        if readout.repulsion is not None:
            _fill_repulsion(readout.repulsion, mace.pair_repulsion_fn)
        energies = torch.atleast_2d(mace.atomic_energies_fn.atomic_energies.detach().double())
        energies = energies[place if len(energies) > 1 else 0]
        reference.copy_(energies[torch.tensor([elements.index(z) for z in potential.species])])
    potential.reference_energy = reference
    if len(heads) > 1:
        potential.metadata["head"] = heads[place]
    return potential.eval().requires_grad_(False)


def _head(heads: list[str], wanted: str | None) -> int:
    """Which head is wanted; several ask."""
    if wanted is None and len(heads) == 1:
        return 0
    if wanted not in heads:
        given = "has several heads" if wanted is None else f"has no head {wanted!r}"
        raise ValueError(
            f"the model {given}; choose one with `lrcalc convert --head`: {', '.join(heads)}"
        )
    return heads.index(wanted)


def _of_head(values: Tensor, place: int) -> Tensor:
    values = torch.atleast_1d(values.detach().double())
    return values[place if len(values) > 1 else 0]


def read_les(les: Any) -> Les:
    """Return the conventions of a file's ``les`` object.

    Raises
    ------
    ValueError
        If its charges are made by a network of its own, or it has more than charges.
    """
    others = [getattr(les, name, None) for name in UNUSED_TABLES]
    tables = {id(x) for module in others if module is not None for x in module.parameters()}
    if getattr(les, "use_atomwise", False) or any(
        parameter.numel() and id(parameter) not in tables for parameter in les.parameters()
    ):
        raise ValueError(
            "the charges of this MACE-LES model are made by a network of its own (use_atomwise), "
            "not by readouts of MACE's layers; it cannot be converted"
        )
    for module, switch in UNUSED_TABLES.items():
        if getattr(les, switch, False):
            raise ValueError(
                f"this MACE-LES model adds a table of elements to what it reads out (`{switch}`, "
                f"`{module}` of its `les`), whose numbers and units are not known here; it cannot "
                "be converted"
            )
    ewald = les.ewald
    if type(ewald).__name__ not in EWALDS:
        raise ValueError(
            f"the charges of this MACE-LES model are summed by {type(ewald).__name__}; known are "
            f"{', '.join(EWALDS)}"
        )
    if getattr(les, "use_epsilon_r_scaling", False):
        raise ValueError("this MACE-LES model scales charges by ε_r, which cannot be converted")
    return Les(
        float(ewald.sigma),
        float(ewald.dl),
        2.0 * EPSILON_0 * float(ewald.norm_factor),
        bool(ewald.remove_self_interaction),
    )


def _layers(block: Any) -> tuple[str, ...]:
    name = type(block).__name__
    if name not in READOUTS:
        raise ValueError(f"the readout {name} cannot be converted; known are {list(READOUTS)}")
    return READOUTS[name]


def _hidden(block: Any, heads: int) -> int:
    """Width of a head's hidden layer, 0 for none."""
    return 0 if len(_layers(block)) == 1 else block.linear_1.irreps_out.dim // heads


def _fill(head: Head, block: Any, heads: int, place: int) -> None:
    """Take the weights of a readout block's part for one of its heads.

    e3nn's linear maps divide by the root of their inputs, and its activations are normalized.
    """
    layers = [getattr(block, name) for name in _layers(block)]
    first, column = _matrix(layers[0]), place if heads > 1 else 0
    if head.last is None:
        head.first.copy_(first[:, [column]])
        return
    gain = _gain(block.non_linearity)
    n = first.shape[1] // heads
    mine = slice(n * place, n * (place + 1))
    head.first.copy_(first[:, mine])
    last = gain * _matrix(layers[-1])[mine, column]
    if head.middle is None:
        head.last.copy_(last)
        return
    middle = layers[1]
    head.middle.copy_(torch.cat([gain * _matrix(middle)[mine, mine], _bias(middle)[None, mine]]))
    head.last.copy_(torch.cat([last, _bias(layers[-1])[[column]]]))


def _matrix(linear: Any) -> Tensor:
    """Map of the scalars of an ``e3nn.o3.Linear``, (inputs, outputs), float64."""
    maps = maps_of(linear)
    if linear.irreps_out.lmax != 0 or set(maps) != {(0, 1)}:
        raise ValueError(
            f"a readout maps {linear.irreps_in} to {linear.irreps_out}; wanted are scalars"
        )
    return maps[0, 1]


def _bias(linear: Any) -> Tensor:
    return linear.bias.detach().double()  # type: ignore[no-any-return]


def _gain(activation: Any) -> float:
    """Factor that e3nn multiplies silu with, so that it keeps the second moment."""
    (act,) = activation.acts
    function = getattr(act, "f", None)
    if getattr(function, "__name__", type(function).__name__) not in ("silu", "SiLU"):
        raise ValueError(f"a readout has the gate {function}; only silu is known")
    return float(act.cst)


def _fill_repulsion(own: Repulsion, theirs: nn.Module) -> None:
    values: Any = theirs
    own.shape.copy_(torch.stack([values.a_prefactor, values.a_exp]).double())
    own.weights.copy_(values.c.double())
    own.radii.copy_(values.covalent_radii.double()[: len(own.radii)])
