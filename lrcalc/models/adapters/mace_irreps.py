"""Where vectors and the like are among the features of an atom, as e3nn lays them out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, cat, nn


def places_of(irreps: Any, kind: tuple[int, int]) -> tuple[list[slice], int]:
    """Where features of one (ℓ, parity) are among those of an atom, and how wide each is."""
    places = zip(irreps.slices(), irreps, strict=True)
    return [place for place, (_, irrep) in places if irrep == kind], 2 * kind[0] + 1


def channels_of(values: Tensor, places: list[slice], width: int) -> Tensor:
    """Pick the places (N, C·width) and let their channels be (N, C, width)."""
    picked = [values[:, place].reshape(len(values), -1, width) for place in places]
    return cat(picked, dim=1) if picked else values.new_zeros(len(values), 0, width)


def padded(values: Tensor, channels: int) -> Tensor:
    """Add channels of zeros (N, C, 2ℓ+1), for vectors and tensors have as many."""
    return nn.functional.pad(values, (0, 0, 0, channels - values.shape[1]))
