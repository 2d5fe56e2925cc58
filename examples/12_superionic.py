# %% [markdown]
# # Ions that diffuse: the conductivity of hot, dense water
#
# At 2000 K and 2 g/cm³ (30 GPa) water molecules do not last: hydrogens go from oxygen to oxygen,
# and water conducts as a molten salt does. In the superionic solid, at higher pressure, oxygens
# would stay on their sites; here they diffuse too, only more slowly: a partially ionic liquid, the
# one of whose Born charges there are labels (set "superionic water" of Zhong, Kim, King and Cheng,
# arXiv:2504.05169).
#
# The current is J = Σ Z* v, with the Born charge of each atom at each moment, a tensor that has
# nothing of an integer: of hydrogen 0.7 e on average, 2.2 e along the line of two oxygens when it
# is midway between them (the labels). Yet the conductivity is that of constant integers, +1 for
# hydrogen and -2 for oxygen (Grasselli and Baroni, Nat. Phys. 15, 967 (2019)). So here it is
# computed both ways, in about five minutes of a free core.
#
# A model gets this right only if an atom that has gone round a periodic cell has carried its
# oxidation state, whatever its Born charge was on the way. Energies and forces alone left the two
# species 0.02 e apart instead of 3; `superionic` was trained with `--oxidation-states H=1 O=-2`,
# which holds them there.

# %%
import json
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lrcalc import LRCalculator
from lrcalc.analysis.currents import read_current
from lrcalc.analysis.intake import Reading
from lrcalc.cli import main
from lrcalc.structures import read_structure
from lrcalc.units import BOLTZMANN

QUICK = bool(os.environ.get("LRCALC_QUICK"))
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

TEMPERATURE, TIMESTEP, STRIDE = 2000.0, 0.5, 4  # K, fs, steps between frames
SETTLE, MEASURE = (20, 160) if QUICK else (1000, 10_000)  # steps
CHARGES = {"H": 1, "O": -2}  # e

# %% [markdown]
# ## What an atom carries through the cell
# The jump of the dipole as one atom moves by a lattice vector, over the length of that vector. It
# is held in the training, so that the two conductivities must agree: what is checked here are the
# currents and their analysis. Born charges are checked beside those of DFPT (docs/models.md).

# %%
start = read_structure("superionic54")
quantum = LRCalculator("superionic").dipole_quantum(start)
carried = {symbol: jump[0, 0] / start.cell[0, 0] for symbol, jump in quantum.items()}
print("carried through the cell:", {symbol: round(float(q), 4) for symbol, q in carried.items()})

# %% [markdown]
# ## The run
# 54 waters: half a ps with a thermostat, then 5 ps without. The current is written with each frame.


# %%
def md(name, structure, *options):
    """Run `lrcalc md`; return the file of its frames."""
    fast = [] if QUICK else ["--compile"]  # compiled once, half a minute
    words = ["md", "superionic", str(structure), "--out", str(output / name), "--restart",
             "--timestep", str(TIMESTEP), "--every", str(STRIDE)]  # fmt: skip
    done = main([*words, *fast, *options])
    assert done == 0
    return output / f"{name}.xyz"


settled = md("superionic-settled", "superionic54", "--ensemble", "nvt", "--temperature",
             str(TEMPERATURE), "--seed", "1", "--steps", str(SETTLE))  # fmt: skip
run = md("superionic-run", settled, "--ensemble", "nve", "--current-every", "1", "--steps",
         str(MEASURE))  # fmt: skip

table = np.genfromtxt(run.with_suffix(".csv"), delimiter=",", names=True, deletechars="")
temperature = table["temperature_K"].mean()
drift = 1e3 * np.ptp(table["conserved_eV"]) / len(start)
print(f"{temperature:.0f} K, conserved quantity within {drift:.2f} meV/atom")

# %% [markdown]
# ## Charge that has flowed
# Its sum over time. The two differ by the change of what atoms have handed to their neighbours and
# of their dipoles, which has bounds, while what has flowed has none: in the long run they agree.


# %%
def flowed(charges=None):
    """Return ∫ J dt (T, 3), e Å, of Born charges or of constant ones."""
    data = read_current([str(run)], Reading(), charges=charges)
    current = np.concatenate(list(data.series[0].chunks()))
    return data.timestep * (np.cumsum(current, axis=0) - 0.5 * (current + current[0]))


INTEGERS = ",".join(f"{symbol}={charge}" for symbol, charge in CHARGES.items())
both = {"Born charges": flowed(), "+1 and −2": flowed(INTEGERS)}
apart = both["Born charges"] - both["+1 and −2"]
dipole = np.stack([table[f"M{axis}_eA"] for axis in "xyz"], axis=1)  # e Å, on one branch
print(f"charge that has flowed: up to {np.abs(both['+1 and −2']).max():.1f} e Å by integers, "
      f"{np.abs(apart).max():.1f} e Å apart from that by Born charges")  # fmt: skip

# %% [markdown]
# ## Diffusion and conductivity
# Beside them what independent ions of these charges would conduct (Nernst and Einstein). From 5 ps
# conductivities are known to a fifth; that both ways agree is known better, since they are of the
# same run.


