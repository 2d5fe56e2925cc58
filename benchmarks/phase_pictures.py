"""Pictures of `phases.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def noise(table: dict[str, Any], denoising: dict[str, Any], path: Path) -> None:
    """Labels right against noise, and the way back to the lattice."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2 if denoising else 1, figsize=(9, 3.4), squeeze=False)
    left = axes[0, 0]
    for method, levels in table.items():
        x = [100 * float(level) for level in levels]
        rows = np.array([list(phases.values()) for phases in levels.values()])  # level, phase, seed
        ours = method.startswith("lrcalc")
        error = rows.mean(1).std(1, ddof=1) / rows.shape[2] ** 0.5
        style = {"marker": "o", "lw": 2} if ours else {"marker": "s", "lw": 1, "ls": "--"}
        left.errorbar(x, 100 * rows.mean((1, 2)), 100 * error, ms=4, label=method, **style)
    left.plot([5, 10, 15, 20], [99, 98, 95, 88], "k_", ms=14, label="wanted")
    left.set_xlabel("noise of a component, % of the nearest-neighbour distance")
    left.set_ylabel("labels right, %")
    left.set_title("fcc, bcc and hcp, about 2000 atoms each")
    left.legend(fontsize=7)
    if denoising:
        right = axes[0, 1]
        for phase, rows in denoising.items():
            for k, row in enumerate(rows):
                right.semilogy(100 * np.array(row), color=f"C{list(denoising).index(phase)}",
                               marker=".", lw=1, label=phase if k == 0 else None)  # fmt: skip
        right.axhline(1.5, color="k", lw=0.7, ls=":", label="wanted")
        right.set_xlabel("steps of denoising")
        right.set_ylabel("rms displacement, %")
        right.set_title("10 % noise")
        right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def defects(shown: dict[str, Any], path: Path) -> None:
    """Draw slices through defects, coloured by log P̂ of each atom, and it against distance."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, len(shown), figsize=(3.2 * len(shown), 6))
    for k, (name, (defect, judged)) in enumerate(shown.items()):
        atoms, away = defect.atoms, defect.away
        x, y, z = atoms.positions.T
        first, second, depth = (x, y, z) if name in ("vacancy", "grain boundary") else (z, x, y)
        inner = np.abs(depth - depth[np.argmin(away)]) < 0.75
        seen = axes[0, k].scatter(first[inner], second[inner], c=judged.density[inner], s=9,
                                  cmap="viridis")  # fmt: skip
        figure.colorbar(seen, ax=axes[0, k], shrink=0.7, label="log P of the atom")
        axes[0, k].set_aspect("equal")
        axes[0, k].set_title(name, fontsize=9)
        axes[1, k].plot(away, judged.density, ".", ms=2, alpha=0.5)
        axes[1, k].set_ylabel("log P of the atom")
        axes[1, k].set_xlim(0, 6)
        axes[1, k].set_xlabel("distance from the defect")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def layers(z: np.ndarray, shares: dict[str, np.ndarray], path: Path,
           bulk: list[tuple[float, float]]) -> None:  # fmt: skip
    """Shares of phases in layers across an interface; what is taken for bulk is shaded."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 3))
    for name, values in shares.items():
        if values.max() > 0.05:
            color = "C0" if "Ih" in name else "C1"
            axis.plot(z, 100 * values, "--" if "CHILL" in name else "-", color=color, label=name)
    for low, high in bulk:
        axis.axvspan(low, high, color="k", alpha=0.06)
    axis.set_xlabel("z, Å")
    axis.set_ylabel("molecules, %")
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
