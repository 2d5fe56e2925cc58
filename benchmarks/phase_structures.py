"""The perfect crystals that `lrcalc phases train` learns from: metals and ices, as extended xyz.

    .venv-phases/bin/python benchmarks/phase_structures.py metals -o lrcalc/zoo/phases/metals.xyz
    .venv-phases/bin/python benchmarks/phase_structures.py ice --liquid liquid.xyz \
        -o lrcalc/zoo/phases/ice.xyz.gz

Needs pymatgen (its AFLOW prototypes) and GenIce2, which lrcalc does without, and ASE. Metals have
one species and a mean nearest-neighbour distance of 1. Many prototypes are then one lattice, and
others differ by less than the noise they are to be told apart in; what was merged or left out, and
for what, is printed. Ices have O and H, in Å, in several arrangements of the protons.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.neighborlist import neighbor_list
from scipy.special import sph_harm_y

REACH = 2.5
"""Radius of what an environment is told by, in units of the cube root of the volume of an atom."""

BLUR = 0.12
"""Width that fingerprints are blurred by: noise of about 10 % of a nearest-neighbour distance."""

APART = 0.14
"""Least distance between environments of two classes."""

APART_FROM_LATTICES = 0.18
"""The same from `LATTICES`, which are to be right where noise is 20 %: that of hcp from fcc."""

LATTICES = ("fcc", "bcc", "hcp", "dc", "sc")

ICES = {
    "Ih": "222", "Ic": "222", "II": "222", "III": "222", "V": "111", "VI": "222", "VII": "222",
    "VIII": "111", "IX": "222", "XI": "222",
}  # fmt: skip
"""Cells along each axis: some dozens of molecules, that protons may be disordered."""

ORDERED = ("II", "VIII", "IX", "XI")
"""Ices in which there is one arrangement of the protons."""

ARRANGEMENTS = 4
"""Arrangements of the protons of each disordered ice."""

UNEVEN = 1.35
"""Largest ratio of nearest-neighbour distances within a crystal: above, it is of molecules, or its
entry in pymatgen has one site twice."""

RATIOS = {"hcp": (1.57, 1.6, 1.633, 1.67, 1.86)}
"""c/a of hexagonal metals: Be, Ti, ideal, a little beyond, Zn and Cd."""


class Prototype(NamedTuple):
    """Name of the class, and where pymatgen has it: AFLOW's label and Strukturbericht."""

    name: str
    aflow: str
    symbol: str | None = None


PROTOTYPES = [
    Prototype("A15", "A3B_cP8_223_c_a"),
    Prototype("beta-Sn", "A_tI4_141_a"),
    Prototype("simple-hexagonal", "A_hP1_191_a"),
    Prototype("beta-Po", "A_hR1_166_a", "A_i"),
    Prototype("alpha-Hg", "A_hR1_166_a", "A10"),
    Prototype("alpha-As", "A_hR2_166_c", "A7"),
    Prototype("alpha-U", "A_oC4_63_c"),
    Prototype("alpha-Ga", "A_oC8_64_f", "A11"),
    Prototype("alpha-Mn", "A_cI58_217_ac2g"),
    Prototype("beta-Mn", "A_cP20_213_cd"),
    Prototype("beta-Np", "A_tP4_129_ac"),
    Prototype("In", "A_tI2_139_a", "A6"),
    Prototype("cI16-Li", "A_cI16_220_c"),
    Prototype("double-hcp", "A_hP4_194_ac"),
    Prototype("Sm", "A_hR3_166_ac"),
    Prototype("sigma", "A_tP30_136_bf2ij"),
    Prototype("Se", "A_hP3_152_a"),
    Prototype("black-P", "A_oC8_64_f", "A17"),
    Prototype("graphite", "A_hP4_194_bc"),
    Prototype("lonsdaleite", "A_hP4_194_f"),
    Prototype("wurtzite", "AB_hP4_186_b_b"),
    Prototype("BC8", "A_cI16_206_c"),
    Prototype("BCT5", "A_tI4_139_e"),
    Prototype("alpha-B", "A_hR12_166_2h"),
    Prototype("clathrate-I", "A_cP46_223_dik"),
    Prototype("C15", "A2B_cF24_227_d_a"),
    Prototype("C14", "AB2_hP12_194_f_ah"),
    Prototype("mu", "A7B6_hR13_166_ah_3c"),
    Prototype("gamma-brass", "A5B8_cI52_217_ce_cg"),
    Prototype("CsCl", "AB_cP2_221_b_a"),
    Prototype("Heusler", "AB2C_cF16_225_a_c_b"),
    Prototype("D0_3", "AB3_cF16_225_a_bc"),
    Prototype("L1_2", "AB3_cP4_221_a_c"),
    Prototype("L1_0", "AB_tP2_123_a_d"),
    Prototype("D0_22", "A3B_tI8_139_bd_a"),
    Prototype("D0_19", "A3B_hP8_194_h_c"),
    Prototype("B19", "AB_oP4_51_e_f"),
    Prototype("rock-salt", "AB_cF8_225_a_b"),
    Prototype("zincblende", "AB_cF8_216_c_a"),
    Prototype("WC", "AB_hP2_187_d_a"),
    Prototype("NiAs", "AB_hP4_194_c_a"),
    Prototype("Ni2In", "AB2_hP6_194_c_ad"),
    Prototype("CdI2", "AB2_hP3_164_a_d"),
    Prototype("C16", "A2B_tI12_140_h_a"),
    Prototype("C54", "A2B_oF24_70_e_a"),
    Prototype("CaCu5", "AB5_hP6_191_a_cg"),
    Prototype("BaAl4", "A4B_tI10_139_de_a"),
    Prototype("FeSi", "AB_cP8_198_a_a", "B20"),
    Prototype("CoSn", "AB_hP6_191_f_ad"),
    Prototype("cementite", "AB3_oP16_62_c_cd"),
    Prototype("Al12W", "A12B_cI26_204_g_a"),
    Prototype("fluorite", "AB2_cF12_225_a_c"),
    Prototype("ThH2", "A2B_tI6_139_d_a"),
    Prototype("rutile", "A2B_tP6_136_f_a"),
    Prototype("anatase", "A2B_tI12_141_e_a"),
    Prototype("corundum", "A2B3_hR10_167_c_e"),
    Prototype("cuprite", "A2B_cP6_224_b_a"),
    Prototype("cristobalite", "A2B_cF24_227_c_a"),
    Prototype("quartz", "A2B_hP9_180_j_c"),
    Prototype("perovskite", "AB3C_cP5_221_a_c_b"),
    Prototype("ReO3", "A3B_cP4_221_d_a"),
    Prototype("NbO", "AB_cP6_221_c_d"),
    Prototype("pyrite", "AB2_cP12_205_a_c"),
    Prototype("marcasite", "AB2_oP6_58_a_g", "C18"),
    Prototype("skutterudite", "A3B_cI32_204_g_c"),
    Prototype("MoS2", "AB2_hP6_194_c_f"),
]
"""In the order in which they are taken: of two that are alike the first is kept."""


