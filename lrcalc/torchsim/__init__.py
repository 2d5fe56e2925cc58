"""torch-sim: `TorchSimModel`, our potential for its integrators and optimizers, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcalc.optional import explained

if TYPE_CHECKING:
    from lrcalc.torchsim.model import TorchSimModel

__all__ = ["TorchSimModel"]


def __getattr__(name: str) -> Any:
    """Make the class, which derives from torch-sim's, when it is asked for."""
    if name != "TorchSimModel":
        raise AttributeError(f"module 'lrcalc.torchsim' has no attribute {name!r}")
    with explained():
        from lrcalc.torchsim.model import TorchSimModel
    return TorchSimModel
