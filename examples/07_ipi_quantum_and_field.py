# %% [markdown]
# # Path integrals and an electric field with i-PI
#
# The bundled box of 64 waters behind i-PI. Ring polymers need a model that has learned from
# path-integral frames: the bundled `water` has not, and breaks when its protons tunnel. Name one in
# `LRCALC_BEADS_MODEL`; without, the second run is left out and `water` does the others. Three
# infrared spectra:
#
# 1. classical dynamics;
# 2. thermostatted ring-polymer dynamics with eight beads (all beads in one model call);
# 3. classical dynamics in a constant field of 0.1 V/Å along z.
#
# Nuclear quantum effects soften the O–H stretch: its band moves to lower wavenumbers. The field
# orients the molecules: the box gets a dipole along it. The numbers come with the standard error
# over blocks of one run; about a quarter of an hour on one core. Eight beads are too few for
# converged quantum results at 300 K (32 are needed), and thermostatted ring polymers broaden the
# stretch: the direction and the size of the shift are what is shown.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrcalc import LRCalculator
from lrcalc.analysis.infrared import infrared
from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    bead_average,
    bead_files,
    read_properties,
    run_ipi,
    write_input,
)
from lrcalc.structures import read_structure
from lrcalc.units import SPEED_OF_LIGHT

QUICK = bool(os.environ.get("LRCALC_QUICK"))  # eight waters and few steps, only to see it run
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)
FOLDER = Path(tempfile.mkdtemp(prefix="07-runs-", dir=output)).resolve()  # new at each start
BEADS_MODEL = os.environ.get("LRCALC_BEADS_MODEL")
MODEL = BEADS_MODEL or "water"
TIMESTEP = 0.5  # fs
TEMPERATURE = 300.0  # K
FIELD = 0.1  # V/Å


# %% [markdown]
# ## A start: the bundled box


# %%
def few_waters():
    """Eight molecules on a lattice at the density of water, relaxed a little."""
    rng = np.random.default_rng(7)
    edge = (8 * 29.9) ** (1 / 3)
    atoms = Atoms(cell=[edge] * 3, pbc=True)
    for index in range(8):
        one = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate(np.array([index % 2, index // 2 % 2, index // 4]) * edge / 2)
        atoms += one
    atoms.calc = LRCalculator(MODEL)
    FIRE(atoms, logfile=None).run(fmax=0.5, steps=60)
    return atoms


water = few_waters() if QUICK else read_structure("water64")
water.calc = LRCalculator(MODEL)
electronic = FIELD * water.calc.get_property("polarizability", water)[2, 2]
water.calc = None

# %% [markdown]
# ## Runs: equilibration from the start, then the run from where it ended


# %%
def simulate(name, kind, steps, *, start=None, beads=None, settings=None, ensemble=None):
    """Run in a folder of its own; return steps' dipoles (e Å), properties, and the final state."""
    folder = FOLDER / name
    path = write_input(
        kind, water, folder, steps=steps[QUICK], beads=beads, timestep=TIMESTEP,
        temperature=TEMPERATURE, settings=settings or DriverSettings(model=MODEL), restart=start,
        ensemble=ensemble, outputs=Outputs(positions=0, checkpoint=1000),
    )  # fmt: skip
    run_ipi(path)
    dipoles = bead_average(bead_files(folder / "sim", "dipole")).values
    return dipoles, read_properties(folder / "sim.out").values, folder / "RESTART"


field = DriverSettings(model=MODEL, electric_field=(0.0, 0.0, FIELD))
BEADS = 4 if QUICK else 8
# steps of the whole and of the quick form
*_, warm = simulate("1-equilibrate", "nvt", (400, 60))
classical, *_ = simulate("2-classical", "nvt", (3000, 160), start=warm)
in_field, oriented, _ = simulate("3-field", "efield", (3000, 160), start=warm, settings=field)
quantum = None
if BEADS_MODEL or QUICK:  # `water` holds for the 0.1 ps of the quick form
    *_, begun = simulate("4-equilibrate-beads", "pimd", (400, 30), start=warm, beads=BEADS)
    quantum, *_ = simulate("5-trpmd", "trpmd", (1600, 140), start=begun, beads=BEADS)

# %% [markdown]
# ## Spectra, and the mean wavenumber of the stretch band


# %%
def spectrum(dipoles):
    """n·α of a run."""
    return infrared(
        dipoles,
        timestep=TIMESTEP,
        volume=water.get_volume(),
        temperature=TEMPERATURE,
        resolution=1250.0 if QUICK else 120.0,
    )


def stretch(dipoles, frames=28 if QUICK else 200):
    """First moment of |J(ν)|² between 2700 and 4300 cm⁻¹, over blocks: mean, standard error.

    Blocks are equally long for all runs, so that their finite resolution cancels in differences.
    """
    current = np.diff(dipoles, axis=0)
    moments = []
    for first in range(0, len(current) - frames + 1, frames):
        block = current[first : first + frames]
        power = np.abs(np.fft.rfft(block * np.hanning(frames)[:, None], 4096, axis=0)) ** 2
        wavenumber = np.fft.rfftfreq(4096, TIMESTEP) / (SPEED_OF_LIGHT * 1e-8)
        band = (wavenumber > 2700) & (wavenumber < 4300)
        weight = power[band].sum(axis=1)
        moments.append(np.sum(weight * wavenumber[band]) / np.sum(weight))
    return np.mean(moments), np.std(moments, ddof=1) / np.sqrt(len(moments))


spectra = {"classical": spectrum(classical), f"classical, {FIELD} V/Å": spectrum(in_field)}
shift = None
if quantum is not None:
    (stiff, stiff_error), (soft, soft_error) = stretch(classical), stretch(quantum)
    shift, error = soft - stiff, np.hypot(stiff_error, soft_error)
    print(
        f"stretch: classical {stiff:.0f} ± {stiff_error:.0f}, TRPMD {soft:.0f} ± {soft_error:.0f}"
    )
    print(f"quantum shift {shift:+.0f} ± {error:.0f} cm⁻¹")
    spectra[f"{BEADS}-bead TRPMD"] = spectrum(quantum)
figure = Figure(figsize=(6, 4), layout="constrained")
FigureCanvasAgg(figure)
axes = figure.subplots()
for label, result in spectra.items():
    axes.plot(result.wavenumber, result.n_alpha, label=label)
axes.set(xlim=(0, 4500), xlabel="wavenumber (cm⁻¹)", ylabel="n·α (cm⁻¹)")
told = (
    None if shift is None else f"O–H stretch, quantum - classical: {shift:+.0f} ± {error:.0f} cm⁻¹"
)
axes.legend(frameon=False, title=told)
figure.savefig(output / "ipi_quantum_and_field.png", dpi=150)

# %%
late = len(classical) // 2
gain = in_field[late:, 2].mean() - classical[late:, 2].mean()
print(f"dipole along the field, beyond that without: {gain:+.2f} e Å, electrons {electronic:.2f}")
print(f"runs in {FOLDER}, picture in {output}")

# %% [markdown]
# ## Check

# %%
assert gain > electronic, "the field must orient the molecules"
if shift is not None and not QUICK:
    assert shift < 0.0, "quantum nuclei must soften the stretch"
# in a field the potential is the enthalpy; its thermostatted conserved quantity still is conserved
drift = np.polyfit(oriented["time"], oriented["conserved"], 1)[0]
print(f"drift in the field {1e6 * drift / len(water):+.1f} meV/atom/ps")
