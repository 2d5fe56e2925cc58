"""A model, a structure, and how what it says of it is compared with what it should."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.fields import Field
from lrcalc.models.potential import Potential
from lrcalc.models.requests import has_response, induces_charges
from lrcalc.neighbors import build_pairs
from lrcalc.prediction import predict
from lrcalc.properties import PROPERTIES, needing
from lrcalc.system import System
from lrcalc.testing.electrostatics import difference

SETTLED, HALVINGS = 1e-7, 5
"""Two differences that agree so well see no step; how often the step of differences is halved."""


class Case(NamedTuple):
    """A model and a structure that it is looked at with."""

    model: Potential
    system: System
    generator: torch.Generator

    @property
    def electric(self) -> bool:
        """Whether there are charges."""
        return self.model.ewald is not None

    @property
    def periodic(self) -> bool:
        """Whether three directions are periodic."""
        return bool(self.system.pbc.all())

    @property
    def charged(self) -> bool:
        """Whether the structure has a net charge."""
        return bool(self.system.total_charge.abs().max() > 1e-9)

    @property
    def neutral(self) -> bool:
        """Whether charges that interact are said to sum to the total one (`Readings`)."""
        terms = self.model(self.system, build_pairs(self.system, self.model.cutoff))
        return terms.readout.moment_charge is None

    @property
    def exact(self) -> bool:
        """Whether there is a dipole that Born charges are the gradient of."""
        local = self.model.readout.charges == "local"
        return self.electric and (local or not bool(self.system.pbc.any()))

    @property
    def responds(self) -> bool:
        """Whether the model has a polarizability."""
        return self.electric and has_response(self.model) and self.model.config["iterations"] == 0

    @property
    def driven(self) -> bool:
        """Whether a field may be applied."""
        neutral = not (self.charged and bool(self.system.pbc.any()))
        induced = induces_charges(self.model) and not self.exact
        return self.electric and neutral and not induced and self.model.config["iterations"] == 0

    def names(self, *wanted: str) -> set[str]:
        """Those properties that this model has of this structure."""
        without = set() if self.electric else needing("charges", PROPERTIES)
        if not self.periodic:
            without |= needing("periodic", PROPERTIES)
        if not self.responds:
            without |= needing("response", PROPERTIES)
        if not self.driven and not self.exact:
            without |= needing("moments", PROPERTIES)
        return set(wanted) - without

    def look(
        self, names: Iterable[str], field: Field | None = None, system: System | None = None
    ) -> dict[str, Tensor]:
        """Predict, Born charges as they are."""
        at = self.system if system is None else system
        return predict(self.model, at, None, field, set(names), asr_projection=False)

    def value(self, name: str, field: Field | None = None, system: System | None = None) -> Tensor:
        """Predict one property."""
        return self.look([name], field, system)[name]

    def normal(self, *shape: int) -> Tensor:
        """Draw a direction of length 1."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return drawn / drawn.norm()

    def moved(self, step: Tensor | float) -> System:
        """Return the structure with its atoms moved."""
        return self.system._replace(positions=self.system.positions + step)


class Slope(NamedTuple):
    """A derivative by differences.

    Attributes
    ----------
    value : Tensor
    rounding : float
        A billion times what the rounding of the values may have made of it: about the smallest
        scale that a tolerance of 1e-6 makes sense of.
    """

    value: Tensor
    rounding: float

    def error(self, said: Tensor, scale: Tensor | None = None) -> float:
        """Error of what the derivative is said to be."""
        size = said.abs().max() if scale is None else scale
        return relative_error(said, self.value, size + self.rounding)


def slope_of(function: Callable[[float], Tensor], step: float) -> Slope:
    """Differentiate at zero, and remember how large the values are."""
    largest = 0.0

    def seen(s: float) -> Tensor:
        nonlocal largest
        value = function(s)
        largest = max(largest, float(value.detach().abs().max()))
        return value

    value = difference(seen, step)
    return Slope(value, 1e9 * torch.finfo(torch.float64).eps * largest / step)


def settled_slope(function: Callable[[float], Tensor], step: float, scale: Tensor) -> Slope:
    """Differentiate at zero a function that may have steps a little way off.

    Wave vectors come and go where a cell is strained, each with a step of the energy as large as
    the truncation of the sum. Such a step within reach of the differences is no slope, so they are
    drawn together until two agree to `SETTLED` of ``scale``.
    """
    slope = slope_of(function, step)
    for _ in range(HALVINGS):
        step *= 0.5
        wider, slope = slope, slope_of(function, step)
        if slope.error(wider.value, scale) < SETTLED:
            break
    return slope


def compared(word: str, found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Error of each property relative to its largest value; of energies, to the largest force."""
    force = expected["forces"].abs().max() if "forces" in expected else torch.zeros(())
    scales = {"energy": force}
    return {
        f"{word} {name}": relative_error(found[name], value, scales.get(name))
        for name, value in sorted(expected.items())
    }


def rotated(name: str, value: Tensor, turn: Tensor) -> Tensor:
    """Values (…, *shape) of a property, a Cartesian tensor, of the structure turned."""
    for axis in range(len(PROPERTIES[name].shape)):
        value = torch.tensordot(value, turn.T, dims=([value.dim() - 1 - axis], [0])).movedim(
            -1, value.dim() - 1 - axis
        )
    return value


def repeated(system: System, axis: int, times: int) -> System:
    """One structure repeated along a lattice vector."""
    steps = torch.arange(times, dtype=torch.float64)[:, None, None] * system.cell[0, axis]
    cell = system.cell.clone()
    cell[0, axis] *= times
    return System(
        (system.positions + steps).flatten(0, 1), cell, system.numbers.repeat(times), system.pbc,
        system.batch.repeat(times), times * system.total_charge,
    )  # fmt: skip


def relative_error(found: Tensor, expected: Tensor | float, scale: Tensor | None = None) -> float:
    """Largest difference over ``scale``, by default the largest value expected."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    size = expected.abs().max() if scale is None else scale
    worst = (found.detach().double() - expected.detach()).abs().max()
    return float(worst / size.detach().double().clamp_min(1e-8))
