"""Standard errors of averages over blocks that remember one another.

A narrow line or a slow relaxation makes neighbouring blocks alike: a block is then no independent
trial. With ``d_b`` the deviations of B blocks in order of time, ``phi`` their correlation from one
to the next gives the memory ``g = (1 + phi)/(1 - phi)``, in blocks, and ``B/g`` independent
stretches. The variance of the sum is that of overlapping batches, M = 2 g blocks long
(``sum_j (1 - |j|/M) sum_b d_b d_{b+j}``; Newey & West, Econometrica 55, 703 (1987); Meketon &
Schmeiser, Proc. Winter Simul. Conf. 227 (1984)), corrected for what the batches still remember and
for the mean that was taken off, with Student's t for 3B/2M degrees of freedom (Kiefer & Vogelsang,
Econom. Theory 21, 1130 (2005)). Blocks of different runs follow one another: their products vanish
in the mean, so that nothing need be known of where a run ends.
"""

import numpy as np

FEWEST = 6
"""With fewer blocks nothing can be said of their memory: they are taken as independent."""
BATCH = 2.0
"""Length of a batch in units of the memory, and its least length in blocks."""
LONGEST = 0.25
"""Longest batch as a share of all blocks."""
ENOUGH = 10
"""With fewer independent stretches than this, error bars are rough, and that is said."""


def memory(deviations: np.ndarray, pool: int = 0) -> np.ndarray:
    """Return how many blocks (…) one independent stretch is worth, at least 1.

    Parameters
    ----------
    deviations
        (B, …) in order of time, of zero sum.
    pool
        Points on either side along the last axis whose products are added up, so that the flanks
        and the window's feet of a line know the memory of the line. The larger of a point's own
        memory and that of its surroundings counts.
    """
    blocks = len(deviations)
    if blocks < FEWEST:
        return np.ones(deviations.shape[1:])
    square = (deviations**2).sum(0)
    product = (deviations[:-1] * deviations[1:]).sum(0)
    phi = _ratio(product, square)
    if pool:
        phi = np.maximum(phi, _ratio(_running(product, pool), _running(square, pool)))
    # of a series whose mean was taken off, phi comes out (1 + 3 phi)/B too small
    phi = np.clip((phi + 1.0 / blocks) / (1.0 - 3.0 / blocks), 0.0, 0.98)
    return np.asarray((1.0 + phi) / (1.0 - phi))


def stretches(deviations: np.ndarray, pool: int = 0) -> np.ndarray:
    """Return the number (…) of independent stretches in all blocks (B, …); see :func:`memory`."""
    return len(deviations) / memory(deviations, pool)


def standard_error(deviations: np.ndarray, pool: int = 0) -> np.ndarray:
    """Return the standard error (…) of a sum of deviations (B, …); NaN where B is 1.

    Widened by Student's t, so that one error covers 68 % with few stretches as well.

    Parameters
    ----------
    deviations
        (B, …) each block's share of the deviation, in order of time.
    pool
        See :func:`memory`.
    """
    from scipy.special import stdtrit

    blocks = len(deviations)
    if blocks < 2:
        return np.full(deviations.shape[1:], np.nan)
    if blocks < FEWEST:
        variance = blocks / (blocks - 1) * (deviations**2).sum(0)
        return np.asarray(np.sqrt(variance) * stdtrit(blocks - 1, 0.841344746))
    inefficiency = memory(deviations, pool)
    batch = np.minimum(BATCH * inefficiency, max(LONGEST * blocks, BATCH))
    variance = np.zeros(deviations.shape[1:])
    for lag in range(int(np.ceil(batch.max()))):
        weight = np.clip(1.0 - lag / batch, 0.0, None) * (1.0 if lag == 0 else 2.0)
        variance += weight * (deviations[: blocks - lag] * deviations[lag:]).sum(0)
    share = batch / blocks
    kept = 1.0 - np.minimum(0.5 * (inefficiency - 1.0 / inefficiency) / batch, 0.5)
    variance = np.maximum(variance, 0.0) / (1.0 - share + share**2 / 3.0) / kept
    return np.asarray(np.sqrt(variance) * stdtrit(1.5 / share, 0.841344746))


def _ratio(product: np.ndarray, square: np.ndarray) -> np.ndarray:
    return np.divide(product, square, out=np.zeros_like(product), where=square > 0)


def _running(values: np.ndarray, pool: int) -> np.ndarray:
    """Sum over ``pool`` points on either side along the last axis."""
    total = np.concatenate([np.zeros_like(values[..., :1]), np.cumsum(values, axis=-1)], axis=-1)
    index = np.arange(values.shape[-1])
    high = np.minimum(index + pool + 1, values.shape[-1])
    return np.asarray(total[..., high] - total[..., np.maximum(index - pool, 0)])
