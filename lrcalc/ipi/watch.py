"""A driver that looks at the structures it is sent: how far they are from data."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.information.guard import Guard
from lrcalc.information.intake import kind_is_model
from lrcalc.information.monitor import Monitor

if TYPE_CHECKING:
    from lrcalc.frames import Frames
    from lrcalc.ipi.settings import DriverSettings

OWN = "model"
"""Watch by what the run's own model was trained on."""

SAVED = "outside.xyz"
"""File, in the folder that the driver runs in, of frames that lie outside."""


class Watch:
    """Looks at one bead, the next one each time, every so many calls.

    Without `DriverSettings.watch` it is a `Guard`, which warns once.
    """

    def __init__(self, settings: DriverSettings, evaluator: Any) -> None:
        self.every = settings.watch_every or 1
        self.calls = -1
        self.looks = 0
        self.guard = Guard(settings.model)
        self.monitor: Monitor | None = None
        if settings.watch:
            from lrcalc.information.choosing import open_judge, told_whose, usual_stride

            score, committee = settings.watch_score, settings.watch_committee
            # the run's own model is asked again, for charges too
            usual = usual_stride(score, (settings.model, *committee))
            self.every = settings.watch_every or usual
            names = [settings.model if settings.watch == OWN else settings.watch]
            own = evaluator if hasattr(evaluator, "potential") else None
            if own is None and score == "committee":
                raise ValueError(
                    "`watch_score` is committee, but the driver's own evaluator is no model of "
                    "lrcalc: use delta-h"
                )
            judge = open_judge(
                score, names, own=own, own_name=settings.model, committee=committee,
                limit=settings.watch_limit,
            )  # fmt: skip
            self.monitor = Monitor(
                judge, told_whose(judge, names, score), action=settings.watch_action,
                limit=settings.watch_limit, frames=SAVED,
            )  # fmt: skip

    def see(self, frames: Frames, evaluator: Any) -> None:
        """Look if it is time.

        Raises
        ------
        ValueError
            If the structure lies outside and the run shall end then.
        """
        self.calls += 1
        if self.monitor is None:
            potential = getattr(evaluator, "potential", None)
            if potential is not None and not self.guard.warned:
                bead = self.calls % len(frames.cells)
                self.guard.see(potential, _one(frames, bead).atoms()[0])
            return
        if self.calls % self.every:
            return
        bead = self.looks % len(frames.cells)
        self.looks += 1
        found = self.monitor.look(_one(frames, bead).atoms()[0])
        if not found.told:
            return
        told = f"call {self.calls}, bead {bead}: {found.told}"
        if self.monitor.action == "stop":
            raise ValueError(f"stopped by `watch`: {told}")
        if not self.monitor.told:
            print(f"lrcalc: warning: {told}", file=sys.stderr, flush=True)
        self.monitor.told = True


def _one(frames: Frames, bead: int) -> Frames:
    part = slice(bead, bead + 1)
    return frames._replace(cells=frames.cells[part], positions=frames.positions[part])


def absolute(name: str) -> str:
    """Name data by their whole path: i-PI runs in another folder."""
    if name in ("", OWN) or (kind_is_model(name) and not Path(name).exists()):
        return name
    return os.path.abspath(name)
