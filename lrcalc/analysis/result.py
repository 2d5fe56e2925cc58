"""What every analysis returns: a named tuple of numbers that owns its tables, pictures and files.

A result is two lines of classes: the fields as a `NamedTuple`, and a class of it and of
:class:`AnalysisResult` that says what the columns are and how the picture is drawn. Printing and
writing follow from these.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from lrcalc.analysis.output import plus_minus, write_csv, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Quantity(NamedTuple):
    """A number of a summary; as text ``σ = 270 ± 130 S/m (cepstral)``."""

    value: float
    error: float = float("nan")
    """One standard error; NaN where none is known."""
    unit: str = ""
    symbol: str = ""
    remark: str = ""

    def __str__(self) -> str:
        """Value, error, unit and remark in one line."""
        known = not np.isnan(self.error)
        number = plus_minus(self.value, self.error) if known else f"{self.value:.5g}"
        if self.unit[:1].isdigit():  # 10⁻⁹ m²/s
            number, unit = f"({number})·{self.unit}", ""
        else:
            unit = self.unit
        remark = f"({self.remark})" if self.remark else ""
        return " ".join(part for part in (self.symbol, "=", number, unit, remark) if part)


class AnalysisResult:
    """Base of all results.

    Whoever draws or writes may choose what is shown beside the numbers (a title, a measured curve):
    the keywords of :meth:`figure`, which :meth:`table`, :meth:`record` and :meth:`save` take too.

    Attributes
    ----------
    kind : str
        Ending of the files: PREFIX-kind.csv.
    settings : dict
        What was done, and ``notes`` on how far to trust it.
    """

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """What was done: conditions, resolution, frames, blocks, notes."""
        raise NotImplementedError

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What the CSV holds: arrays of one length by name, in order; the name ends in the unit."""
        raise NotImplementedError

    @property
    def summary(self) -> dict[str, Quantity]:
        """Single numbers with errors and units, by name."""
        return {}

    def figure(self, *args: Any, **view: Any) -> Figure:
        """Draw the result; matplotlib is imported here and not before."""
        raise NotImplementedError

    def table(self, **view: Any) -> str:
        """Return the summary as lines of text."""
        return "\n".join(f"  {quantity}" for quantity in self.summary.values())

    def record(self, **view: Any) -> dict[str, Any]:
        """Return what the JSON holds."""
        numbers = {
            name: {"value": found.value, "error": found.error, "unit": found.unit}
            for name, found in self.summary.items()
        }
        return {**numbers, "settings": self.settings}

    def save(self, prefix: str | Path, *, picture: str = "png", **view: Any) -> list[Path]:
        """Write PREFIX-kind.csv, the picture and PREFIX-kind.json; return their paths.

        Parameters
        ----------
        picture
            ``png``, ``pdf`` or ``svg``.
        view
            Keywords of :meth:`figure`.
        """
        from lrcalc.analysis import plots

        figure, record = self.figure(**view), self.record(**view)
        stem = f"{prefix}-{self.kind}"
        return [
            write_csv(f"{stem}.csv", list(self.columns.items()), self.settings),
            plots.save(figure, f"{stem}.{picture}"),
            write_json(f"{stem}.json", record),
        ]