# %%
def analysed(command, name, *options):
    """Run an analysis of lrcalc; return its summary and its table."""
    prefix = output / f"superionic-{name}"
    assert main([command, str(run), "--temperature", f"{temperature:.1f}", "-o", str(prefix),
                 "--no-progress", *options]) == 0  # fmt: skip
    summary = json.loads(Path(f"{prefix}-{command}.json").read_text())
    lines = Path(f"{prefix}-{command}.csv").read_text().splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    return summary, np.genfromtxt(rows, delimiter=",", names=True)


BELOW = ("--cutoff", "500")  # cm⁻¹, below the vibrations

if not QUICK:  # from less than a ps nothing is read
    diffusion, displaced = analysed("msd", "run", "--longest", "900", "--fit", "250", "900")
    sigma = {
        "Born charges": analysed("conductivity", "born", *BELOW),
        "+1 and −2": analysed("conductivity", "integers", *BELOW, "--charges", INTEGERS),
    }
    per_species = {symbol: start.get_chemical_symbols().count(symbol) for symbol in CHARGES}
    d = {symbol: np.array([diffusion[f"D_{symbol}"][key] for key in ("value", "error")])
         for symbol in CHARGES}  # fmt: skip
    # 10⁻⁹ m²/s are 10⁻⁴ Å²/fs; 1 e²/(eV Å fs) is 1.602176634e6 S/m
    parts = [per_species[symbol] * CHARGES[symbol] ** 2 * 1e-4 * d[symbol] for symbol in CHARGES]
    unit = 1.602176634e6 / (start.get_volume() * BOLTZMANN * temperature)
    independent = unit * np.array([sum(p[0] for p in parts), np.hypot(*[p[1] for p in parts])])
    for symbol, (value, error) in d.items():
        print(f"D({symbol}) = {value:.1f} ± {error:.1f} 10⁻⁹ m²/s")
    for name, (found, _) in sigma.items():
        print(f"σ by {name}: {found['conductivity_S_per_m'] / 100:.1f} ± "
              f"{found['standard_error'] / 100:.1f} S/cm")  # fmt: skip
    print(f"σ of independent ions: {independent[0] / 100:.1f} ± {independent[1] / 100:.1f} S/cm")

# %%
figure = Figure(figsize=(10, 3.4) if not QUICK else (4, 3.4), layout="constrained")
axes = np.atleast_1d(figure.subplots(1, 1 if QUICK else 3))
time = STRIDE * TIMESTEP * np.arange(len(apart)) / 1000  # ps
STYLES = {"Born charges": ("C0", 1.6), "+1 and −2": ("C3", 0.8)}
for name, (colour, width) in STYLES.items():
    axes[0].plot(time, both[name][:, 0], colour, lw=width, label=name)
axes[0].set(xlabel="time (ps)", ylabel="∫ J dt along x (e Å)")
axes[0].legend(frameon=False)
if not QUICK:
    lags = displaced["time_fs"] / 1000
    for symbol, colour in (("H", "C0"), ("O", "C3")):
        value, error = displaced[f"msd_{symbol}_A2"], displaced[f"error_{symbol}_A2"]
        axes[1].plot(lags, value, colour, label=f"{symbol}, D = {d[symbol][0]:.0f}·10⁻⁹ m²/s")
        axes[1].fill_between(lags, value - error, value + error, color=colour, alpha=0.25, lw=0)
    axes[1].set(xlabel="time (ps)", ylabel="mean-square displacement (Å²)")
    axes[1].legend(frameon=False)
    for name, (found, curve) in sigma.items():
        colour, width = STYLES[name]
        value, error = found["conductivity_S_per_m"] / 100, found["standard_error"] / 100
        label = f"{name}: {value:.0f} ± {error:.0f}"
        axes[2].plot(curve["time_fs"], curve["running_integral_Sm"] / 100, colour, lw=width,
                     label=label)  # fmt: skip
        axes[2].axhspan(value - error, value + error, color=colour, alpha=0.15, lw=0)
    axes[2].set(xlabel="upper limit of the time integral (fs)", ylabel="conductivity (S/cm)")
    axes[2].legend(frameon=False)
figure.savefig(output / "superionic.png", dpi=110)

# %% [markdown]
# ## Check

# %%
assert abs(carried["H"] - 1) < 1e-4
assert abs(carried["O"] + 2) < 1e-4
assert drift < 3.0, "meV/atom, where kT is 170"
# trapezoids of 2 fs leave some of what swings at 3500 cm⁻¹
left = np.sqrt(np.mean((both["Born charges"] - (dipole - dipole[0])) ** 2))
print(f"∫ J dt of Born charges is the change of the dipole to {left:.2f} e Å")
assert left < 0.5, "the current is the derivative of the dipole"
if not QUICK:
    born, integers = (found["conductivity_S_per_m"] for found, _ in sigma.values())
    error = sigma["+1 and −2"][0]["standard_error"]
    assert abs(born - integers) < 2 * error, "integers conduct as Born charges do"
    assert d["H"][0] > 2 * d["O"][0] > 0, "hydrogens go from oxygen to oxygen"
print("all checks passed")
