"""What backbones made of a foreign package's modules share: how their features are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lrcalc.models.adapters.exact_constants import ExactConstants
from lrcalc.models.backbone import Features, Heard, species_table
from lrcalc.neighbors import Pairs
from lrcalc.system import System

KINDS = ((0, 1), (1, -1), (2, 1))
"""(ℓ, parity) of scalars, vectors and tensors; other features are not handed on."""


class ForeignBackbone(ExactConstants):
    """Features of all rounds of a foreign model, near 1 and without those of atoms alone.

    A derived class makes the modules, calls `keep`, and has `rounds` and `neighbor_constants`.
    """

    layers: int
    alone: Tensor
    index_of_number: Tensor
    place_of_number: Tensor
    scale: Tensor

    def __init__(self, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__()
        self.species, self.settings = species, settings
        self.cutoff = float(settings["cutoff"])

    def keep(
        self, elements: Sequence[int], counts: Sequence[Sequence[int]], *, alone: bool
    ) -> None:
        """Keep constants and tables, once all modules are there.

        Parameters
        ----------
        elements : sequence of int
            Atomic numbers in the order of the foreign model's kinds of atoms.
        counts : sequence of (int, int, int)
            Channels of each of the `KINDS`, of each round of features.
        alone : bool
            Take off what atoms alone have.
        """
        for name, values in {
            "index_of_number": species_table(tuple(elements)),
            "place_of_number": species_table(self.species),
            "alone": torch.tensor(self.species if alone else (), dtype=torch.int64),
        }.items():
            self.register_buffer(name, values, persistent=False)
        self.n_scalars, *others = (sum(each) for each in zip(*counts, strict=True))
        self.n_channels, self.filled = max(others), tuple(others)
        self.keep_constants()
        self.register_buffer("scale", torch.ones(len(counts), len(KINDS)))

    def rounds(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None
    ) -> list[list[Tensor]]:
        """Scalars, vectors and tensors (N, C, 2ℓ+1) of each round, of atoms with these numbers.

        What neighbours hear is added to ``passed``.
        """
        raise NotImplementedError

    def neighbor_constants(self, average: Tensor) -> dict[str, Tensor]:
        """Return the constants that hang on the average number of neighbours, by name."""
        raise NotImplementedError

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        passed: list[Heard] = []
        rounds = self._rounds(system.numbers, pairs, vectors, passed)
        kinds = [
            torch.cat([x[kind] * self.scale[k, kind] for k, x in enumerate(rounds)], dim=1)
            for kind in range(len(KINDS))
        ]
        vector, tensor = (padded(x, self.n_channels) for x in kinds[1:])
        heard = tuple(passed) if len(passed) == self.layers else ()
        return Features(kinds[0][..., 0], vector, tensor, heard)

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Bring the features of each round near 1; count neighbours, if no setting says them."""
        if self.settings["avg_num_neighbors"] is None:
            near = torch.linalg.vector_norm(vectors, dim=1) < self.cutoff
            self.set_constants(self.neighbor_constants(near.sum() / len(system.numbers)))
        for k, features in enumerate(self._rounds(system.numbers, pairs, vectors)):
            for kind, values in enumerate(features):
                mean_square = values.square().mean() if values.numel() else 0.0
                self.scale[k, kind] = mean_square**-0.5 if mean_square > 1e-20 else 1.0

    def _rounds(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None = None
    ) -> list[list[Tensor]]:
        """Return `rounds` less what an atom alone has."""
        found = self.rounds(torch.cat([numbers, self.alone]), pairs, vectors, passed)
        n = len(numbers)
        if not len(self.alone):
            return found
        place = n + self.place_of_number[numbers]
        return [[x[:n] - x.index_select(0, place) for x in kinds] for kinds in found]


def kinds_of(values: Tensor, irreps: Any) -> list[Tensor]:
    """Each of the `KINDS` of features (N, dim), as (N, C, 2ℓ+1)."""
    parts = [
        (irrep, values[:, place].reshape(len(values), -1, irrep.dim))
        for place, (_, irrep) in zip(irreps.slices(), irreps, strict=True)
    ]
    nothing = [(kind, values.new_zeros(len(values), 0, 2 * kind[0] + 1)) for kind in KINDS]
    return [torch.cat([x for of, x in parts + nothing if of == kind], dim=1) for kind in KINDS]


def padded(values: Tensor, channels: int) -> Tensor:
    """Add channels of zeros (N, C, 2ℓ+1), for vectors and tensors have as many."""
    return nn.functional.pad(values, (0, 0, 0, channels - values.shape[1]))


@contextmanager
def overheard(
    passed: list[Heard] | None,
    speaker: Tensor,
    product: Any,
    listen: Callable[[Callable[[Tensor], None]], Any],
) -> Iterator[None]:
    """Add what a layer hands from neighbours to atoms to ``passed``, as it runs.

    Parameters
    ----------
    passed : list of Heard or None
        None: nobody asks.
    speaker : Tensor, shape (E,)
        The neighbour of each pair.
    product : Module
        The layer's tensor product, whose first argument is what is handed over.
    listen : callable
        Registers a hook that gives its argument what the atoms say; returns the hook.
    """
    if passed is None or not torch.is_grad_enabled():
        yield
        return
    said: list[Tensor] = []
    hooks = [
        listen(said.append),
        product.register_forward_pre_hook(
            lambda _, args: passed.append(Heard(said[0], speaker, args[0]))
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def building(
    kind: Callable[..., ForeignBackbone], make: Callable[..., Any], defaults: Mapping[str, Any]
) -> Callable[..., ForeignBackbone]:
    """Return the ``build(species, **settings)`` of an adapter, which makes new weights."""

    def build(species: tuple[int, ...], **settings: Any) -> ForeignBackbone:
        settings = {**defaults, **settings}
        backbone = kind(make(species, settings), species, settings)
        return backbone.to(torch.get_default_dtype())

    return build
