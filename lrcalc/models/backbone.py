"""The door for anybody's local description of an atom's surroundings, and its list of names."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lrcalc.models.options import (
    ALLEGRO_DEFAULTS,
    MACE_DEFAULTS,
    MACE_MODEL,
    MACE_MODEL_DEFAULTS,
    MACE_POLAR,
    MACE_POLAR_DEFAULTS,
    NATIVE_DEFAULTS,
    NEQUIP_DEFAULTS,
    NEQUIP_MODEL,
    NEQUIP_MODEL_DEFAULTS,
)
from lrcalc.neighbors import Pairs
from lrcalc.system import System

if TYPE_CHECKING:
    from lrcalc.models.readout import Readings

NATIVE = "native"
"""Name of our own backbone: what a file means that names none."""

ENTRY_POINTS = "lrcalc.backbones"
"""Group in which other packages announce a module that registers the backbone of that name."""


def refuse_broken(module: Any, file: object, why: str = "") -> None:
    """Refuse weights that are no numbers: whatever is made of them is none either.

    Raises
    ------
    ValueError
        Naming the first tensor that holds NaN or infinite numbers.
    """
    for name, value in module.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{file} holds NaN or infinite numbers in {name}{why}")


class Passed(Protocol):
    """One place where features pass to the neighbours: `Heard`, or what does the same at once.

    Attributes
    ----------
    said : Tensor, shape (M, ...)
        Features of atoms, perhaps in another order or with more rows.
    heard : Tensor
        What is made of them over pairs, the very tensor that is used from there on.
    """

    @property
    def said(self) -> Tensor:
        """See above."""
        ...

    @property
    def heard(self) -> Tensor:
        """See above."""
        ...

    def handed_back(self, weight: Tensor, cotangent: Tensor) -> Tensor:
        """Cotangent of ``said`` of that of ``heard``, each pair's part ``weight`` (E,) times."""
        ...


class Heard(NamedTuple):
    """What atoms had to say, and who heard it: one place where features pass to the neighbours.

    Attributes
    ----------
    said : Tensor, shape (M, ...)
        Features of atoms, perhaps in another order or with more rows.
    speaker : Tensor, shape (E,), int64
        Row of ``said`` that is heard over each pair: its neighbour's.
    heard : Tensor, shape (E, ...)
        ``said[speaker]``, the very tensor that is used from there on.
    """

    said: Tensor
    speaker: Tensor
    heard: Tensor

    def handed_back(self, weight: Tensor, cotangent: Tensor) -> Tensor:
        """See `Passed`."""
        weighed = weight.view(-1, *[1] * (cotangent.dim() - 1)) * cotangent
        return torch.zeros_like(self.said).index_add(0, self.speaker, weighed)


class Features(NamedTuple):
    """What a backbone says about each of N atoms.

    Attributes
    ----------
    scalars : Tensor, shape (N, F)
        Invariant features; zero for an isolated atom.
    vectors : Tensor, shape (N, C, 3)
        Polar vectors (1o), Cartesian order x, y, z.
    tensors : Tensor, shape (N, C, 5)
        ℓ = 2 even tensors in e3nn's order.
    heard : tuple of Passed, optional
        With several rounds: all places where what atoms have heard themselves passes on, with
        which Born charges of atomic charges in periodic cells cost a few backward passes
        (`lrcalc.models.levers`). Without them images are made explicit, which is slower.
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor
    heard: tuple[Passed, ...] = ()


class Backbone(Protocol):
    """An E(3)-equivariant description with a finite cutoff: a ``torch.nn.Module`` that has these.

    Attributes
    ----------
    cutoff : float
        Å; an atom hears neighbours closer than this only.
    layers : int
        Rounds of messages: features depend on atoms within ``layers * cutoff``.
    species : tuple of int
        Atomic numbers it knows, ascending; those of a potential are among them.
    n_scalars, n_channels : int
        F and C of its `Features`. C may be 0 for a description by invariants alone: a potential
        has charges, but no permanent dipoles and quadrupoles then.

    Notes
    -----
    ``forward(system, pairs, vectors)`` gets ``pairs`` sorted by ``i``, both directions of each,
    all those within the cutoff and perhaps farther ones, which must carry nothing; and ``vectors``
    (E, 3) from ``i`` to ``j`` in Å, on the device and of the type that the features are to have.
    It reads ``system.numbers`` (known to be among the species), perhaps ``batch`` and cells, but
    not positions: derivatives go through ``vectors``. Some atoms may be ghosts (`System.owned`);
    they are treated as all others.

    Features of an isolated atom are zero, and the energy's value, slope and curvature go to zero
    with a neighbour that leaves. `lrcalc.testing.check_backbone` looks at all this.

    ``calibrate(system, pairs, vectors)`` may be there: called once with a batch of training data
    before the training, to bring features near 1.

    ``filled`` may be there: how many of the C vectors and of the C tensors are not zeros that
    only fill up. Levels that would read zeros are refused.
    """

    cutoff: float
    layers: int
    species: tuple[int, ...]
    n_scalars: int
    n_channels: int

    def __call__(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        ...


class AnyReadout(Protocol):
    """What makes energies and charges of features: a ``torch.nn.Module`` that has these.

    Attributes
    ----------
    level : str
        What it reads out, of `lrcalc.models.options.LEVELS`.
    charges : {"local", "atomic"}
        Whether its `Readings` have ``transfers`` or a ``bare_charge``.
    transfer_cutoff : float
        Å; how far charge is handed on (local charges).

    Notes
    -----
    ``own_field = True`` may be there: energies contain `System.field` and all electrostatics, and
    everything electrical is a derivative of them (`lrcalc.models.own_field`).
    """

    level: str
    charges: str
    transfer_cutoff: float

    def __call__(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms, see `lrcalc.models.readout.Readout`."""
        ...


