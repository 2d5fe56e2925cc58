"""Melting of ice by the entropy of environments, against the measured 22 J/(mol K).

    lrcalc md water ice.xyz --ensemble nvt --temperature 300 --steps 5000 --every 100 --out ice
    lrcalc md water water64 --ensemble nvt --temperature 300 --steps 5000 --every 100 --out liquid
    python benchmarks/melting.py ice.xyz liquid.xyz --skip 10

H of the descriptors of QUESTS (nats) of the liquid less that of ice, each species among its own,
summed over the atoms of a molecule, at several bandwidths; standard error from random halves of the
frames. Beside it what normal distributions of the same covariance give, which have no ln N to run
into. Both sets have the same number of frames.
"""

import argparse
from pathlib import Path

import numpy as np

from lrcalc.information.descriptors import PUBLISHED
from lrcalc.information.intake import frames_of_file
from lrcalc.information.reference import by_species
from lrcalc.information.thermodynamics import entropy_difference, gaussian_entropy
from lrcalc.progress import progress_bar

MEASURED = 22.0
"""J/(mol K) at 273 K: 6.01 kJ/mol over 273.15 K."""

BANDWIDTHS = (0.01, 0.015, 0.03, 0.05, 0.08, 0.12)
"""1/Å; 0.015 is published for metals, 0.033 where unseen frames of the liquid have δH 0."""

GAS = 8.314462618
"""J/(mol K)."""


def normal(frames, h):
    """H, nats, mean over atoms, if the environments of each species were normally distributed."""
    total = atoms = 0.0
    for z in frames[0]:
        x = np.concatenate([frame[z] for frame in frames])
        total += len(x) * gaussian_entropy(np.linalg.eigvalsh(np.cov(x.T)).clip(0), h)
        atoms += len(x)
    return total / atoms


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ice", type=Path)
    parser.add_argument("liquid", type=Path)
    parser.add_argument("--skip", type=int, default=10, help="frames left out at the beginning")
    parser.add_argument("--most", type=int, default=40, help="frames of each")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("-o", "--output", default="melting", metavar="PREFIX")
    args = parser.parse_args()
    read = [list(frames_of_file(path))[args.skip :] for path in (args.ice, args.liquid)]
    count = min(args.most, *map(len, read))
    picked = [[f[k] for k in np.linspace(0, len(f) - 1, count).astype(int)] for f in read]
    made = [[by_species(a, PUBLISHED, (1, 8)) for a in frames] for frames in picked]
    molecules = [sum(len(frame[8]) for frame in frames) for frames in made]
    print(f"{count} frames of each, {molecules[0]} and {molecules[1]} environments of O")
    print("h (1/Å)   H ice   H liquid  H/ln N   S(l) - S(i), J/(mol K)   normal distributions")
    rows = []
    with progress_bar(len(BANDWIDTHS), unit="bandwidth", leave=False) as bar:
        for h in BANDWIDTHS:
            found = entropy_difference(*made, h, draws=args.draws)
            value, error = (3 * x for x in found.joule_per_mole_kelvin)
            gauss = 3 * GAS * (normal(made[1], h) - normal(made[0], h))
            rows.append((h, found.first, found.second, found.saturation, value, error, gauss))
            bar.update()
    for h, first, second, full, value, error, gauss in rows:
        print(f"{h:7.3f} {first:8.3f} {second:9.3f} {full:8.2f} {value:13.1f} ± {error:.1f}"
              f" {gauss:20.1f}")  # fmt: skip
    print(f"measured {MEASURED}; written: {draw(np.array(rows), args.output)}")


def draw(rows, prefix):
    """Difference against bandwidth, beside what was measured."""
    from lrcalc.analysis.plots import new_figure, save

    figure, axis = new_figure(1, height=3.6)
    h, _, _, full, value, error, gauss = rows.T
    axis.errorbar(h, value, error, marker=".", capsize=2, label="H of environments")
    axis.plot(h, gauss, ls="--", marker=".", label="normal distributions")
    axis.axhline(MEASURED, color="0.4", lw=1, label="measured, 273 K")
    axis.axhline(0, color="0.8", lw=0.8)
    bound = full > 0.9
    if bound.any():
        axis.axvspan(h.min() * 0.9, h[bound].max(), color="0.92", label="H/ln N > 0.9")
    axis.set_xscale("log")
    axis.set_ylim(min(-10, 1.1 * value.min()), 1.15 * max(value.max(), MEASURED, gauss.max()))
    axis.set_xlabel("bandwidth h (1/Å)")
    axis.set_ylabel("S(liquid) − S(ice)\n(J/mol/K per molecule)")
    axis.legend(frameon=False, fontsize=8)
    return save(figure, f"{prefix}.png")


if __name__ == "__main__":
    main()
