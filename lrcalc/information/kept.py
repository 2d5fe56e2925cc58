"""How much of the entropy of data a selection of their frames keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.information.descriptors import PUBLISHED, Form
from lrcalc.information.entropy import check_bandwidth, entropy
from lrcalc.information.given import structures_given
from lrcalc.information.reference import Reference, by_species, make_reference
from lrcalc.information.selection import select_frames
from lrcalc.structures.species import find_unknown, refuse_unknown

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

POINTS = 12
"""Numbers of frames at which the entropy is computed."""

MOST = 8000
"""Environments of a species that an entropy is made of, evenly chosen; it is a mean over them."""

CHANCE = 3
"""Random selections that the greedy one is compared with."""


class _Kept(NamedTuple):
    order: np.ndarray
    """(K,) frames in the order of selection."""
    novelty: np.ndarray
    """(K,) δH of the most novel tenth of its atoms, nats."""
    covered: np.ndarray
    """(K,) part of all environments within what was taken so far."""
    number: np.ndarray
    """(P,) frames at which the entropy was computed."""
    entropy: np.ndarray
    """(P,) H of the selection, nats, mean over species."""
    chance: np.ndarray
    """(P,) that of frames drawn at random."""
    whole: float
    """H of all frames, nats."""
    settings: dict[str, Any]


class Kept(_Kept, AnalysisResult):
    """A selection of frames, and the entropy it keeps."""

    __slots__ = ()
    kind = "selection"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Frames in their order; the entropy where it was computed."""
        at = np.full(len(self.order), np.nan)
        drawn = at.copy()
        at[self.number.astype(int) - 1] = self.entropy
        drawn[self.number.astype(int) - 1] = self.chance
        return {
            "kept": np.arange(1, len(self.order) + 1), "frame": self.order,
            "novelty_nats": self.novelty, "covered": self.covered, "entropy_nats": at,
            "entropy_by_chance_nats": drawn,
        }  # fmt: skip

    @property
    def summary(self) -> dict[str, Quantity]:
        """What the whole selection keeps."""
        return {
            "entropy": Quantity(float(self.entropy[-1]), unit="nats", symbol="H of the selection",
                                remark=f"all frames {self.whole:.4g}, "
                                f"as many at random {self.chance[-1]:.4g}"),
            "covered": Quantity(float(self.covered[-1]), symbol="part of environments within it"),
        }  # fmt: skip

    def figure(self, *, title: str = "") -> Figure:
        """Draw entropy and coverage against the number of frames."""
        from lrcalc.analysis.plots import new_figure, whole_ticks

        figure, (top, bottom) = new_figure(2, height=6.0)
        top.plot(self.number, self.entropy, marker=".", label="selected by δH")
        top.plot(self.number, self.chance, marker=".", ls="--", label="at random")
        top.axhline(self.whole, color="0.4", lw=1, label="all frames")
        top.set_ylabel("H (nats)")
        top.set_title(title, fontsize=10)
        top.legend(frameon=False)
        bottom.plot(np.arange(1, len(self.covered) + 1), self.covered)
        bottom.set_ylabel("part of all environments\nwithin the selection")
        bottom.set_xlabel("frames kept")
        whole_ticks(bottom.xaxis)
        bottom.set_ylim(0, 1.02)
        return figure


def kept_entropy(
    frames: Sequence[Atoms],
    count: int,
    form: Form = PUBLISHED,
    *,
    h: float | None = None,
    beside: Reference | None = None,
    seed: int = 0,
    told: Callable[[int], object] = lambda step: None,
) -> Kept:
    """Select frames greedily by δH; say what they keep of the entropy.

    Parameters
    ----------
    frames : sequence of Atoms
    count : int
        To keep.
    form : Form, optional
    h : float, optional
        Bandwidth, 1/Å; by default that of a reference made of all frames.
    beside : Reference, optional
        What is there already, whose form and bandwidth are used: the first frame is then the one
        that is most novel beside it.
    seed : int, optional
        Of the random selections.
    told : callable, optional
        Called with 1 for each frame chosen.
    """
    frames = structures_given(frames)
    if h is not None:
        check_bandwidth(h)
    if not 1 <= count <= len(frames):
        raise ValueError(f"`keep` is {count} but must be from 1 to the {len(frames)} frames")
    if beside is not None:
        form, h = beside.form, beside.h
        refuse_unknown(
            [find_unknown(enumerate(frames), beside.species, "the data")], beside.species,
            "the reference knows", "leave these frames out, or give data with them",
        )  # fmt: skip
    elif h is None:
        h = make_reference(frames, form).h
    own = {int(z) for atoms in frames for z in atoms.numbers}
    species = sorted(own | set(() if beside is None else beside.species))
    made = [by_species(a, form, species, f"frame {k}") for k, a in enumerate(frames)]
    known = None if beside is None else beside.environments
    chosen = select_frames(made, count, h, told, known=known)

    def of(rows: np.ndarray) -> float:
        parts = [[made[k][z] for k in rows if z in made[k]] for z in species]
        pools = [np.concatenate(part) for part in parts if part]
        thinned = [x[:: 1 + len(x) // MOST] for x in pools]
        return float(np.mean([entropy(x, h) for x in thinned]))

    numbers = np.unique(np.geomspace(1, count, POINTS).astype(int))
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(len(frames)) for _ in range(CHANCE)]
    return Kept(
        chosen.order, chosen.novelty, chosen.covered, numbers,
        np.array([of(chosen.order[:n]) for n in numbers]),
        np.array([np.mean([of(d[:n]) for d in draws]) for n in numbers]),
        of(np.arange(len(frames))),
        {"bandwidth": h, "k": form.k, "cutoff": form.cutoff, "frames": len(frames), "notes": []},
    )  # fmt: skip
