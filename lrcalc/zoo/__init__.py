"""What comes with lrcalc under a name: models, and structures to start from.

Weights whose data state no licence are not installed. They stay in the source tree, in the folder
``models-unlicensed``, and have their names only for whoever sets :data:`OPT_IN`.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent

UNLICENSED = ("water-quantum",)
"""Models that were trained on data which state no licence."""

OPT_IN = "LRCALC_UNLICENSED_MODELS"
"""Variable of the environment: the folder in which they are."""


def models() -> list[str]:
    """Names of the bundled models, and of those that were opted into."""
    return sorted([path.stem for path in FOLDER.glob("*.pt")] + _opted_into())


def _opted_into() -> list[str]:
    folder = os.environ.get(OPT_IN)
    return [] if not folder else [name for name in UNLICENSED if _unlicensed(name).is_file()]


def _unlicensed(name: str) -> Path:
    return Path(os.environ.get(OPT_IN, "")).expanduser() / f"{name}.pt"


def phase_models() -> list[str]:
    """Names of the bundled models of phases (`lrcalc.information.phases`)."""
    return sorted(path.stem for path in (FOLDER / "phases").glob("*.pt"))


def phase_model_file(name: str) -> Path:
    """File of a bundled model of phases, whether there is one or not."""
    return FOLDER / "phases" / f"{name}.pt"


def structures() -> list[str]:
    """Names of the bundled structures."""
    return sorted(path.stem for path in FOLDER.glob("*.xyz"))


def model_file(name: str) -> Path:
    """File of a bundled model, whether there is one or not."""
    return _unlicensed(name) if name in _opted_into() else FOLDER / f"{name}.pt"


def structure_file(name: str) -> Path:
    """File of a bundled structure, whether there is one or not."""
    return FOLDER / f"{name}.xyz"


def why_not_installed(name: str) -> str | None:
    """Say where a model is that is not installed and why, or None if there is no such model."""
    if name not in UNLICENSED:
        return None
    return (
        f"model {name!r} is not installed: the data it was trained on state no licence, so nobody "
        f"can say who may use its weights. They are in the source tree of lrcalc, "
        f"models-unlicensed/{name}.pt, with their card; if you may use them, give that path, or "
        f"set {OPT_IN} to the folder models-unlicensed"
    )
