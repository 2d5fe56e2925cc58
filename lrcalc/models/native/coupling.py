"""Products of spherical tensors up to ℓ = 3 (Clebsch-Gordan coefficients)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrcalc.models.native.e3nn_import import o3

L_MAX = 3
N_LM = (L_MAX + 1) ** 2


def coupling(
    symmetric: bool, *, second_max: int = L_MAX
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Clebsch-Gordan coefficients of all parity-conserving products up to ℓ = 3.

    Parameters
    ----------
    symmetric : bool
        The two factors are the same, so that each pair of components counts once.
    second_max : int, optional
        Largest ℓ of the second factor, where they are not.

    Returns
    -------
    first, second : Tensor, shape (n_pairs,), int64
        Components of the factors.
    matrix : Tensor, shape (n_rows, n_pairs)
        Rows are output components, sorted by ℓ, then by path, then by m.
    paths : list of int
        Number of paths into each ℓ.
    """
    slices = [slice(ell * ell, (ell + 1) ** 2) for ell in range(L_MAX + 1)]
    blocks: list[Tensor] = []
    paths = []
    for ell in range(L_MAX + 1):
        count = 0
        for one in range(L_MAX + 1):
            for two in range(one if symmetric else 0, second_max + 1):
                if (one + two + ell) % 2 or not abs(one - two) <= ell <= one + two:
                    continue
                dense = torch.zeros(2 * ell + 1, N_LM, N_LM, dtype=torch.float64)
                cg = o3.wigner_3j(one, two, ell, dtype=torch.float64)
                dense[:, slices[one], slices[two]] = cg.permute(2, 0, 1) * math.sqrt(2 * ell + 1)
                blocks.append(dense)
                count += 1
        paths.append(count)
    full = torch.cat(blocks)
    if symmetric:
        first, second = torch.triu_indices(N_LM, N_LM)
        matrix = full[:, first, second] + full[:, second, first] * (first != second)
    else:
        first, second = (
            x.reshape(-1)
            for x in torch.meshgrid(torch.arange(N_LM), torch.arange(N_LM), indexing="ij")
        )
        matrix = full[:, first, second]
    used = matrix.abs().amax(0) > 1e-12
    return first[used], second[used], matrix[:, used], paths