def scaled(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """One species and a mean nearest-neighbour distance of 1; and these distances, (N,)."""
    atoms = Atoms("Cu" * len(atoms), cell=atoms.cell, pbc=True,
                  scaled_positions=atoms.get_scaled_positions())  # fmt: skip
    cutoff = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    while True:
        i, d = neighbor_list("id", atoms, cutoff)
        nearest = np.full(len(atoms), np.inf)
        np.minimum.at(nearest, i, d)
        if np.isfinite(nearest).all():
            break
        cutoff *= 1.3
    atoms.set_cell(atoms.cell / nearest.mean(), scale_atoms=True)
    return atoms, nearest / nearest.mean()


def fingerprints(atoms: Atoms) -> np.ndarray:
    """Compute power spectra of all neighbours where the volume of an atom is 1, (N, F).

    Degree l at distance r is damped by exp(−l(l+1) BLUR²/2r²), as noise of BLUR across the bond
    damps it.
    """
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * (len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    i, vectors = neighbor_list("iD", atoms, REACH)
    return np.array([spectrum(vectors[i == k]) for k in range(len(atoms))])


def spectrum(vectors: np.ndarray, degrees: int = 9, radials: int = 9) -> np.ndarray:
    """Power spectrum of vectors (K, 3) in units of the cube root of the volume of an atom."""
    r = np.linalg.norm(vectors, axis=1)
    polar, azimuth = np.arccos(np.clip(vectors[:, 2] / r, -1, 1)), np.arctan2(*vectors[:, 1::-1].T)
    shells = np.exp(-0.5 * ((r[:, None] - np.linspace(0.7, REACH, radials)) / 0.18) ** 2)
    shells *= 0.5 * (1 + np.cos(np.pi * np.clip((r - 1.6) / (REACH - 1.6), 0, 1)))[:, None]
    parts = []
    for degree in range(degrees):
        damped = shells * np.exp(-0.5 * degree * (degree + 1) * (BLUR / r[:, None]) ** 2)
        harmonics = np.array([sph_harm_y(degree, m, polar, azimuth)
                              for m in range(-degree, degree + 1)])  # fmt: skip
        c = np.einsum("kn,mk->nm", damped, harmonics)
        power = np.einsum("nm,km->nk", c, c.conj()).real / np.sqrt(2 * degree + 1)
        parts.append(power[np.triu_indices(radials)])
    found = np.concatenate(parts)
    return found / np.linalg.norm(found)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Least distance between an environment of one class and one of the other."""
    return float(np.sqrt(np.clip(2 - 2 * (first @ second.T).max(), 0, None)))


def lattices() -> dict[str, list[Atoms]]:
    """Classes that are known without a library, with several c/a where it is free."""
    omega = [Atoms("Ti3", cell=[[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, ratio]], pbc=True,
                   scaled_positions=[[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
             for ratio in (0.6, 0.613, 0.625)]  # fmt: skip
    return {
        "fcc": [bulk("Cu", "fcc", a=3.6)],
        "bcc": [bulk("Fe", "bcc", a=2.9)],
        "hcp": [bulk("Mg", "hcp", a=3.2, c=3.2 * ratio) for ratio in RATIOS["hcp"]],
        "dc": [bulk("Si", "diamond", a=5.4)],
        "sc": [bulk("Po", "sc", a=3.3)],
        "omega": omega,
    }


def library(prototype: Prototype) -> Atoms:
    """Read the crystal from pymatgen's AFLOW prototypes."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    found = [
        entry["snl"].structure
        for entry in AFLOW_PROTOTYPE_LIBRARY
        if entry["tags"]["aflow"] == prototype.aflow
        and prototype.symbol in (None, entry["tags"]["strukturbericht"])
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found)} prototypes of pymatgen are {prototype}, not one")
    (crystal,) = found
    return Atoms("Cu" * len(crystal), cell=crystal.lattice.matrix, pbc=True,
                 scaled_positions=crystal.frac_coords)  # fmt: skip


