"""A few atoms spread and gathered by kernels and by torch, see `lrcalc.kernels.trial`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Source
from lrcalc.electrostatics.mesh import MeshPlan, by_kernels, by_torch
from lrcalc.kernels.trial import weighed

ATOMS = 6


def cases(plan: MeshPlan, like: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Densities, potentials and two gradients, with splines and derivatives of ``plan``."""
    make = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=make).to(like)

    p, top = plan.order, min(plan.derivatives, 2)
    sizes = (p + 1, p + 4, p + 2)
    small = plan._replace(
        batch=torch.arange(ATOMS, device=like.device) // (ATOMS // 2), sizes=sizes,
        points=torch.tensor(sizes, device=like.device), green=None, domain=None,
    )  # fmt: skip
    scaled, green = 2.0 * random(2, 3, 3), random(2, *sizes[:2], sizes[2] // 2 + 1)
    tensor = random(ATOMS, 3, 3)
    moments = [random(ATOMS), random(ATOMS, 3), tensor + tensor.transpose(1, 2)][: top + 1]
    leaves = [x.requires_grad_() for x in (3.0 * random(ATOMS, 3), *moments)]
    potential = random(2 * sizes[0] * sizes[1] * sizes[2]).requires_grad_()
    found = []
    for spread in (f(small, leaves[0], scaled, green) for f in (by_kernels, by_torch)):
        density = spread.put(Source(*leaves[1:]))
        sites = [x for x in spread.take(potential, top) if x is not None]
        total = torch.stack([weighed(x * x) for x in (density, *sites)]).sum()
        inputs = [*leaves, potential]
        once = torch.autograd.grad(total, inputs, retain_graph=True)
        # as in training: other programs, of more derivatives
        slopes = torch.autograd.grad(total, inputs, create_graph=True)
        twice = torch.autograd.grad(torch.stack([weighed(x) for x in slopes]).sum(), inputs)
        found.append([density, *sites, *once, *slopes, *twice])
    for k, (one, two) in enumerate(zip(*found, strict=True)):
        yield f"result {k}", one, two
