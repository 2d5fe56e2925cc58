"""How much larger labels are than what they are compared with, and whether they follow it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FOLLOWS = 0.7
"""Correlation from which on a slope means something."""


class Slope(NamedTuple):
    """Labels against what they should be: their ratio, and how well one follows the other."""

    ratio: float
    correlation: float

    @property
    def means_something(self) -> bool:
        """Whether one follows the other."""
        return abs(self.correlation) >= FOLLOWS

    def is_off(self, factor: float) -> bool:
        """Whether they follow with another sign, or differ by more than ``factor`` in size."""
        size = abs(self.ratio)
        return self.means_something and (self.ratio < 0 or not 1 / factor < size < factor)


def slope(label: np.ndarray, made: np.ndarray) -> Slope:
    """Ratio and correlation of two arrays that vary around zero.

    The ratio is that of their sizes with the sign of the correlation, so that noise in either
    does not make it smaller.
    """
    a, b = np.ravel(label), np.ravel(made)
    square = float(a @ a) * float(b @ b)
    if not square > 0.0:
        return Slope(1.0, 0.0)
    correlation = float(a @ b) / square**0.5
    return Slope(float(np.sign(correlation) * np.sqrt((a @ a) / (b @ b))), correlation)
