"""What comes with lrcalc under a name: models, and structures to start from."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def models() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def structures() -> list[str]:
    """Names of the bundled structures."""
    return sorted(path.stem for path in FOLDER.glob("*.xyz"))


def model_file(name: str) -> Path:
    """File of a bundled model, whether there is one or not."""
    return FOLDER / f"{name}.pt"


def structure_file(name: str) -> Path:
    """File of a bundled structure, whether there is one or not."""
    return FOLDER / f"{name}.xyz"