def metals() -> list[Atoms]:
    """Frames of every class that is kept; what is left out is printed."""
    frames: list[Atoms] = []
    prints: dict[str, np.ndarray] = {}

    def keep(name: str, crystals: list[Atoms], source: str) -> None:
        for atoms in crystals:
            atoms.info = {"phase": name, "prototype": source}
        frames.extend(crystals)
        prints[name] = np.concatenate([fingerprints(atoms) for atoms in crystals])

    for name, crystals in lattices().items():
        keep(name, [scaled(atoms)[0] for atoms in crystals], "ideal")
    for prototype in PROTOTYPES:
        atoms, nearest = scaled(library(prototype))
        if nearest.max() / nearest.min() > UNEVEN:
            print(f"{prototype.name:16} left out: nearest neighbours at {nearest.min():.2f} to "
                  f"{nearest.max():.2f}")  # fmt: skip
            continue
        found = fingerprints(atoms)
        near = {other: distance(found, known) for other, known in prints.items()}
        close = [o for o in near
                 if near[o] < (APART_FROM_LATTICES if o in LATTICES else APART)]  # fmt: skip
        if close:
            other = min(close, key=near.__getitem__)
            what = "the same as" if near[other] < 0.02 else "too near"
            print(f"{prototype.name:16} left out: {what} {other} ({near[other]:.3f})")
            continue
        keep(prototype.name, [atoms], prototype.aflow)
    report(prints)
    return frames


def report(prints: dict[str, np.ndarray]) -> None:
    """Print what is kept, and what it is nearest to."""
    for name, found in prints.items():
        near = {o: distance(found, known) for o, known in prints.items() if o != name}
        first, second = sorted(near, key=near.__getitem__)[:2]
        print(f"{name:16} {len(found):3d} environments; nearest {first} {near[first]:.2f}, "
              f"{second} {near[second]:.2f}")  # fmt: skip
    print(f"{len(prints)} classes")


def ice(name: str, seed: int) -> Atoms:
    """One cell of an ice from GenIce2: protons by the ice rules, dipole zero where it can be, Å."""
    command = ["genice2", name, "--rep", *ICES[name], "--seed", str(seed), "--format", "exyz",
               "--water", "physical_water"]  # fmt: skip
    found = subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:]],
                           capture_output=True, text=True)  # fmt: skip
    if found.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{found.stderr}")
    words = [line.split() for line in found.stdout.splitlines()]
    atoms = [row for row in words if len(row) == 4 and row[0] in ("O", "H")]
    cell = [row[1:] for row in words if row and row[0].startswith("Vector")]
    return Atoms([row[0] for row in atoms], pbc=True, cell=np.array(cell, float),
                 positions=np.array([row[1:] for row in atoms], float))  # fmt: skip


def ices() -> list[Atoms]:
    """Frames of every ice; which have oxygens that another has is printed."""
    frames, prints = [], {}
    for name in ICES:
        for seed in range(1, 2 if name in ORDERED else 1 + ARRANGEMENTS):
            atoms = ice(name, seed)
            atoms.info = {"phase": name}
            frames.append(atoms)
        prints[name] = fingerprints(atoms[atoms.numbers == 8])
        oxygens, nearest = scaled(atoms[atoms.numbers == 8])
        print(name, len(oxygens), "molecules in a cell,", round(atoms.get_masses().sum()
              / atoms.get_volume() * 1.66054, 3), "g/cm³, nearest oxygens within",
              nearest.min().round(3), nearest.max().round(3))  # fmt: skip
    report(prints)
    return frames


def save(frames: list[Atoms], path: Path) -> None:
    """Write extended xyz, all of it or nothing; a name in .gz is packed, the same each time."""
    text = io.StringIO()
    write(text, frames, format="extxyz")
    content = text.getvalue().encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
    print(path, len(frames), "frames", len(content) // 1000, "kB")


def main(arguments: list[str] | None = None) -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("what", choices=["metals", "ice"])
    parser.add_argument("--liquid", type=Path, help="frames of phase_water.py, to go with the ices")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    frames = metals() if given.what == "metals" else ices()
    save(frames + (read(given.liquid, ":") if given.liquid else []), given.out)


if __name__ == "__main__":
    main()
