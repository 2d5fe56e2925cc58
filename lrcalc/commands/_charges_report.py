"""What a finished training says of its charges: whether the data determine them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential
    from lrcalc.training.settings import TrainingSettings


def report_charges(
    best: Potential,
    split: dict[str, Any],
    settings: TrainingSettings,
    output: Path,
    ensemble: int = 0,
) -> None:
    """Say whether the data determine the charges, and write it into the card of ``output``."""
    from lrcalc.checkpoint import save
    from lrcalc.models.card import charges_lines
    from lrcalc.training.identifiability import identifiability

    begun = time.perf_counter()
    found = identifiability(
        best, split["training"], split["validation"], settings, ensemble=ensemble
    )
    if found is None:
        return
    best.metadata["identifiability"] = found.card()
    save(best, output)
    print(f"report on the charges, {(time.perf_counter() - begun) / 60:.1f} min:")
    for line in charges_lines(best.metadata):
        loud = found.verdict == "not determined"
        print(f"{'warning: ' if loud else ''}{line}")
