# %% [markdown]
# # What happened? A run that leaves its data, and notices
#
# The bundled `water` has learned from classical water at 300 K. It answers everything else too, and
# nothing in the energies says when it has seen nothing like it. But the model's file keeps a
# compressed sample of the environments that it was trained on, and a monitor compares each atom
# with them. Two runs, of 64 waters, that leave the data:
#
# 1. a ring polymer of eight beads at 300 K, whose protons spread farther than classical ones;
# 2. classical dynamics at 2500 K, in which a bond breaks within 0.15 ps.
#
# Both are watched every few steps (where would they be stopped?) and go on to show what follows.
# Then: of all frames, which would one compute next? `select` asks the same sample, and its first
# choices are among the frames that the monitor saved.
#
# About five minutes on one core. The ring polymer is a loop of forty lines, so that everything can
# be seen; for science take i-PI: `lrcalc ipi-run --kind pimd --watch model --watch-action stop`.

# %%
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrcalc import Evaluator, LRCalculator, load, read_extxyz
from lrcalc.dynamics import Settings, Simulation
from lrcalc.information.intake import reference_of_model
from lrcalc.information.monitor import Monitor
from lrcalc.information.reference import by_species
from lrcalc.information.selection import select_frames
from lrcalc.structures import read_structure

QUICK = bool(os.environ.get("LRCALC_QUICK"))  # fewer beads and steps
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)
BEADS, STEPS, EVERY = (4, 40, 2) if QUICK else (8, 200, 2)
TIMESTEP = 0.5 * units.fs
KT = units.kB * 300.0
HBAR = units._hbar * units.J * units.s
BROKEN = 1.5  # Å; an O-H bond this long is none
HOT = 2000.0  # K

# %% [markdown]
# ## A ring polymer with a thermostat on each of its normal modes (Ceriotti et al. 2010)


