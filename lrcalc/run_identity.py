"""What makes two runs the same run: kept with the saved state, compared before it is continued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.courses import Course
from lrcalc.hashing import hash_of
from lrcalc.structures import total_charge

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.calculator import LRCalculator
    from lrcalc.models.potential import Potential

UNITS = {
    "timestep": "fs", "temperature": "K", "pressure": "GPa", "thermostat_time": "fs",
    "barostat_time": "fs", "masses": "u", "charge": "e",
}  # fmt: skip

OUTPUT = "start anew (`lrcalc md --restart`), or give another output (`--out`)"
"""The way out of every refusal to continue."""


def describe(atoms: Atoms, calculator: LRCalculator, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides how a run goes on from its state, as plain values (JSON).

    The positions are not among it, because the state has them; nor is the device.
    """
    evaluator = calculator.evaluator
    return {
        "numbers": atoms.numbers.tolist(),
        "pbc": atoms.pbc.tolist(),
        "masses": atoms.get_masses().tolist(),
        "charge": total_charge(atoms),
        "constraints": [constraint.todict() for constraint in atoms.constraints],
        **settings,
        "held": held(calculator),
        "epsilon_infinity": evaluator.epsilon_infinity,
        "asr_projection": evaluator.asr_projection,
        "dtype": str(evaluator.potential.dtype).removeprefix("torch."),
        "model": fingerprint(evaluator.potential),
    }


def held(calculator: LRCalculator) -> str:
    """Say what is held, to the last digit; of a function of time only that it is one."""
    field = calculator.field
    if field is None:
        return "nothing"
    if not field.varies:
        return f"{field.kind} {list(field.value)} {field.unit}"
    if isinstance(field.source, Course):
        return f"{field.kind} {field.source!r} {field.unit}"
    return f"{field.kind} a function of time"


def fingerprint(potential: Potential) -> str:
    """Hash of species, configuration and parameters; not of the card, device or precision."""
    parts: list[str | np.ndarray] = [
        json.dumps([list(potential.species), potential.config], sort_keys=True)
    ]
    for name, value in sorted(potential.state_dict().items()):
        parts += [name, value.detach().cpu().double().numpy()]
    return hash_of(*parts)


def pack(identity: Mapping[str, Any]) -> np.ndarray:
    """JSON text as bytes (uint8), which an npz file keeps without pickle."""
    return np.frombuffer(json.dumps(dict(identity), default=_plain).encode(), dtype=np.uint8)


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as lists and numbers; anything else by its type."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else type(value).__name__


def check_same(saved: np.ndarray | None, identity: Mapping[str, Any]) -> None:
    """Refuse to continue another run.

    Parameters
    ----------
    saved : ndarray or None
        What `pack` made of the earlier run, None if its state has none.
    identity : mapping
        Of the run that is to continue.

    Raises
    ------
    ValueError
        With all that differs, both values, and the way out.
    """
    if saved is None:
        raise ValueError(
            f"the saved state does not tell which run it is of: another program or version "
            f"of lrcalc wrote it; {OUTPUT}"
        )
    before = json.loads(bytes(saved))
    now = json.loads(bytes(pack(identity)))
    found = differences(before, now)
    if found:
        raise ValueError(f"the saved state is of another run: {'; '.join(found)}; {OUTPUT}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``name was this, now it is that`` of every entry that is not the same."""
    found = []
    for name in {**before, **now}:
        old, new = before.get(name, "not recorded"), now.get(name, "not given")
        if old == new or (name == "masses" and before.get("numbers") != now.get("numbers")):
            continue
        label = name
        if isinstance(old, list) and isinstance(new, list) and name in ("numbers", "masses"):
            if len(old) == len(new):
                index = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
                label, old, new = f"{name} (first: atom {index})", old[index], new[index]
            else:
                label, old, new = "number of atoms", len(old), len(new)
        unit = f" {UNITS[name]}" if name in UNITS else ""
        found.append(f"`{label}` was {old}{unit}, now it is {new}{unit}")
    return found