class Entry(NamedTuple):
    """How a backbone is made.

    Attributes
    ----------
    builder : callable or str
        Called with the species (ascending) and the settings as keywords; or where it is,
        ``"module:function"``, imported when it is used.
    defaults : mapping
        Every setting and its default; plain values, stored in the model's file.
    extra : str or None
        The extra of lrcalc that installs what it needs.
    readout : callable, str or None
        Of a model that brings its own energies and charges: called with the species, the backbone
        and all options of the potential, or where it is. None: `lrcalc.models.readout.Readout`.
    """

    builder: Callable[..., Backbone] | str
    defaults: Mapping[str, Any]
    extra: str | None = None
    readout: Callable[..., AnyReadout] | str | None = None


BACKBONES: dict[str, Entry] = {}
"""All backbones that are known by name."""


def species_table(species: tuple[int, ...]) -> Tensor:
    """Index of each atomic number among ``species``, shape (119,), int64.

    Of an unknown one it is one beyond the last, so that using it fails.
    """
    table = torch.full((119,), len(species), dtype=torch.int64)
    table[list(species)] = torch.arange(len(species))
    return table


def register_backbone(
    name: str,
    builder: Callable[..., Backbone] | str,
    defaults: Mapping[str, Any],
    *,
    extra: str | None = None,
    readout: Callable[..., AnyReadout] | str | None = None,
) -> None:
    """Make a backbone known by ``name``, so that `Potential` and model files can ask for it.

    Parameters
    ----------
    name, builder, defaults, extra, readout
        See `Entry`.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in BACKBONES:
        raise ValueError(f"there is a backbone {name!r} already; choose another name")
    BACKBONES[name] = Entry(builder, dict(defaults), extra, readout)


def find_backbone(name: str) -> Entry:
    """Return the backbone of that name; refuse an unknown one, saying which there are."""
    if name not in BACKBONES:
        for announced in metadata.entry_points(group=ENTRY_POINTS, name=name):
            announced.load()
    if name not in BACKBONES:
        known = ", ".join(repr(n) + _remedy(e.extra) for n, e in sorted(BACKBONES.items()))
        raise ValueError(
            f"unknown backbone {name!r}; known: {known}. If it comes with another package, import "
            "that first, or install it"
        )
    return BACKBONES[name]


def build_backbone(name: str, species: tuple[int, ...], settings: Mapping[str, Any]) -> Backbone:
    """Make the backbone ``name`` for these atomic numbers (ascending)."""
    with _naming_packages(name):  # adapters import theirs when they build
        made: Backbone = _resolve(name, find_backbone(name).builder)(species, **settings)
    return made


def find_readout(name: str) -> Callable[..., AnyReadout] | None:
    """Return what makes the readout that belongs to the backbone ``name``, see `Entry`."""
    readout = find_backbone(name).readout
    return None if readout is None else _resolve(name, readout)


def _resolve(name: str, made: Callable[..., Any] | str) -> Callable[..., Any]:
    """Import what is named by a string."""
    if not isinstance(made, str):
        return made
    with _naming_packages(name):
        found: Callable[..., Any] = pkgutil.resolve_name(made)
    return found


@contextmanager
def _naming_packages(name: str) -> Iterator[None]:
    """Say which package is missing for a backbone, and how it is installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the backbone {name!r} needs the package {error.name!r}"
            f"{_remedy(find_backbone(name).extra)}"
        ) from error


def _remedy(extra: str | None) -> str:
    return "" if extra is None else f" (pip install lrcalc[{extra}])"


register_backbone(NATIVE, "lrcalc.models.native.local:LocalBackbone", NATIVE_DEFAULTS)
register_backbone("mace", "lrcalc.models.adapters.mace:build", MACE_DEFAULTS, extra="mace")
register_backbone(
    MACE_MODEL,
    "lrcalc.models.adapters.mace_model:build",
    MACE_MODEL_DEFAULTS,
    extra="mace",
    readout="lrcalc.models.adapters.mace_model:build_readout",
)
register_backbone(
    MACE_POLAR,
    "lrcalc.models.adapters.mace_polar:build",
    MACE_POLAR_DEFAULTS,
    extra="mace",
    readout="lrcalc.models.adapters.mace_polar:build_readout",
)
register_backbone(
    NEQUIP_MODEL,
    "lrcalc.models.adapters.nequip_model:build",
    NEQUIP_MODEL_DEFAULTS,
    extra="nequip",
    readout="lrcalc.models.adapters.energies:build_readout",
)
register_backbone("nequip", "lrcalc.models.adapters.nequip:build", NEQUIP_DEFAULTS, extra="nequip")
register_backbone(
    "allegro", "lrcalc.models.adapters.allegro:build", ALLEGRO_DEFAULTS, extra="allegro"
)
