"""What a model file carries of its training data: environments, ranges and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lrcalc.information.descriptors import PUBLISHED, Form
from lrcalc.information.feature_reference import make_features
from lrcalc.information.given import check_potential, structures_given
from lrcalc.information.ranges import with_ranges
from lrcalc.information.reference import BYTES, Reference, make_reference

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential


class Carried(NamedTuple):
    """What goes into a model's file, and what was left out.

    Attributes
    ----------
    content : dict
        Tensors and plain values, for `Potential.environments`.
    reference : Reference
        The environments.
    told : str or None
        Why there are no features, if there are none.
    """

    content: dict[str, Any]
    reference: Reference
    told: str | None


def carried(
    potential: Potential,
    frames: Sequence[Atoms],
    form: Form = PUBLISHED,
    *,
    about: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Carried:
    """Make all that a model keeps of the frames it was trained on, at most `BYTES` of arrays.

    Parameters
    ----------
    potential : Potential
    frames : sequence of Atoms
    form : Form, optional
        Of the descriptors of environments.
    about : mapping, optional
        Plain values that are kept with it.
    device : str, optional
        Torch device on which the model is asked.

    Raises
    ------
    ValueError
        As `make_reference`. A backbone without features, or with too many of them, is no error.
    """
    from lrcalc.evaluator import Evaluator

    check_potential(potential)
    frames = structures_given(frames)
    evaluate = Evaluator(potential, device=device, allow_net_charge=True)
    features, told, taken = None, None, 0
    try:
        features = make_features(potential, frames, about=about).content()
    except ValueError as error:
        told = f"no training features are kept in the model: {error}"
    if features is not None:
        parts = [x for one in features["species"].values() for s in one["spaces"] for x in s]
        taken = sum(x.nbytes for x in parts if hasattr(x, "nbytes"))
    reference = make_reference(frames, form, bytes_kept=BYTES - taken, about=about)
    charged = potential.config["level"] != "sr" and not potential.own_field
    reference = with_ranges(reference, frames, evaluate, charged=charged)
    content = reference.content() | ({} if features is None else {"features": features})
    return Carried(content, reference, told)
