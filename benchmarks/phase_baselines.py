"""Labels of other people's methods for the frames of `phases.py`: PTM, CNA, Steinhardt.

    .venv-phases/bin/python benchmarks/phase_baselines.py frames.npz labels.npz

Runs where ovito and freud are, without lrcalc. In: for each frame `NAME/positions` (N, 3) and
`NAME/cell` (3,) of an orthorhombic periodic cell, in nearest-neighbour distances; names are
PHASE:NOISE:SEED. Out: `NAME/METHOD`, names of phases, (N,).

PTM is OVITO's, with its cutoff of the RMSD (0.1; above, an atom is "other") and without any. CNA is
OVITO's adaptive one. Steinhardt's q4 and q6 of the 12 nearest, averaged over neighbours (Lechner,
Dellago, J. Chem. Phys. 129, 114707), are compared with their means and covariances in
frames of the same noise whose SEED is "known": it alone is told how large the noise is.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

CRYSTALS = {"FCC": "fcc", "HCP": "hcp", "BCC": "bcc"}
"""Types of PTM and CNA that are judged; all others are "other"."""

WATERS = {"HEXAGONAL ICE": "Ih", "CUBIC ICE": "Ic", "OTHER": "liquid"}
"""Types of CHILL+."""


def of_ovito(
    positions: np.ndarray, cell: np.ndarray, modifier: Any, known: dict[str, str] = CRYSTALS
) -> np.ndarray:
    """Names of the structure types that a modifier of OVITO finds, (N,)."""
    from ovito.data import DataCollection
    from ovito.pipeline import Pipeline, StaticSource

    data = DataCollection()
    box = np.column_stack([np.diag(cell), np.zeros(3)])
    data.create_cell(box, pbc=(True, True, True))
    data.create_particles(count=len(positions)).create_property("Position", data=positions)
    pipeline = Pipeline(source=StaticSource(data=data))
    pipeline.modifiers.append(modifier)
    types = pipeline.compute().particles["Structure Type"]
    names = np.array(["other"] * (1 + max(t.id for t in types.types)), dtype="U8")
    for t in types.types:
        names[t.id] = known.get(t.name.upper(), "other")
    return names[np.asarray(types)]


def ptm(cutoff: float) -> Any:
    """Polyhedral template matching with OVITO's three usual templates; cutoff 0 is none."""
    from ovito.modifiers import PolyhedralTemplateMatchingModifier

    return PolyhedralTemplateMatchingModifier(rmsd_cutoff=cutoff)


def cna() -> Any:
    """Adaptive common-neighbour analysis."""
    from ovito.modifiers import CommonNeighborAnalysisModifier

    return CommonNeighborAnalysisModifier()


def chill() -> Any:
    """CHILL+ of oxygens, its neighbours within 3.5 Å."""
    from ovito.modifiers import ChillPlusModifier

    return ChillPlusModifier(cutoff=3.5)


def steinhardt(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Averaged q4 and q6 of the 12 nearest neighbours, (N, 2)."""
    import freud

    box = freud.box.Box(*cell)
    points = box.wrap(positions - cell / 2)
    found = [
        freud.order.Steinhardt(degree, average=True)
        .compute((box, points), neighbors={"num_neighbors": 12})
        .particle_order
        for degree in (4, 6)
    ]
    return np.column_stack(found)


def nearest(orders: np.ndarray, known: dict[str, np.ndarray]) -> np.ndarray:
    """Names of the Gaussians that are likeliest, (N,)."""
    scores = []
    for values in known.values():
        covariance = np.cov(values.T) + 1e-8 * np.eye(2)
        away = orders - values.mean(0)
        scores.append(np.einsum("na,ab,nb->n", away, np.linalg.inv(covariance), away)
                      + np.linalg.slogdet(covariance)[1])  # fmt: skip
    return np.array(list(known))[np.argmin(scores, 0)]


def main(source: str, target: str) -> None:
    data = np.load(source)
    names = sorted({key.rsplit("/", 1)[0] for key in data.files})
    frames = {name: (data[f"{name}/positions"], data[f"{name}/cell"]) for name in names}
    out: dict[str, np.ndarray] = {}
    orders = {name: steinhardt(*frames[name]) for name in names if "+" not in name}
    for name, frame in frames.items():
        phase, noise, seed = name.split(":")
        if phase.endswith("+chill"):
            out[f"{name}/CHILL+"] = of_ovito(*frame, chill(), WATERS)
            continue
        if seed == "known":
            continue
        out[f"{name}/PTM"] = of_ovito(*frame, ptm(0.1))
        out[f"{name}/PTM without cutoff"] = of_ovito(*frame, ptm(0.0))
        out[f"{name}/CNA"] = of_ovito(*frame, cna())
        if name in orders:
            known = {n.split(":")[0]: orders[n] for n in names if n.endswith(f":{noise}:known")}
            if phase in known:
                out[f"{name}/Steinhardt"] = nearest(orders[name], known)
    np.savez(target, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
