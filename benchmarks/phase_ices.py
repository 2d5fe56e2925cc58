"""The part of `phases.py` about ice: noisy ices, ice beside its liquid, frames of another level.

The liquid of training is TIP4P/2005; it is judged on TIP4P/Ice (`phase_water.py interface`) and on
classical and path-integral frames of revPBE0-D3, whose ice is Ih. OVITO's CHILL+ (Nguyen,
Molinero, J. Phys. Chem. B 119, 9369), which knows Ih, Ic and no other ice, stands beside it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import phase_frames
import phase_pictures
from ase import Atoms
from ase.io import iread, read

from lrcalc import zoo
from lrcalc.information.phase_labels import label
from lrcalc.information.phases import PhaseModel

NOISES = (0.0, 0.05, 0.1, 0.15)
"""Å."""

BULK = 0.1
"""Half of what is taken for bulk around the middle of ice and of liquid, of the cell's length."""

LAYER = 2.0
"""Thickness of a layer, Å."""


def oxygens(model: PhaseModel, atoms: Atoms) -> np.ndarray:
    """Labels of the molecules, by their oxygens, (N/3,)."""
    if not model.species:
        atoms = atoms[atoms.numbers == 8]
    found = np.array(label(model, atoms).phase)
    return found[atoms.numbers == 8]


def same(words: np.ndarray, phase: str) -> np.ndarray:
    """Whether labels say a phase, alone or in a class of several (`Ih/XI`)."""
    return np.array([phase in word.split("/") for word in words])


def noisy_ices(model: PhaseModel) -> dict[str, dict[str, float]]:
    """Share of right labels of oxygens in each ice; the liquid as it is."""
    table: dict[str, dict[str, list[float]]] = {}
    for atoms in read(zoo.FOLDER / "phases" / "ice.xyz.gz", ":"):
        phase = atoms.info["phase"]
        small = atoms if len(atoms) > 150 else atoms.repeat(2)
        for level in NOISES:
            words = oxygens(model, phase_frames.noisy(small, level, 5))
            row = table.setdefault(phase, {}).setdefault(str(level), [])
            row.append(float(same(words, phase).mean()))
    print(f"\nices: % of molecules right at noise of {', '.join(map(str, NOISES))} Å")
    means = {p: {k: float(np.mean(v)) for k, v in row.items()} for p, row in table.items()}
    for phase, row in means.items():
        print(f"  {phase:8}" + "".join(f"{100 * value:8.1f}" for value in row.values()))
    return means


def interface(model: PhaseModel, path: Path, python: Path | None,
              pictures: Path | None) -> dict[str, Any]:  # fmt: skip
    """Ih in the lower half, liquid in the upper: right in the middle fifths."""
    frames = read(path, ":")
    length = float(np.mean([atoms.cell.lengths()[2] for atoms in frames]))
    edges = np.linspace(0, 1, round(length / LAYER) + 1)  # the cell breathes, layers with it
    shares: dict[str, list[np.ndarray]] = {}
    bulk: dict[str, list[float]] = {}
    judged = chill(frames, python)
    for k, atoms in enumerate(frames):
        z = atoms.get_scaled_positions()[atoms.numbers == 8, 2]
        layer = np.digitize(z, edges) - 1
        sources = {"lrcalc": oxygens(model, atoms)}
        if judged:
            sources["CHILL+"] = judged[k]
        for who, words in sources.items():
            for phase in ("Ih", "Ic", "liquid"):
                share = np.bincount(layer, same(words, phase), len(edges) - 1)
                share /= np.maximum(np.bincount(layer, minlength=len(edges) - 1), 1)
                shares.setdefault(f"{who}: {phase}", []).append(share)
            for phase, middle in (("Ih", 0.25), ("liquid", 0.75)):
                inside = np.abs(z - middle) < BULK
                right = same(words, phase)[inside].mean()
                bulk.setdefault(f"{who}: {phase}", []).append(float(right))
    means = {name: float(np.mean(values)) for name, values in bulk.items()}
    print(f"\nIh beside liquid of TIP4P/Ice, {len(frames)} frames: right in the middle of each")
    for name, value in means.items():
        print(f"  {name:18}{100 * value:7.2f} %")
    profile = {name: np.mean(rows, 0) for name, rows in shares.items()}
    centres = (edges[1:] + edges[:-1]) / 2 * length
    if pictures:
        bulk_at = [((m - BULK) * length, (m + BULK) * length) for m in (0.25, 0.75)]
        phase_pictures.layers(centres, profile, pictures / "phases_ice_liquid.png", bulk_at)
    lists = {name: values.tolist() for name, values in profile.items()}
    return {"bulk": means, "z": centres.tolist(), "profile": lists}


def chill(frames: list[Atoms], python: Path | None) -> list[np.ndarray]:
    """CHILL+ labels of molecules: Ih, Ic, liquid, or other kinds of it."""
    if python is None:
        return []
    from phases import others

    told = {f"{k}+chill:0:0": atoms[atoms.numbers == 8] for k, atoms in enumerate(frames)}
    found = others(told, python)
    return [found[name]["CHILL+"] for name in told]


def outside(model: PhaseModel, shared: Path, most: int = 20) -> dict[str, Any]:
    """Labels of molecules of revPBE0-D3 frames, ice and liquid, classical and path-integral."""
    counts: dict[str, Counter] = {}
    seen: Counter = Counter()
    for atoms in iread(shared / "data/water/revpbe0_d3_train.xyz.gz", ":"):
        group = atoms.info.get("group", "")
        if not group or seen[group] >= 15 * most:
            continue
        seen[group] += 1
        if seen[group] % 15 and "classical_ice" not in group:
            continue
        counts.setdefault(group, Counter()).update(oxygens(model, atoms).tolist())
    print("\nrevPBE0-D3 frames: labels of molecules, %")
    table = {}
    for group, words in counts.items():
        whole = words.total()
        table[group] = {word: n / whole for word, n in words.most_common()}
        print(f"  {group:16}" + ", ".join(f"{w} {100 * n:.1f}" for w, n in table[group].items()))
    return table


def judge(model: PhaseModel, path: Path | None, shared: Path | None, python: Path | None,
          pictures: Path | None) -> dict[str, Any]:  # fmt: skip
    """All of it."""
    result: dict[str, Any] = {"noise": noisy_ices(model)}
    if path is not None:
        result["interface"] = interface(model, path, python, pictures)
    if shared is not None:
        result["revPBE0-D3"] = outside(model, shared)
    return result
