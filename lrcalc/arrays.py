"""From the tensors of a batch to numpy arrays of each structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.properties import PROPERTIES

if TYPE_CHECKING:
    from torch import Tensor


def as_numpy(values: Tensor) -> np.ndarray:
    """Float64 array on the host."""
    return np.asarray(values.detach().cpu().double().numpy())


def split(values: Mapping[str, Tensor], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Cut properties of a batch into those of its structures.

    Parameters
    ----------
    values : mapping of str to Tensor
        By names of `lrcalc.properties.PROPERTIES`.
    sizes : sequence of int
        Atoms of each structure.

    Returns
    -------
    list of dict
        A scalar becomes a float, and arrays belong to the caller.
    """
    ends = np.cumsum(sizes)
    out: list[dict[str, Any]] = [{} for _ in sizes]
    for name, value in values.items():
        array = as_numpy(value)
        for result, index, end, size in zip(out, range(len(out)), ends, sizes, strict=True):
            part = array[end - size : end] if PROPERTIES[name].per_atom else array[index]
            result[name] = float(part) if part.ndim == 0 else part.copy()
    return out
