"""Entropy of sets of environments, and how far other environments lie from them.

With the kernel K(x, y) = exp(-|x - y|²/2h²) of descriptors (`lrcalc.information.descriptors`), all
in nats (Schwalbe-Koda et al., Nat. Commun. 16, 4014 (2025)):

    H(X)      = -1/N Σ_i ln[1/N Σ_j K(x_i, x_j)]     0 if all are alike, ln N if no two are
    D(X)      = ln Σ_i 1/Σ_j K(x_i, x_j)             exp D: number of environments that differ
    δH(y | X) = -ln Σ_j K(y, x_j)                    > 0: farther out than one environment is wide

Sums are of exponentials whose largest is taken out first: far outside δH is |y - x|²/2h², where the
plain sum is 0 and its logarithm infinite. The bandwidth h is a choice, and with it the zero of δH:
see `lrcalc.information.reference`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrcalc.information.given import check_descriptors

BLOCK = 4_000_000
"""Numbers of a matrix of distances that are in memory at once."""

NEIGHBOURS = 16
"""Nearest environments that an approximate sum is made of."""


def entropy(x: Any, h: float, *, neighbours: int | None = None) -> float:
    """Entropy H (nats) of environments.

    Parameters
    ----------
    x : array-like, shape (N, d)
        Descriptors, 1/Å.
    h : float
        Bandwidth, 1/Å.
    neighbours : int, optional
        Sum over so many nearest environments alone (`log_density`); all by default.

    Examples
    --------
    >>> import numpy as np
    >>> from lrcalc.information.entropy import entropy
    >>> round(entropy(np.eye(4), 0.1), 6), round(float(np.log(4)), 6)
    (1.386294, 1.386294)
    """
    x = _checked("x", x)
    return float(np.log(len(x)) - log_density(x, x, h, neighbours=neighbours).mean())


def diversity(x: Any, h: float, *, neighbours: int | None = None) -> float:
    """Diversity D (nats) of environments: logarithm of the number that differ; as `entropy`."""
    x = _checked("x", x)
    return float(np.log(np.exp(-log_density(x, x, h, neighbours=neighbours)).sum()))


def delta_entropy(y: Any, x: Any, h: float, *, neighbours: int | None = None) -> np.ndarray:
    """Differential entropy δH(y|X), nats, of each of M environments.

    Parameters
    ----------
    y : array-like, shape (M, d)
        Descriptors to be judged, 1/Å.
    x : array-like, shape (N, d)
        Those of the reference.
    h : float
        Bandwidth, 1/Å.
    neighbours : int, optional
        As `entropy`. The sum is then too small and δH too large, by less than
        ln(N/`neighbours`), and by next to nothing where few environments are near.

    Returns
    -------
    ndarray, shape (M,)
        -ln N at least; far outside it grows as the square of the distance.
    """
    return -log_density(y, x, h, neighbours=neighbours)


def log_density(y: Any, x: Any, h: float, *, neighbours: int | None = None) -> np.ndarray:
    """Return ln Σ_j K(y_i, x_j), shape (M,): the density of ``x`` at ``y``, not normalized.

    Raises
    ------
    ValueError
        For an empty reference, descriptors of different lengths or that are not finite, a
        bandwidth that is not positive, or fewer than one neighbour.
    """
    y, x = _checked("y", y), _checked("x", x)
    if y.shape[1] != x.shape[1]:
        raise ValueError(
            f"`y` has descriptors of length {y.shape[1]} and the reference of {x.shape[1]}: make "
            "both with the same k, cutoff and species"
        )
    check_bandwidth(h)
    if neighbours is None:
        return _exact(y, x, h)
    check_neighbours(neighbours)
    return _of_nearest(y, x, h, min(int(neighbours), len(x)))


def check_bandwidth(h: float, name: str = "h") -> None:
    """Refuse a bandwidth that is none; ``name`` is that of the argument or option."""
    if not (np.isfinite(h) and h > 0):
        raise ValueError(f"`{name}` is {h} but must be a positive bandwidth, 1/Å")


def check_neighbours(count: int, name: str = "neighbours") -> None:
    """Refuse fewer than one neighbour."""
    if count < 1:
        raise ValueError(f"`{name}` is {count} but must be 1 or more")


def squared_distances(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """|y_i - x_j|², shape (M, N), by matrix products; ``x`` and ``y`` are best centred."""
    square = (y * y).sum(1)[:, None] + (x * x).sum(1)[None]
    square -= 2.0 * (y @ x.T)
    return np.maximum(square, 0.0, out=square)


def _exact(y: np.ndarray, x: np.ndarray, h: float) -> np.ndarray:
    centre = x.mean(0)  # small numbers: squares are differences of squares
    y, x = y - centre, x - centre
    count = max(1, BLOCK // len(x))
    found = [
        _log_sum(squared_distances(y[start : start + count], x) / (-2.0 * h * h))
        for start in range(0, len(y), count)
    ]
    return np.concatenate(found) if found else np.empty(0)


def _of_nearest(y: np.ndarray, x: np.ndarray, h: float, count: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(x).query(y, k=count)
    return _log_sum(np.square(distance.reshape(len(y), count)) / (-2.0 * h * h))


def _log_sum(exponents: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row."""
    largest = exponents.max(axis=1, keepdims=True)
    return np.log(np.exp(exponents - largest).sum(axis=1)) + largest[:, 0]


def _checked(name: str, values: Any) -> np.ndarray:
    check_descriptors(values, name)
    array = np.asarray(values, dtype=float)
    if array.ndim != 2 or not len(array):
        what = "reference" if name == "x" else "set of environments"
        raise ValueError(
            f"`{name}` has shape {array.shape}, but a {what} is (environments, columns), at least "
            "one of them"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` has NaN or infinite descriptors; mend the structures")
    return array
