"""Speed and memory of the analysis: a million frames to spectra, phonon modes of 72 atoms.

Run ``python benchmarks/analysis.py``; each case runs in a process of its own so that its peak
memory is its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES = 1_000_000


def make(folder: Path, frames: int) -> None:
    """Write dipole (3 columns) and polarizability (9) as i-PI text and as HDF5."""
    import h5py

    rng = np.random.default_rng(0)
    with h5py.File(folder / "run.h5", "w") as file:
        for name, columns in (("dipole", 3), ("polarizability", 9)):
            data = file.create_dataset(name, (frames, columns), dtype="f8")
            last = np.zeros(columns)
            with (folder / f"run.{name}_0").open("w") as text:
                for start in range(0, frames, 50_000):
                    block = last + np.cumsum(rng.normal(size=(50_000, columns)), axis=0) * 0.01
                    last = block[-1]
                    data[start : start + 50_000] = block
                    form = " ".join(["%16.8e"] * columns)
                    for i, row in enumerate(block):
                        text.write(f" #EXTRAS({name})# Step:  {start + i:10d} \n")
                        text.write(form % tuple(row) + "\n")


def spectra(dipole: str, polarizability: str) -> None:
    from lrcalc.analysis import infrared, raman
    from lrcalc.analysis.series import read_runs

    start = time.perf_counter()
    infrared(read_runs([dipole]), timestep=0.5, volume=2000.0, temperature=300.0)
    middle = time.perf_counter()
    raman(read_runs([polarizability], "polarizability"), timestep=0.5, temperature=300.0)
    end = time.perf_counter()
    print(
        f"infrared {middle - start:5.1f} s, Raman {end - middle:5.1f} s, both {end - start:5.1f} s"
    )


def modes() -> None:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    from lrcalc.analysis.phonons import assemble, solve

    rng = np.random.default_rng(0)
    count = 72
    half = rng.normal(size=(3 * count, 3 * count))
    constants = (half @ half.T).reshape(count, 3, count, 3).transpose(0, 2, 1, 3).copy()
    cell = PhonopyAtoms(
        symbols=["Si"] * 24 + ["O"] * 48,
        cell=np.diag([10.0, 11.0, 12.0]),
        scaled_positions=rng.random((count, 3)),
    )
    born = rng.normal(size=(count, 3, 3))
    born -= born.mean(0)
    start = time.perf_counter()
    phonon = Phonopy(cell, np.eye(3, dtype=int), "P", log_level=0)
    phonon.force_constants = constants
    phonon.symmetrize_force_constants()
    solve(assemble(phonon, born, 2 * np.eye(3), only_gamma=True))
    print(f"modes of {count} atoms from force constants {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="*")
    parser.add_argument("--frames", type=int, default=FRAMES)
    options = parser.parse_args()
    if options.case:
        modes() if options.case[0] == "modes" else spectra(*options.case)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  peak memory {peak:.0f} MB")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.frames)
        text = [str(folder / "run.dipole_0"), str(folder / "run.polarizability_0")]
        for title, case in (
            ("HDF5", [str(folder / "run.h5")] * 2),
            ("i-PI text", text),
            ("modes", ["modes"]),
        ):
            print(f"{title} ({options.frames} frames):" if title != "modes" else "phonons:")
            subprocess.run([sys.executable, __file__, "--case", *case], check=True)


if __name__ == "__main__":
    main()
