"""A model that was trained keeps what it was trained on, for `--watch` and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential
    from lrcalc.training.data import Frame


def keep_environments(
    best: Potential, frames: Sequence[Frame], output: Path, *, device: str, data: Sequence[str]
) -> str:
    """Write a compressed reference of training environments into the model's file.

    Returns
    -------
    str
        One line about it, also where the data cannot make one.
    """
    from ase import Atoms

    from lrcalc.checkpoint import save
    from lrcalc.information.carried import carried

    structures = [
        Atoms(
            s.numbers.cpu().numpy(), s.positions.cpu().numpy(), cell=s.cell[0].cpu().numpy(),
            pbc=s.pbc[0].cpu().numpy(), info={"charge": float(s.total_charge[0])},
        )
        for s in (frame.system for frame in frames)
    ]  # fmt: skip
    try:
        found = carried(
            best, structures, about={"data": [Path(d).name for d in data]}, device=device
        )
    except ValueError as error:
        return f"no training environments are kept in the model: {error}"
    best.environments = found.content
    save(best, output)
    kept = sum(map(len, found.reference.environments.values()))
    more = f"; {found.told}" if found.told else ""
    return f"{kept} training environments are kept in the model (lrcalc md --watch){more}"
