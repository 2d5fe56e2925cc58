# %% [markdown]
# # Infrared and Raman spectra of water, beside the measured ones
#
# One run of 64 waters gives both: its dipole fluctuates (infrared), and so does its polarizability
# (Raman). The bundled model has inferred its charges from energies and forces, and learned its
# polarizability from polarizabilities. Two picoseconds, run here in about five minutes, give band
# positions to some 30 cm⁻¹ and heights to 10-20 %; for the picture in the README a longer run was
# made first and read:
#
#     lrcalc md water water64 --ensemble nvt --steps 2000 --out warm
#     lrcalc md water warm.xyz --ensemble nve --steps 16000 --every 4 --polarizability-every 1 \
#            --out run
#     python examples/08_water_infrared_raman.py run.xyz
#
# Measured curves (Bertie & Lan 1996; Castner et al. 1995) are drawn if the environment variable
# LRCALC_SHARED names the folder that holds `data/experiment`.

# %%
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lrcalc import LRCalculator
from lrcalc.analysis.infrared import band_table, bands, infrared
from lrcalc.analysis.output import read_curve
from lrcalc.analysis.raman import raman
from lrcalc.dynamics import RunSettings, Simulation
from lrcalc.structures import read_structure
from lrcalc.trajectory import read_extxyz

QUICK = bool(os.environ.get("LRCALC_QUICK"))
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The run: dipole and polarizability every 2 fs


# %%
def from_file(path):
    frames = read_extxyz(path)
    results = [a.calc.results for a in frames]
    return (
        np.array([r["dipole"] for r in results]),
        np.array([r["polarizability"] for r in results]),
        np.mean([a.get_temperature() for a in frames]),
        frames[1].info["time_fs"] - frames[0].info["time_fs"],
        frames[0].get_volume(),
    )


def simulate(steps, stride=4, timestep=0.5):
    atoms = read_structure("water64")
    calculator = LRCalculator("water")
    run = Simulation(atoms, calculator, RunSettings("nve", timestep, 300.0, seed=3))
    dipole, alpha, temperature = [], [], []
    while run.steps < steps:
        calculator.also = [] if (run.steps + 1) % stride else ["dipole", "polarizability"]
        run.step()
        if run.steps % stride == 0:
            dipole.append(calculator.results["dipole"])
            alpha.append(calculator.results["polarizability"])
            temperature.append(atoms.get_temperature())
    return (np.array(dipole), np.array(alpha), np.mean(temperature), stride * timestep,
            atoms.get_volume())  # fmt: skip


given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
dipole, alpha, temperature, interval, volume = (
    from_file(given) if given else simulate(400 if QUICK else 4000)
)
length = interval * len(dipole) / 1000
print(f"{length:.1f} ps at {temperature:.0f} K, a frame every {interval:g} fs")

# %% [markdown]
# ## Spectra

# %%
resolution = 400.0 if length < 1.5 else 50.0  # cm⁻¹
fine = resolution if length < 6.0 else 25.0
ir = infrared(
    dipole, timestep=interval, volume=volume, temperature=temperature, resolution=resolution
)
options = {"timestep": interval, "temperature": temperature, "resolution": resolution}
scattering = raman(alpha.reshape(-1, 9), form="reduced", **options)
low = raman(alpha.reshape(-1, 9), form="susceptibility", **(options | {"resolution": fine}))
print(band_table(ir))

# %% [markdown]
# ## Beside experiment


# %%
def measured(name):
    folder = Path(os.environ.get("LRCALC_SHARED", "")) / "data" / "experiment"
    return read_curve(folder / name) if (folder / name).is_file() else None


figure = Figure(figsize=(10, 3.4), layout="constrained")
left, middle, right = figure.subplots(1, 3, width_ratios=(3, 3, 2))


def draw(axis, nu, value, error, label, color):
    keep = nu > resolution / 2  # below, the window makes the shape
    axis.plot(nu[keep], value[keep], color=color, label=label)
    axis.fill_between(
        nu[keep], (value - error)[keep], (value + error)[keep], color=color, alpha=0.25, lw=0
    )


draw(left, ir.wavenumber, ir.n_alpha / 1e3, ir.error / 1e3, "model, classical nuclei", "C0")
curve = measured("bertie_lan_1996_spectrum.csv")
if curve is not None:
    left.plot(curve[:, 0], curve[:, 1], "k--", lw=1, label="Bertie & Lan 1996")
left.set(xlim=(0, 4300), xlabel="wavenumber (cm⁻¹)", ylabel="n·α (10³ cm⁻¹)", title="infrared")
left.legend(frameon=False)

nu = scattering.wavenumber
top = scattering.vv[nu > 2500].max()
draw(middle, nu, scattering.vv / top, scattering.vv_error / top, "VV", "C0")
draw(middle, nu, scattering.vh / top, scattering.vh_error / top, "VH", "C3")
middle.set(xlim=(0, 4300), xlabel="wavenumber (cm⁻¹)", ylabel="Bose-reduced intensity",
           title="Raman")  # fmt: skip
middle.legend(frameon=False)

curve = measured("castner_1995_water_300K_raman.dat")
window = (low.wavenumber > resolution / 2) & (low.wavenumber < 1000)
scale = low.vh[window].max()
draw(right, low.wavenumber, low.vh / scale, low.vh_error / scale, "model, VH", "C3")
if curve is not None:
    shown = curve[curve[:, 0] > resolution / 2]
    right.plot(shown[:, 0], shown[:, 1] / shown[:, 1].max(), "k--", lw=1, label="Castner 1995")
right.set(xlim=(0, 1000), ylim=(0, 1.2), xlabel="wavenumber (cm⁻¹)", ylabel="χ″ (maximum = 1)",
          title="low frequencies")  # fmt: skip
right.legend(frameon=False)
figure.savefig(output / "water_infrared_raman.png", dpi=110)

# %% [markdown]
# ## Check
# Bend and stretch are where they belong in both spectra; the stretch is polarised (in water,
# VH/VV of the stretch is well below one half, and no band exceeds three quarters).


# %%
def maximum(nu, value, between):
    inside = (nu > between[0]) & (nu < between[1])
    return nu[inside][np.argmax(value[inside])]


stretch = maximum(nu, scattering.vv, (2800, 4000))
inside = (nu > 3000) & (nu < 3800)
ratio = np.trapezoid(scattering.vh[inside], nu[inside]) / np.trapezoid(
    scattering.vv[inside], nu[inside]
)
print(f"Raman stretch at {stretch:.0f} cm⁻¹ (measured about 3400), VH/VV over the band {ratio:.2f}")
found = {b.name: b for b in bands(ir)}
assert 3000 < stretch < 3800
assert 3000 < found["stretch"].maximum < 3800
assert ratio < 0.5
assert QUICK or abs(found["bend"].maximum - 1643) < 60
print("as it should be")