# %%
class RingPolymer:
    """Path-integral Langevin dynamics; mass of each bead the atom's own, at `BEADS` times 300 K."""

    def __init__(self, atoms, evaluator, seed=0):
        self.atoms, self.evaluator = atoms, evaluator
        self.rng = np.random.default_rng(seed)
        self.mass = atoms.get_masses()[:, None]
        k = np.arange(BEADS)
        angle = 2 * np.pi * np.outer(k, k) / BEADS
        ring = np.where(k <= BEADS // 2, np.cos(angle), np.sin(angle))  # columns are modes
        self.modes = ring / np.linalg.norm(ring, axis=0)
        chain = BEADS * KT / HBAR
        self.frequency = (2 * chain * np.sin(np.pi * k / BEADS))[:, None, None]
        damping = np.where(k == 0, 1 / (100 * units.fs), 2 * self.frequency.ravel())
        self.keep = np.exp(-damping * TIMESTEP / 2)[:, None, None]
        self.positions = np.repeat(atoms.positions[None], BEADS, axis=0)
        self.momenta = self.noise()
        self.forces = self.pull()

    def noise(self):
        """Thermal momenta, (beads, atoms, 3)."""
        size = np.sqrt(self.mass * BEADS * KT)
        return size * self.rng.normal(size=(BEADS, len(self.atoms), 3))

    def to_modes(self, x):
        return np.einsum("bk,bia->kia", self.modes, x)

    def to_beads(self, x):
        return np.einsum("bk,kia->bia", self.modes, x)

    def bead(self, index):
        return Atoms(self.atoms.numbers, self.positions[index], cell=self.atoms.cell, pbc=True)

    def pull(self):
        return np.array([r["forces"] for r in self.evaluator(self.beads(), ["energy", "forces"])])

    def beads(self):
        return [self.bead(k) for k in range(BEADS)]

    def thermostat(self):
        p = self.keep * self.to_modes(self.momenta)
        self.momenta = self.to_beads(p + np.sqrt(1 - self.keep**2) * self.noise())

    def step(self):
        """Thermostat, half a kick, the free ring exactly, half a kick, thermostat."""
        self.thermostat()
        self.momenta = self.momenta + TIMESTEP / 2 * self.forces
        x, p, w = self.to_modes(self.positions), self.to_modes(self.momenta), self.frequency
        sine = np.where(w > 0, np.sin(w * TIMESTEP) / np.where(w > 0, w, 1), TIMESTEP)
        cosine = np.cos(w * TIMESTEP)
        x, p = cosine * x + sine * p / self.mass, cosine * p - w**2 * sine * self.mass * x
        self.positions, self.momenta = self.to_beads(x), self.to_beads(p)
        self.forces = self.pull()
        self.momenta = self.momenta + TIMESTEP / 2 * self.forces
        self.thermostat()


def longest_bond(atoms):
    """Largest distance of an H from the O that it is nearest to, Å."""
    hydrogen = atoms.numbers == 1
    distances = atoms.get_all_distances(mic=True)[hydrogen][:, ~hydrogen]
    return float(distances.min(axis=1).max())


# %% [markdown]
# ## Both runs, watched and then not
#
# The monitor looks at one bead, the next each time; it would stop the run at its first word.


# %%
class Hot:
    """Classical dynamics as a ring of one bead."""

    def __init__(self, atoms, evaluator):
        settings = Settings("nvt", 0.5, HOT, thermostat_time=20.0)
        calculator = LRCalculator(evaluator.potential, watch=False)
        self.simulation = Simulation(atoms, calculator, settings)
        self.step = self.simulation.step

    def bead(self, index):
        return self.simulation.atoms.copy()

    def beads(self):
        return [self.bead(0)]


class Watched(NamedTuple):
    """What happened in a run: looks, their structures, bonds in Å, steps, steps of saved frames."""

    looks: list
    seen: list
    bonds: list
    stopped: int | None
    broken: int | None
    saved: set

    @property
    def time(self):
        return 0.5 * EVERY * np.arange(len(self.looks))


def watched(name, run, steps):
    """Go through a run, to its end or to the first broken bond."""
    file = output / f"10-outside-{name}.xyz"
    file.unlink(missing_ok=True)
    monitor = Monitor(reference, "`water`", action="save", frames=file, most=10_000)
    looks, seen, bonds, stopped, broken = [], [], [], None, None
    for step in range(steps + 1):
        if step:
            run.step()
        if step % EVERY == 0:
            atoms = run.bead(step // EVERY % BEADS)
            atoms.info["step"] = step
            looks.append(monitor.look(atoms))
            seen.append(atoms)
            if stopped is None and looks[-1].told:
                stopped = step
                print(f"{name}, step {step}: {looks[-1].told}")
        bonds.append(max(longest_bond(atoms) for atoms in run.beads()))
        if bonds[-1] > BROKEN:
            broken = step
            break
    breaks = "no bond breaks in" if broken is None else "the first bond breaks at"
    print(f"{name}: the monitor stops at {0.5 * stopped:g} fs, {breaks} {0.5 * step:g} fs")
    assert broken is None or stopped < broken
    return Watched(looks, seen, bonds, stopped, broken, {a.info["step"] for a in read_extxyz(file)})


model = load("water")
evaluator, reference = Evaluator(model), reference_of_model(model)
runs = {
    "beads": watched("beads", RingPolymer(read_structure("water64"), evaluator), STEPS),
    "hot": watched("hot", Hot(read_structure("water64"), evaluator), 300),
}
assert runs["hot"].broken is not None

# %% [markdown]
# ## Which frames to compute next
#
# `select` takes the frame that is most novel beside the model's own environments, then the one that
# is most novel beside these and the first, and so on. It judges a frame by its most novel tenth of
# atoms, the monitor each atom: they need not agree on every frame.

# %%
picks = {}
for name, run in runs.items():
    made = [by_species(a, reference.form, reference.species) for a in run.seen]
    count = min(10, max(1, len(run.saved) // 2))
    chosen = select_frames(made, count, reference.h, known=reference.environments)
    picks[name] = steps = [int(run.seen[k].info["step"]) for k in chosen.order]
    both = len(run.saved & set(steps))
    high, all_ = (np.mean([run.looks[k].high for k in some]) for some in (
        chosen.order, range(len(run.looks))))  # fmt: skip
    print(f"{name}: {len(run.saved)} of {len(run.seen)} frames saved; {both} of the first {count} "
          f"that select takes are among them. 99 % of their atoms are below {high:.1f} nats, of "
          f"all frames' below {all_:.1f}")  # fmt: skip
    assert both >= 0.6 * count
    assert high > all_

# %%
figure = Figure(figsize=(10, 7), layout="constrained")
FigureCanvasAgg(figure)
titles = {"beads": f"{BEADS} beads at 300 K", "hot": f"classical, {HOT:g} K"}
columns = figure.subplots(3, 2, sharex="col").T
for (name, run), (top, middle, bottom) in zip(runs.items(), columns, strict=True):
    for label in ("largest", "high", "mean"):
        top.plot(run.time, [getattr(look, label) for look in run.looks],
                 label="99 %" if label == "high" else label)  # fmt: skip
    top.axhline(max(reference.limit.values()), color="0.4", ls="--", lw=1, label="limit")
    heights = [run.looks[step // EVERY].largest for step in picks[name]]
    top.plot([0.5 * step for step in picks[name]], heights, "k.", label="selected")
    top.set_title(f"{titles[name]}; red: the monitor stops", fontsize=10)
    middle.plot(run.time, [look.around for look in run.looks])
    middle.axhline(reference.limit_around, color="0.4", ls="--", lw=1)
    bottom.plot(0.5 * np.arange(len(run.bonds)), run.bonds)
    bottom.axhline(BROKEN, color="0.4", ls="--", lw=1)
    bottom.set_xlabel("time (fs)")
    for axis in (top, middle, bottom):
        axis.axvline(0.5 * run.stopped, color="#b5452c", lw=1)
columns[0][0].set_ylabel("δH of atoms (nats)")
columns[0][0].legend(frameon=False, ncols=3, fontsize=8)
columns[0][1].set_ylabel("largest δH around\nan atom (nats)")
columns[0][2].set_ylabel("longest O-H bond\nof all beads (Å)")
figure.savefig(output / "10-what-happened.png", dpi=130)
print(output / "10-what-happened.png")
