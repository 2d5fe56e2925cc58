"""Mean-square displacement and diffusion coefficient of each species.

``MSD(t) = ⟨|r(s + t) − r(s)|²⟩`` and ``D = lim MSD/(6t)`` (Einstein, Ann. Phys. 322, 549 (1905)).
With Δ the displacement from frame to frame and ``C_m = ⟨Δ_0·Δ_m⟩`` it is a linear functional,
``MSD_k = k C_0 + 2 Σ_{0<m<k} (k − m) C_m``, so that blocks give errors as they do for spectra
(:mod:`lrcalc.analysis.uncertainty`). A periodic cell holds diffusion back: in a cubic cell of edge
L a liquid of viscosity η has ``D_∞ = D + 2.837297 k_BT/(6π η L)`` (Yeh & Hummer, J. Phys. Chem. B
108, 15873 (2004)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.correlation import UNTOLD, Blocks, as_trajectories, correlate
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.analysis.steps import Walked, steps_of
from lrcalc.analysis.uncertainty import ENOUGH, standard_error, stretches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUBIC = 2.837297
"""Lattice sum of the hydrodynamic interaction with the images, cubic cell."""
PASCAL_SECOND = 1e4 / 1.602176634
"""1 Pa s in eV fs/Å³."""
TO_SI = 1e4
"""1 Å²/fs in 10⁻⁹ m²/s."""
BLOCKS = 20
"""The longest time is so small a part of all runs that so many blocks are left."""
MOST = 1000
"""Frames in the longest time at most; of more, every k-th is taken."""
_OPEN = (
    "not periodic in three directions: D = ⟨Δr²⟩/6t is a mean over all three, and atoms that stay "
    "in a slab or cluster go nowhere along the others; what holds for the size of bulk cells "
    "does not here"
)
RATTLE = 4.0
"""Å²: atoms that have moved less in the longest time have not left their places."""


class _Displacement(NamedTuple):
    time: np.ndarray
    """(K,) fs, from 0."""
    species: tuple[str, ...]
    msd: np.ndarray
    """(S, K) Å²."""
    error: np.ndarray
    """(S, K) one standard error, Å²."""
    diffusion: np.ndarray
    """(S,) D in Å²/fs, of the slope over the times that are fitted."""
    diffusion_error: np.ndarray
    correction: float
    """D_∞ − D in Å²/fs; NaN without a viscosity."""
    settings: dict[str, Any]


class MeanSquareDisplacement(_Displacement, AnalysisResult):
    """Mean-square displacement and diffusion coefficient by species."""

    __slots__ = ()
    kind = "msd"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Displacements with their errors."""
        found = {"time_fs": self.time}
        for name, msd, error in zip(self.species, self.msd, self.error, strict=True):
            found |= {f"msd_{name}_A2": msd, f"error_{name}_A2": error}
        return found

    @property
    def summary(self) -> dict[str, Quantity]:
        """D, and D of an infinite cell where the viscosity is known, in 10⁻⁹ m²/s."""
        found = {}
        for name, value, error in zip(
            self.species, self.diffusion * TO_SI, self.diffusion_error * TO_SI, strict=True
        ):
            found[f"D_{name}"] = Quantity(value, error, "10⁻⁹ m²/s", f"D({name})")
            if np.isfinite(self.correction):
                found[f"D_infinite_{name}"] = Quantity(
                    value + self.correction * TO_SI, error, "10⁻⁹ m²/s", f"D∞({name})",
                    "of an infinite cell",
                )  # fmt: skip
        return found

    def figure(self, *, title: str = "") -> Figure:
        """Displacements with their error bands; the times that are fitted between dotted lines."""
        from lrcalc.analysis import plots

        told = [str(self.summary[f"D_{name}"]) for name in self.species]
        figure = plots.lines_figure(
            [(one, self.time / 1000, row) for one, row in zip(told, self.msd, strict=True)],
            "time (ps)",
            "⟨Δr²⟩ (Å²) ± one standard error",
            title or "mean-square displacement, fitted between the dotted lines",
            errors=list(self.error),
        )
        (axis,) = figure.axes
        for edge in self.settings["fit_fs"]:
            axis.axvline(edge / 1000, color="0.5", ls=":", lw=1.0)
        axis.legend(framealpha=0.85, edgecolor="none", loc="upper left", fontsize=9)
        axis.set_xlim(0, self.time[-1] / 1000)
        axis.set_ylim(bottom=0)
        return figure


