"""How far a charge that answers is from an atom that moves, along the edges its messages took.

Physics §3: ``born_i = q_i 1 + Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i`` over all images of i that j can hear,
and ``r_j - r_i`` is no pair vector where features have travelled over several edges. It is their
sum. The cotangent of ``Σ_j q_j``, on its way back through the rounds, passes from an atom to a
neighbour wherever a neighbour's features were heard (`lrcalc.models.backbone.Passed`). Let ``ḡ_h``
be the cotangent of what was heard over edge h, with vector ``d_h``. Of first order in the arms,

    A_e = Σ_paths (r_j - r_centre(e)) ⊗ ∂q_j/∂d_e = -Σ_h d_h ⊗ ∂(ḡ_h · said_j(h))/∂d_e ,

because a path's arm is minus the sum of the edges it was heard over, and each of them, once, weighs
all that went through it. So one backward pass gives ``G_e = ∂Σ_j q_j/∂d_e`` and all ``ḡ_h``, and
three more, through the earlier rounds only, give A. Then ``A_e - d_e ⊗ G_e`` belongs to the
neighbour of e, and ``-A_e`` to its centre. With one round nothing is said, and A is zero.

No image is made: cost and memory are those of a few backward passes whatever the reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.backbone import Passed
from lrcalc.neighbors import Pairs


def edge_levers(
    charge: Tensor,
    vectors: Tensor,
    pairs: Pairs,
    heard: Sequence[Passed],
    *,
    create_graph: bool = False,
) -> Tensor:
    """``Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i`` summed over the images of i, shape (N, 3, 3), e, float64.

    Parameters
    ----------
    charge : Tensor, shape (N,), e
        Atomic charges, with a graph, which is kept.
    vectors : Tensor, shape (E, 3), Å
        Pair vectors, the only way from the positions to the charges.
    pairs : Pairs
    heard : sequence of Passed
        All places where neighbours' features were heard; empty for one round.
    create_graph : bool, optional
        The result can be differentiated with respect to the weights.
    """
    passed = [h for h in heard if h.said.requires_grad]
    options: dict[str, Any] = {"retain_graph": True, "create_graph": create_graph}
    options["materialize_grads"] = True  # of what does not depend on it
    response, *through = torch.autograd.grad(
        charge.sum(), [vectors, *(h.heard for h in passed)], **options
    )
    arms = vectors.detach()
    direct = -(arms[:, :, None] * response[:, None, :]).double()
    total = direct.new_zeros((len(charge), 3, 3)).index_add(0, pairs.j, direct)
    if not passed:
        return total
    ways: list[Tensor] = []
    for axis in range(3):
        seeds = [h.handed_back(-arms[:, axis], c) for h, c in zip(passed, through, strict=True)]
        ways += torch.autograd.grad([h.said for h in passed], [vectors], seeds, **options)
    way = torch.stack(ways, dim=1).double()
    return total.index_add(0, pairs.j, way).index_add(0, pairs.i, -way)
