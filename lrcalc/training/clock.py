"""How long a training may take."""

from __future__ import annotations

import time

import torch

from lrcalc.training.ranks import Ranks


class Clock:
    """Tells whether there is time for another epoch, which will take as long as the last.

    The first epoch of a run is always done: else a limit would be no way to go on.

    Parameters
    ----------
    minutes : float
        From now on; 0: no limit.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._begun = self._lap = time.perf_counter()
        self._last = 0.0

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        self._last, self._lap = now - self._lap, now
        return self._last

    def allows_another(self, ranks: Ranks) -> bool:
        """Whether the first of the ranks has time; the others follow it."""
        if not self.minutes or not self._last:
            return True
        spent = time.perf_counter() - self._begun + self._last
        late = torch.tensor(float(ranks.rank == 0 and spent > 60.0 * self.minutes))
        return ranks.total(late).item() == 0.0

    def told(self, epoch: int, epochs: int) -> str:
        """Say where it stopped."""
        return (
            f"stopped after epoch {epoch} of {epochs}, for another would end after --max-minutes "
            f"{self.minutes:g}; the same command goes on"
        )
