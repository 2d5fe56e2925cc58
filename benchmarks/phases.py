r"""Labels of `lrcalc.information.phases` beside PTM, CNA and Steinhardt's order parameters.

    make bench-phases                                # all of it, with an environment of its own
    python benchmarks/phases.py --metals metals --ice ice --baselines .venv-phases/bin/python \
        --interface interface.xyz --out phases.json --pictures docs/pictures

Metals: noise of 5 to 20 % of the nearest-neighbour distance on each Cartesian component of fcc,
bcc and hcp (about 2000 atoms, several seeds), the other classes at 0 to 10 %, defects, denoising,
speed, and thermal motion instead of noise (`phase_hot.py`). Ice: noisy ices, the liquid beside Ih
of `phase_water.py`, and frames of revPBE0-D3 where `--shared` has them. Labels of the baselines
come from `phase_baselines.py` on the same frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import phase_frames
import phase_pictures
from ase import Atoms
from ase.io import read

from lrcalc import zoo
from lrcalc.information.phase_labels import denoise, label
from lrcalc.information.phases import PhaseModel, load

LEVELS = (0.05, 0.1, 0.15, 0.2)
WANTED = {0.05: 0.99, 0.1: 0.98, 0.15: 0.95, 0.2: 0.88}
CRYSTALS = ("fcc", "bcc", "hcp")
SEEDS = 3
NEAR, FAR = 1.01, 2.0
"""Atoms this near to a defect are to be told from those farther than that."""


class Judged:
    """Labels (N,), logits (N, C), and log P̂ of each atom (N,); by default as users get them."""

    def __init__(self, model: PhaseModel, atoms: Atoms, steps: int | None = None) -> None:
        found = label(model, atoms, steps=steps)
        self.phase, self.names = np.array(found.phase), list(model.phases)
        self.logits = found.logits
        most = found.logits.max(1)
        self.density = most + np.log(np.exp(found.logits - most[:, None]).sum(1))


def area(values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive has the smaller value; ties count half."""
    from scipy.stats import rankdata

    both = np.concatenate([values[positive], values[negative]])
    ranks = rankdata(-both)
    n, m = positive.sum(), negative.sum()
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def others(frames: dict[str, Atoms], python: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """Ask `phase_baselines.py` about frames: labels by name, then by method."""
    if python is None:
        return {name: {} for name in frames}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "frames.npz", Path(folder) / "labels.npz"
        arrays = {}
        for name, atoms in frames.items():
            arrays[f"{name}/positions"] = atoms.positions
            arrays[f"{name}/cell"] = atoms.cell.lengths()
        np.savez(source, **arrays)
        script = Path(__file__).with_name("phase_baselines.py")
        subprocess.run([str(python), str(script), str(source), str(target)], check=True)
        found: dict[str, dict[str, np.ndarray]] = {name: {} for name in frames}
        data = np.load(target)
        for key in data.files:
            name, method = key.rsplit("/", 1)
            found[name][method] = data[key]
        return found


def noise(model: PhaseModel, python: Path | None) -> dict[str, Any]:
    """Share of right labels by method, noise and crystal, of each seed.

    Ours by default, which denoises where labels would be uncertain, and without.
    """
    frames = {}
    for phase in CRYSTALS:
        perfect = phase_frames.crystal(phase)
        for level in LEVELS:
            for seed in range(SEEDS):
                frames[f"{phase}:{level}:{seed}"] = phase_frames.noisy(perfect, level, 10 + seed)
            frames[f"{phase}:{level}:known"] = phase_frames.noisy(perfect, level, 99)
    found = others(frames, python)
    table: dict[str, Any] = {}
    for name, atoms in frames.items():
        phase, level, seed = name.split(":")
        if seed == "known":
            continue
        ours = {"lrcalc": None, "lrcalc, no denoising": 0}
        labels = {word: Judged(model, atoms, steps).phase for word, steps in ours.items()}
        labels |= found[name]
        for method, words in labels.items():
            row = table.setdefault(method, {}).setdefault(level, {}).setdefault(phase, [])
            row.append(float((words == phase).mean()))
    return table


def print_noise(table: dict[str, Any]) -> None:
    print("\nlabels right, %, mean of fcc, bcc, hcp (worst of the three), standard error of seeds")
    print(" " * 24 + "".join(f"{100 * level:>20.0f} %" for level in LEVELS))
    for method, levels in table.items():
        cells = []
        for level in LEVELS:
            rows = np.array([levels[str(level)][phase] for phase in CRYSTALS])
            error = rows.mean(0).std(ddof=1) / len(rows[0]) ** 0.5
            cells.append(f"{100 * rows.mean():6.2f} ± {100 * error:4.2f} "
                         f"({100 * rows.mean(1).min():5.1f})")  # fmt: skip
        print(f"{method:24}" + "".join(f"{c:>22}" for c in cells))
    print(f"{'wanted':24}" + "".join(f"{100 * WANTED[level]:>22.0f}" for level in LEVELS))


def classes(model: PhaseModel) -> dict[str, dict[str, float]]:
    """Share of right labels of every class at 0, 5 and 10 %."""
    table: dict[str, dict[str, float]] = {}
    for atoms in read(zoo.FOLDER / "phases" / "metals.xyz", ":"):
        phase = atoms.info["phase"]
        edge = (300 * atoms.get_volume() / len(atoms)) ** (1 / 3)
        heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
        bigger = atoms.repeat(np.ceil(edge / heights).astype(int))
        for level in (0.0, 0.05, 0.1):
            words = Judged(model, phase_frames.noisy(bigger, level, 5)).phase
            row = table.setdefault(phase, {})
            right = float((words == phase).mean())
            row[str(level)] = min(right, row.get(str(level), 1.0))  # the worst of its frames
    print("\nclasses, % right at 0, 5, 10 % (the worst c/a)")
    for phase, row in table.items():
        print(f"  {phase:18}" + "".join(f"{100 * value:8.1f}" for value in row.values()))
    return table


def defects(model: PhaseModel, python: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell defects by log P̂ of each atom and by the matrix's logit; and what a picture needs."""
    made = {name: build(1) for name, build in phase_frames.DEFECTS.items()}
    found = others({f"{name}+:0.03:0": d.atoms for name, d in made.items()}, python)
    table: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    print("\ndefects at 3 % noise: area under the curve, atoms within 1 against those beyond 2")
    for name, defect in made.items():
        judged = Judged(model, defect.atoms)
        near, far = defect.away <= NEAR, defect.away > FAR
        row = {"log P": area(judged.density, near, far)}
        if defect.matrix:
            column = model.phases.index(defect.matrix)
            row[f"logit of {defect.matrix}"] = area(judged.logits[:, column], near, far)
        row["right beyond 2"] = float((judged.phase == defect.phases)[far].mean())
        at = near & (defect.phases != (defect.matrix or defect.phases))
        if at.any():
            row["fault is hcp"] = float((judged.phase == defect.phases)[at].mean())
        for method, words in found[f"{name}+:0.03:0"].items():
            wrong = -(words != (defect.matrix or defect.phases)).astype(float)
            row[f"{method}: other label"] = area(wrong, near, far)
        table[name] = row
        shown[name] = (defect, judged)
        print(f"  {name:18}" + ", ".join(f"{k} {v:.3f}" for k, v in row.items()))
    return table, shown


def hot(model: PhaseModel, python: Path | None, path: Path) -> dict[str, Any]:
    """Judge crystals near melting (`phase_hot.py`), and their log P beside that of the liquid."""
    frames = {f"{a.info['phase']}+:0:{k}": a for k, a in enumerate(read(path, ":"))}
    found = others(frames, python)
    right: dict[str, dict[str, list[float]]] = {}
    density: dict[str, list[np.ndarray]] = {}
    for name, atoms in frames.items():
        phase = atoms.info["phase"]
        judged = Judged(model, atoms)
        density.setdefault(phase, []).append(judged.density)
        for method, words in {"lrcalc": judged.phase, **found[name]}.items():
            row = right.setdefault(phase, {}).setdefault(method, [])
            row.append(float((words == phase).mean()))
    table: dict[str, Any] = {}
    print("\nLennard-Jones at 0.87 of its melting point, labels right, %")
    liquid = np.concatenate(density["liquid"])
    for phase in ("fcc", "hcp"):
        table[phase] = {method: float(np.mean(row)) for method, row in right[phase].items()}
        crystal = np.concatenate(density[phase])
        both = np.concatenate([liquid, crystal])
        is_liquid = np.arange(len(both)) < len(liquid)
        table[phase]["log P tells it from the liquid"] = area(both, is_liquid, ~is_liquid)
        print(f"  {phase}: " + ", ".join(f"{k} {100 * v:.2f}" for k, v in table[phase].items()))
    return table


def denoising(model: PhaseModel, level: float = 0.1) -> dict[str, Any]:
    """Rms displacement from the ideal lattice after steps of denoising, and the first labels."""
    table: dict[str, Any] = {}
    print(f"\ndenoising of {100 * level:.0f} %: rms displacement, % of nearest-neighbour distance")
    for phase in CRYSTALS:
        rows = []
        for seed in range(SEEDS):
            atoms = phase_frames.noisy(phase_frames.crystal(phase), level, 40 + seed)
            row, values = [], []
            for step in denoise(model, atoms, steps=10):
                away = step.positions - atoms.arrays["ideal"]
                away -= away.mean(0)
                row.append(float(np.sqrt((away**2).sum(1).mean())))
                values.append(step.log_probability)
            rows.append(row)
            if (np.diff(values) < 0).any():
                raise AssertionError(f"log P fell while {phase} was denoised")
        last = [row[-1] for row in rows]
        table[phase] = rows
        way = " ".join(f"{100 * x:.2f}" for x in rows[0])
        print(f"  {phase}: {way}; last, mean of {SEEDS} seeds {100 * np.mean(last):.2f}")
    return table


def speed(model: PhaseModel) -> dict[str, float]:
    """Seconds for 10⁵ atoms, with as many threads as torch has."""
    import torch

    atoms = phase_frames.noisy(phase_frames.crystal("fcc", (29, 29, 30)), 0.05, 3)
    begun = time.perf_counter()
    label(model, atoms)
    seconds = time.perf_counter() - begun
    print(f"\n{len(atoms)} atoms in {seconds:.1f} s with {torch.get_num_threads()} threads")
    return {"atoms": len(atoms), "seconds": seconds, "threads": torch.get_num_threads()}


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--metals", help="a model of metals, by name or path")
    parser.add_argument("--ice", help="a model of ices, by name or path")
    parser.add_argument("--baselines", type=Path, help="python with ovito and freud")
    parser.add_argument("--hot", type=Path, help="frames of phase_hot.py")
    parser.add_argument("--interface", type=Path, help="frames of phase_water.py interface")
    parser.add_argument("--shared", type=Path, help="folder with data/water")
    parser.add_argument("--only", nargs="+", default=[], help="noise classes defects ...")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder")
    given = parser.parse_args()
    result: dict[str, Any] = {}
    wanted = set(given.only or ("noise", "classes", "defects", "denoising", "speed"))
    if given.metals:
        model = load(given.metals)
        if "noise" in wanted:
            result["noise"] = noise(model, given.baselines)
            print_noise(result["noise"])
        if "classes" in wanted:
            result["classes"] = classes(model)
        if "defects" in wanted:
            result["defects"], shown = defects(model, given.baselines)
            if given.pictures:
                phase_pictures.defects(shown, given.pictures / "phases_defects.png")
        if given.hot:
            result["hot"] = hot(model, given.baselines, given.hot)
        if "denoising" in wanted:
            result["denoising"] = denoising(model)
        if "speed" in wanted:
            result["speed"] = speed(model)
        if given.pictures and "noise" in result:
            phase_pictures.noise(result["noise"], result.get("denoising", {}),
                                 given.pictures / "phases_noise.png")  # fmt: skip
    if given.ice:
        import phase_ices

        result["ice"] = phase_ices.judge(load(given.ice), given.interface, given.shared,
                                         given.baselines, given.pictures)  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
