"""The list of properties: what can be asked of a model, and all that callers have to know of it.

From `PROPERTIES` follow what is refused, what is differentiated, the pieces that a batch is cut
into, ASE's ``implemented_properties``, header and columns of extended xyz, the extras of i-PI and
the rows of `lrcalc evaluate`. A new one is a row here, its physics in `lrcalc.models`, and a test.
Nothing heavy is imported: programs that compute nothing ask for names and units too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from lrcalc.prediction import Prediction

NEEDS = {
    "gradient": "a backward pass to the positions",
    "strain": "positions and cell that depend on a strain",
    "charges": "a model with charges: any level but 'sr'",
    "moments": "moments of the whole structure, made of the latent multipoles",
    "response": "a polarizability: a latent response or a surface",
    "linear response": "a response that is not iterated",
    "periodic": "three periodic directions",
    "open": "no periodic direction, and no field",
    "velocities": "velocities of the atoms",
}
"""What a property may need, of the model, the structure or the prediction."""


class NotHad(ValueError):
    """The model, or this kind of structure with it, does not have what is asked for."""


class Property(NamedTuple):
    """One quantity that a model gives.

    Attributes
    ----------
    name : str
        As callers ask for it; ASE's name where ASE has one.
    unit : str
        Of eV, Å, e, V and fs; one of `lrcalc.units.ATOMIC`, if it is an extra of i-PI.
    per_atom : bool
        Whether there is a value for each atom, not one for each structure.
    shape : tuple of int
        Of one value.
    needs : tuple of str
        Among `NEEDS`.
    compute : callable
        From a `lrcalc.prediction.Prediction` to the values of a batch: a Tensor (N, *shape) or
        (S, *shape).
    extra : str, optional
        Name in i-PI's extras string; None: that of the property; empty: it is none.
    column : str, optional
        Name in extended xyz files; None: that of the property.
    """

    name: str
    unit: str
    per_atom: bool
    shape: tuple[int, ...]
    needs: tuple[str, ...]
    compute: Callable[[Prediction], Tensor]
    extra: str | None = None
    column: str | None = None


PROPERTIES: dict[str, Property] = {}
"""Name → property, in the order in which they are told. What a name, unit and shape leave open:

energy
    In a field the electric enthalpy; forces and stress are its derivatives (stress at constant E,
    at constant voltage with a reduced field). Positive stress is tension.
dipole, polarization
    Minus the derivative of the enthalpy with respect to the field; in a periodic cell of the branch
    on which the positions are.
born_effective_charges
    ``[atom, field, displacement]``; like polarizability and current, those in the field held.
polarizability_derivative
    ``[atom, displacement, a, b]``.
current
    ``dM/dt`` at the velocities of the structure, without Born tensors; at constant D also what the
    change of E adds.
electric_field
    Of that moment; zero without one.
dielectric_tensor
    Electronic permittivity that the forces hold (`lrcalc.Evaluator.enthalpy_permittivity`; for
    optics see `lrcalc.Evaluator.optical_permittivity`).
quadrupole
    Traceless, with its origin: `lrcalc.models.quadrupole`.
"""


def register(new: Property) -> Property:
    """Add a property, for all callers.

    Raises
    ------
    ValueError
        For a name that is taken, or a need that is none of `NEEDS`.
    """
    if new.name in PROPERTIES:
        raise ValueError(f"`name` is {new.name!r}, which is a property already; take another name")
    unknown = sorted(set(new.needs) - set(NEEDS))
    if unknown:
        raise ValueError(f"`needs` of {new.name} has {unknown}; known needs: {sorted(NEEDS)}")
    PROPERTIES[new.name] = new
    return new


def check_value(name: str, value: Any, system: Any) -> None:
    """Refuse what ``compute`` of a property returned, if it is not what its row says."""
    row = PROPERTIES[name]
    count = len(system.positions) if row.per_atom else system.n_structures
    given = getattr(value, "shape", None)
    if given is None or tuple(given) != (count, *row.shape):
        raise ValueError(
            f"`compute` of the property {name} returned {type(value).__name__} of shape "
            f"{given if given is None else tuple(given)} but must return a tensor "
            f"{(count, *row.shape)}, by its `per_atom` and `shape`"
        )


def needing(need: str, names: Iterable[str]) -> set[str]:
    """Return those of ``names`` that need ``need``."""
    return {name for name in names if need in PROPERTIES[name].needs}


def extras() -> dict[str, Property]:
    """Name in the extras string of i-PI → property."""
    named = ((p.name if p.extra is None else p.extra, p) for p in PROPERTIES.values())
    return {name: p for name, p in named if name}


def as_names(properties: str | Iterable[str]) -> set[str]:
    """Return the set of property names; one string is one name.

    Raises
    ------
    ValueError
        For one that is no property.
    """
    names = {properties} if isinstance(properties, str) else set(properties)
    unknown = names - set(PROPERTIES)
    if unknown:
        raise ValueError(f"unknown properties {sorted(unknown)}; known: {list(PROPERTIES)}")
    return names


def _quadrupole(prediction: Prediction) -> Any:
    from lrcalc.models.quadrupole import lattice_quadrupole

    return prediction.screening * lattice_quadrupole(prediction.system, prediction.terms)


def _bec_as_published(prediction: Prediction) -> Any:
    from lrcalc.models.as_published import bec_as_published

    return bec_as_published(prediction)


MOMENTS = ("charges", "moments")
RESPONSE = (*MOMENTS, "response", "linear response")

for _row in (
    Property("energy", "eV", False, (), (), lambda c: c.enthalpy.value, extra=""),
    Property("forces", "eV/Å", True, (3,), ("gradient",), lambda c: c.forces, extra=""),
    Property("stress", "eV/Å³", False, (3, 3), ("gradient", "strain", "periodic"),
             lambda c: c.stress, extra=""),
    Property("dipole", "e Å", False, (3,), MOMENTS, lambda c: c.dipole),
    Property("polarization", "e/Å²", False, (3,), (*MOMENTS, "periodic"),
             lambda c: c.polarization),
    Property("born_effective_charges", "e", True, (3, 3), (*MOMENTS, "gradient"),
             lambda c: c.born, extra="BEC", column="born"),
    Property("polarizability", "e Å²/V", False, (3, 3), RESPONSE, lambda c: c.polarizability),
    Property("polarizability_derivative", "e Å/V", True, (3, 3, 3), (*RESPONSE, "gradient"),
             lambda c: c.polarizability_derivative, column="dpol"),
    Property("charges", "e", True, (), ("charges",), lambda c: c.charges),
    Property("current", "e Å/fs", False, (3,), (*MOMENTS, "gradient", "velocities"),
             lambda c: c.current, extra=""),
    Property("electric_field", "V/Å", False, (3,), (), lambda c: c.electric_field),
    Property("dielectric_tensor", "", False, (3, 3), (*MOMENTS, "linear response", "periodic"),
             lambda c: c.dielectric_tensor),
    Property("bec_as_published", "e", True, (3, 3), ("charges", "gradient"), _bec_as_published,
             extra=""),
    Property("quadrupole", "e Å²", False, (3, 3), (*MOMENTS, "open"), _quadrupole),
):  # fmt: skip
    register(_row)
