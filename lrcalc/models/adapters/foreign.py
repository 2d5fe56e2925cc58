"""What adapters of foreign packages share: making their modules, and reading their features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from lrcalc.models.adapters.mace_constants import ExactConstants
from lrcalc.models.adapters.mace_import import quiet
from lrcalc.models.adapters.mace_irreps import channels_of, padded, places_of
from lrcalc.models.backbone import Features, Heard, species_table
from lrcalc.neighbors import Pairs
from lrcalc.system import System

KINDS = ((0, 1), (1, -1), (2, 1))
"""(ℓ, parity) of scalars, vectors and tensors; other features are not handed on."""


class ForeignBackbone(ExactConstants):
    """Features of all rounds of a foreign model, near 1 and without those of atoms alone.

    A derived class makes the modules, calls `keep`, and has `rounds` and `neighbor_constants`.
    """

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
    return [channels_of(values, *places_of(irreps, kind)) for kind in KINDS]


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Make modules in double precision, without TorchScript."""
    import e3nn

    before, dtype = e3nn.get_optimization_defaults(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        e3nn.set_optimization_defaults(jit_script_fx=False)
        with quiet():
            yield
    finally:
        torch.set_default_dtype(dtype)
        e3nn.set_optimization_defaults(**before)


def forget_programs(model: nn.Module) -> None:
    """Let a copy of a model that e3nn made be no TorchScript."""
    for module in model.modules():
        if hasattr(module, "__codegen__"):
            module.__codegen__ = []  # type: ignore[assignment]


def require_version(backbone: str, distribution: str, wanted: str) -> None:
    """Refuse another version than ``wanted`` or those that begin so."""
    found = metadata.version(distribution)
    if found != wanted and not found.startswith(wanted + "."):
        exact = "==" + (wanted if wanted.count(".") > 1 else wanted + ".*")
        raise ValueError(
            f"the backbone {backbone!r} needs {distribution} {wanted}, but {found} is installed: "
            f"pip install {distribution}{exact}"
        )


def elements_of(model: str, species: tuple[int, ...], settings: Any) -> tuple[int, ...]:
    """Return the elements that a model is made for; refuse ``species`` that are not among them."""
    elements = tuple(settings["elements"] or species)
    missing = [chemical_symbols[z] for z in species if z not in elements]
    if missing:
        made_for = ", ".join(chemical_symbols[z] for z in elements)
        raise ValueError(
            f"this {model} model was made for the elements {made_for}, not for {', '.join(missing)}"
        )
    return elements
