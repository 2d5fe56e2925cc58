"""Labels that do not fit: the one place where their units, signs and orders are asked for.

First among themselves and against what is known of matter (`describe_units`), then against a model
that knows some of them (`unlike_model`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from lrcalc.structures.spacing import describe_spacing
from lrcalc.training.charge_scales import describe_charges
from lrcalc.training.composition import composition_part
from lrcalc.training.label_units import OPTION, UNITS, likely, way_out
from lrcalc.training.scales import MOST_FRAMES, describe_scales, describe_stress_ratio
from lrcalc.training.slopes import slope

Values = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Property → model's and labelled values."""

KNOWN_FORCES = 0.7
"""R² of its forces from which on a model's energies and stress mean something."""

OF = {"forces": "eV/Å, -dE/dr", "energy": "eV", "born": "e", "dipole": "e Å",
      "polarizability": "e Å²/V"}  # fmt: skip

WORDS = {"born": "Born charges", "energy": "energies", "dipole": "dipoles",
         "polarizability": "polarizabilities"}  # fmt: skip

ORDERED = 0.02
"""e, root mean square of the antisymmetric parts of Born charges that have an order."""

FACTORS = {"born": 1.7, "dipole": 1.7, "polarizability": 4.0}
"""By what labels may differ from a model that knows the charges. What others make of charges may
be anything (`lrcalc.training.identifiability`)."""


def describe_units(structures: Sequence[Atoms]) -> list[str]:
    """Say which labels look like another unit, sign or order than ours: a line each.

    Parameters
    ----------
    structures : sequence of Atoms
        As `lrcalc.training.labels.take_labels` leaves them.
    """
    few = structures[:: max(1, len(structures) // MOST_FRAMES)][:MOST_FRAMES]
    line = describe_spacing(few)
    if line:  # of which all others hang
        return [f"{line}; give {OPTION} positions=… if they are"]
    return [*describe_scales(structures), *describe_charges(structures)]


def unlike_model(
    values: Values, structures: Sequence[Atoms], *, determined: bool = False
) -> list[str]:
    """Say which labels have another sign, unit or order than what a model makes: a line each.

    Parameters
    ----------
    values : mapping of str to (model, label)
        As of `lrcalc.model_errors.collect`.
    structures : sequence of Atoms
        They are of.
    determined : bool
        Whether the model's charges are known to be right.
    """
    return [*_mechanical(values, structures), *_electrical(values, determined)]


def _mechanical(values: Values, structures: Sequence[Atoms]) -> Iterator[str]:
    pairs = {name: (data, model) for name, (model, data) in values.items()}
    if "energy" in pairs and known(values):
        labelled = [a for a in structures if a.calc is not None and "energy" in a.calc.results]
        sizes = np.array([len(a) for a in labelled])
        numbers = [a.numbers for a in labelled]
        made = [x * sizes - composition_part(x * sizes, numbers) for x in pairs["energy"]]
        if len(labelled) >= 4:
            yield from _line("energy", made[0], made[1], 2.0)
    if "forces" in pairs:
        yield from _line("forces", *pairs["forces"], 2.0)
    if "stress" in pairs and known(values):
        volume = float(np.mean([a.get_volume() for a in structures if a.pbc.all()]))
        varying = [x - x.mean(0) if len(x) > 2 else x for x in pairs["stress"]]
        line = describe_stress_ratio(slope(*varying), volume, "the model's")
        yield from [line] if line else []


def _electrical(values: Values, determined: bool) -> Iterator[str]:
    for name, factor in FACTORS.items():
        if name in values and (determined or name == "polarizability"):
            model, label = values[name]
            yield from _line(name, label, model, factor)
    if "born" in values:
        line = describe_born_order(*(torch.as_tensor(x) for x in values["born"]))
        yield from [line] if line else []


def known(values: Values) -> bool:
    """Whether a model knows the forces, whatever their unit."""
    if "forces" not in values:
        return False
    model, data = values["forces"]
    return slope(data, model).correlation ** 2 > KNOWN_FORCES


def _line(name: str, label: np.ndarray, made: np.ndarray, factor: float) -> Iterator[str]:
    found = slope(label, made)
    if found.is_off(factor):
        near = likely(name, found.ratio, 1.6)
        if not near and 1 / 1.6 < -found.ratio < 1.6:
            near = list(UNITS[name])[:1]
        yield (
            f"the {WORDS.get(name, name)} of the data are {found.ratio:.3g} times the model's, and "
            f"read in {OF[name]}: another unit or sign? {way_out(name, near, found.ratio)}"
        )


def antisymmetric(born: Tensor) -> Tensor:
    """Antisymmetric parts of tensors (N, 3, 3), twice, as a vector."""
    return (born - born.transpose(1, 2)).flatten()


def describe_born_order(model: Tensor, label: Tensor) -> str | None:
    """Say that Born labels (N, 3, 3) follow a trained model's only when transposed, or None.

    What the two orders differ by is the antisymmetric part of the tensors. Where all else has the
    other sign, too, it is the sign that differs.
    """
    if float((model + model.mT).flatten() @ (label + label.mT).flatten()) < 0.0:
        return None
    one, two = antisymmetric(model), antisymmetric(label)
    size = float(one.norm() * two.norm())
    if not size > ORDERED**2 * len(one) or float(one @ two) / size > -0.3:
        return None
    return (
        f"the Born labels follow the model's only when transposed (correlation of the "
        f"antisymmetric parts {float(one @ two) / size:.2f}): are they in the order (displacement, "
        "field)? born[field, displacement] is wanted"
    )