@equilibrium("msd")
def msd(
    positions: Any,
    *,
    species: Sequence[str],
    masses: Sequence[float] | np.ndarray,
    timestep: float,
    cell: np.ndarray | None = None,
    longest: float | None = None,
    fit: tuple[float, float] | None = None,
    drift: str = "remove",
    temperature: float | None = None,
    viscosity: float | None = None,
    pbc: Sequence[bool] = (True, True, True),
) -> MeanSquareDisplacement:
    """Mean-square displacement and diffusion coefficient of each species.

    Parameters
    ----------
    positions
        (T, 3N) in Å, atom by atom x, y, z; a list of runs or Series.
    species, masses
        (N,) symbols and amu.
    timestep
        fs between frames.
    cell
        (3, 3), rows in Å, of a cell that does not change: atoms that were folded back into it are
        unwrapped, and that is noted. Without it folded atoms are refused.
    longest
        Longest time, fs; a twentieth of all runs by default, and no more than a third of one.
    fit
        From which time to which D is fitted, fs; the last three quarters by default.
    drift
        ``remove`` takes the motion of the centre of mass off, ``keep`` leaves it.
    temperature, viscosity
        K and mPa s: D of an infinite cell too, for a liquid in a cubic ``cell``.
    pbc
        Periodic directions. Of the others ``cell`` may say anything: no atom is folded back there.
    """
    check_conditions(timestep, 1.0, 1.0 if temperature is None else temperature)
    weights = np.asarray(masses, dtype=float)
    if len(weights) != len(species) or (weights <= 0).any():
        raise ValueError(f"{len(weights)} `masses` for {len(species)} `species`, all positive")
    if drift not in ("remove", "keep"):
        raise ValueError(f"`drift` is {drift!r} but must be 'remove' or 'keep'")
    if drift == "remove" and len(weights) == 1:
        raise ValueError(
            "`drift` is 'remove', but the motion of one atom is that of its centre of mass: use "
            "'keep'"
        )
    columns = 3 * len(weights)
    frames = [sum(map(len, run())) for run in as_trajectories(positions, columns, "positions")]
    lags = _lags(frames, timestep, longest)
    every = -(-lags // MOST)
    lags, step = lags // every, every * timestep
    walked = Walked()
    names = tuple(sorted(set(species)))
    blocks = correlate(
        positions,
        lags,
        columns=columns,
        mean="none",
        groups=[names.index(symbol) for symbol in species for _ in range(3)],
        transform=steps_of(weights, cell, every, drift == "remove", walked, pbc),
        name="positions",
    )
    counts = np.array([list(species).count(name) for name in names], dtype=float)[:, None]
    squares = _squares(blocks.correlation / counts)
    deviations = _squares(_deviations(blocks) / counts)
    time = step * np.arange(lags + 1)
    start, end = _range(fit, time)
    slope = _slope(time, start, end)
    slopes = deviations @ slope
    value, error = squares @ slope / 6, standard_error(slopes) / 6
    correction = _finite_size(cell, temperature, viscosity, pbc)
    notes = walked.notes(drift == "remove") + _finite_size_notes(cell, correction, pbc)
    notes += _quality_notes(names, squares, slopes, value, error)
    middle = 0.5 * (start + end)
    bend = _slope(time, middle, end) - _slope(time, start, middle)
    notes += _bend_notes(names, squares @ bend, standard_error(deviations @ bend), value)
    settings = {
        "quantity": "mean-square displacement (Å²)",
        "timestep_fs": timestep,
        "fit_fs": (float(start), float(end)),
        "every": every,
        "lags": lags,
        "frames": sum(frames),
        "blocks": len(blocks.raw),
        "drift": drift,
        **({} if temperature is None else {"temperature_K": temperature}),
        **({} if viscosity is None else {"viscosity_mPa_s": viscosity}),
        "notes": notes,
    }
    return MeanSquareDisplacement(
        time, names, squares, standard_error(deviations), value, error, correction, settings
    )


def _lags(frames: Sequence[int], timestep: float, longest: float | None) -> int:
    """Frames in the longest time."""
    lags = min(sum(frames) // BLOCKS, min(frames) // 3)
    if longest is not None:
        lags = round(longest / timestep)
        if not (np.isfinite(longest) and 8 <= lags <= min(frames) // 2):
            raise ValueError(
                f"`longest` is {longest:g} fs but must be at least {8 * timestep:g} fs and at most "
                f"half of a run, {min(frames) // 2 * timestep:g} fs"
            )
    if lags < 8:
        raise ValueError(
            f"runs of {', '.join(map(str, frames))} frames are too short for a diffusion "
            f"coefficient: {8 * BLOCKS} frames are needed; run longer, or write frames more often"
        )
    return lags


def _deviations(blocks: Blocks) -> np.ndarray:
    """(B, S, K) each block's share of the deviation of the correlation."""
    products = blocks.products[:, None]
    return np.asarray((blocks.raw - blocks.correlation * products) / products.sum(0))


def _squares(correlation: np.ndarray) -> np.ndarray:
    """Mean-square displacement (…, K + 1) of the correlation (…, K) of steps."""
    slope = 2.0 * np.cumsum(correlation, axis=-1) - correlation[..., :1]
    return np.concatenate([np.zeros_like(slope[..., :1]), np.cumsum(slope, axis=-1)], axis=-1)


def _range(fit: tuple[float, float] | None, time: np.ndarray) -> tuple[float, float]:
    start, end = (0.25 * time[-1], time[-1]) if fit is None else fit
    if not (0 <= start < end <= time[-1] * (1 + 1e-9)) or (
        ((time >= start) & (time <= 0.5 * (start + end))).sum() < 2
    ):
        raise ValueError(
            f"`fit` is {start:g} to {end:g} fs but must be a range of several frames within 0 to "
            f"{time[-1]:g} fs, the longest time"
        )
    return float(start), float(end)


def _slope(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """Weights (K,) whose product with a curve is its slope between two times (least squares)."""
    inside = (time >= start * (1 - 1e-9)) & (time <= end * (1 + 1e-9))
    x = np.where(inside, time - time[inside].mean(), 0.0)
    return np.asarray(x / (x**2).sum())


def _finite_size(
    cell: np.ndarray | None,
    temperature: float | None,
    viscosity: float | None,
    pbc: Sequence[bool],
) -> float:
    """D_∞ − D in Å²/fs; NaN without a viscosity."""
    if viscosity is None:
        return float("nan")
    if not (np.isfinite(viscosity) and viscosity > 0):
        raise ValueError(f"`viscosity` is {viscosity} mPa s but must be a positive number")
    if temperature is None:
        raise ValueError("`viscosity` needs `temperature` in K")
    if not all(pbc):
        raise ValueError(
            "`viscosity` is given, but the run is not periodic in three directions: the correction "
            "is known for bulk cells only; leave it out"
        )
    edge = _edge(cell)
    if edge is None:
        raise ValueError("`viscosity` needs a cubic `cell`: the correction is known for cubes only")
    inside = 1e-3 * viscosity * PASCAL_SECOND
    return CUBIC * units.BOLTZMANN * temperature / (6.0 * np.pi * inside * edge)


def _edge(cell: np.ndarray | None) -> float | None:
    """Edge of a cubic cell, Å; None for another one."""
    if cell is None:
        return None
    metric = np.asarray(cell) @ np.asarray(cell).T
    edge = float(np.sqrt(np.trace(metric) / 3))
    return edge if np.allclose(metric, edge**2 * np.eye(3), atol=1e-3 * edge**2) else None


def _finite_size_notes(
    cell: np.ndarray | None, correction: float, pbc: Sequence[bool]
) -> list[str]:
    if not all(pbc):
        return [_OPEN]
    if np.isfinite(correction):
        return [
            f"finite size: {correction * TO_SI:.3g}·10⁻⁹ m²/s added for D∞ (Yeh & Hummer 2004), "
            "right for a liquid"
        ]
    edge = _edge(cell)
    where = f"edge {edge:.2f} Å" if edge else "edge L, if it is cubic"
    return [
        f"finite size: D of a liquid in a periodic cell ({where}) is too small by 2.837297 "
        "k_BT/(6π η L) (Yeh & Hummer 2004); give `viscosity` in mPa s to have that added"
    ]


def _bend_notes(
    names: Sequence[str], bend: np.ndarray, error: np.ndarray, value: np.ndarray
) -> list[str]:
    """Say where the slope changes from one half of the fit to the other."""
    return [
        f"{name}: the displacement is no straight line yet: its slope changes by "
        f"{100 * change / (6 * d):.0f} % between the halves of the fit; fit later, by `fit`, or "
        "run longer"
        for name, change, scatter, d in zip(names, bend, error, value, strict=True)
        if abs(change) > 3 * scatter
    ]


def _quality_notes(
    names: Sequence[str],
    squares: np.ndarray,
    slopes: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
) -> list[str]:
    """Say where a run is too short."""
    notes = []
    if len(slopes) < UNTOLD:
        notes.append(f"{len(slopes)} blocks only: error bars are rough, run longer")
    for name, far, d, one, few in zip(
        names, squares[:, -1], value, error, stretches(slopes), strict=True
    ):
        if far < RATTLE:
            notes.append(
                f"{name}: {np.sqrt(max(far, 0.0)):.2g} Å in the longest time: these atoms rattle "
                "in their places, and D is no diffusion coefficient"
            )
        if few < ENOUGH:
            notes.append(
                f"{name}: about {few:.0f} independent stretches only ({ENOUGH} wanted): the error "
                "bar is rough; run longer"
            )
        if not one < 0.3 * abs(d) and d != 0.0:  # of held atoms both are nothing
            notes.append(f"{name}: WARNING: the error is {100 * one / abs(d):.0f} % of D")
    return notes
