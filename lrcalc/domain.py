"""One structure on several processes: each owns some of the atoms and sees others as ghosts.

Every tensor is either **own** (rows of this process's atoms or pairs, or a partial sum over them)
or **common** (the same on every process). Four linear maps lead from one to the other, two pairs of
adjoints, so that one backward pass on every process at once gives the derivatives of a common
energy by own positions (partial sums at ghosts, which belong to their owners) and by strains:

===============  ======================================  ===============
map              what it does                            its adjoint
===============  ======================================  ===============
``total``        sums own values over the processes      ``shared``
``shared``       uses a common value for own atoms       ``total``
``with_ghosts``  copies own rows to their ghosts         ``returned``
``returned``     adds what ghosts have to their owners   ``with_ghosts``
===============  ======================================  ===============

(The pair of total and shared is that of tensor-parallel training: Shoeybi et al.,
arXiv:1909.08053.) All processes must make the same calls in the same order, also backwards, where
autograd takes nodes from the last made to the first. A process without atoms calls too.

Without a domain (None) each map is the identity.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Domain(Protocol):
    """What a process does for its part of the structure; values in and out carry no gradient.

    Attributes
    ----------
    owned : int
        Atoms of this process: the first rows of a `lrcalc.system.System`, ghosts follow.
    atoms : int
        Of all processes.
    seen : int
        Own atoms and ghosts.
    first : int
        Owned atoms of the processes before this one.
    """

    @property
    def owned(self) -> int: ...  # noqa: D102
    @property
    def atoms(self) -> int: ...  # noqa: D102
    @property
    def seen(self) -> int: ...  # noqa: D102
    @property
    def first(self) -> int: ...  # noqa: D102

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        ...

    def largest(self, values: Tensor) -> Tensor:
        """Maximum over all processes, entry by entry."""
        ...

    def to_ghosts(self, rows: Tensor) -> Tensor:
        """Own rows (n, ...) to those of own atoms and ghosts (N, ...)."""
        ...

    def to_owners(self, rows: Tensor) -> Tensor:
        """Rows of own atoms and ghosts (N, ...) to own ones (n, ...), ghosts' added."""
        ...


def total(domain: Domain | None, values: Tensor) -> Tensor:
    """Sum own values over all processes: common."""
    return values if domain is None else _Total.apply(values, domain)  # type: ignore[no-any-return]


def shared(domain: Domain | None, values: Tensor) -> Tensor:
    """Take a common value for use with own rows."""
    return values if domain is None else _Shared.apply(values, domain)  # type: ignore[no-any-return]


def with_ghosts(domain: Domain | None, rows: Tensor) -> Tensor:
    """Own rows (n, ...) to those of own atoms and ghosts (N, ...)."""
    return rows if domain is None else _WithGhosts.apply(rows, domain)  # type: ignore[no-any-return]


def returned(domain: Domain | None, rows: Tensor) -> Tensor:
    """Rows of own atoms and ghosts (N, ...) to own ones (n, ...): what ghosts have is added."""
    return rows if domain is None else _Returned.apply(rows, domain)  # type: ignore[no-any-return]


def settled(domain: Domain | None, rows: Tensor) -> Tensor:
    """Rows (N, ...) with what ghosts have moved to their owners: zero at ghosts."""
    if domain is None:
        return rows
    own = returned(domain, rows)
    return torch.cat([own, own.new_zeros((len(rows) - len(own), *own.shape[1:]))])


def everyone(domain: Domain | None, rows: Tensor) -> Tensor:
    """Own rows (n, ...) to the rows of all atoms, in the order of the processes: common."""
    if domain is None:
        return rows
    before, after = domain.first, domain.atoms - domain.first - len(rows)
    empty = [rows.new_zeros((count, *rows.shape[1:])) for count in (before, after)]
    return total(domain, torch.cat([empty[0], rows, empty[1]]))


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, domain: Domain) -> Tensor:
        ctx.domain = domain
        return domain.sum(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Shared.apply(gradients[0], ctx.domain), None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, domain: Domain) -> Tensor:
        ctx.domain = domain
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Total.apply(gradients[0], ctx.domain), None


class _WithGhosts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, domain: Domain) -> Tensor:
        ctx.domain = domain
        return domain.to_ghosts(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Returned.apply(gradients[0], ctx.domain), None


class _Returned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, domain: Domain) -> Tensor:
        ctx.domain = domain
        return domain.to_owners(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _WithGhosts.apply(gradients[0], ctx.domain), None
