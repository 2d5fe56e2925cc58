"""Every line of code in README, CONTRIBUTING and docs: Python runs, commands are parsed.

Blocks of ``python`` on one page share their names. After ``<!-- long -->`` a block is only compiled
here and runs with `make test-long`, and so do the commands, with few steps; those after
``<!-- mace -->``, which want mace-torch, are parsed only, where it is missing, and those after
``<!-- nequip -->``, which want a file that nequip makes in its own tests. Python after
``<!-- torchsim -->`` is only compiled where torch-sim is missing.
"""

import argparse
import contextlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.optimize import FIRE
from ase.spacegroup import crystal

from lrcalc import LRCalculator
from lrcalc.cli import COMMANDS, main
from lrcalc.fields import COURSES
from lrcalc.models.backbone import BACKBONES
from lrcalc.properties import PROPERTIES
from tests.sample_structures import water_box

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    if page.exists() and "_build" not in page.parts
]
BLOCK = re.compile(r"(<!-- \w+ -->\n+)?^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page, language):
    """(mark, code) of each block; without a mark it is empty."""
    found = BLOCK.findall(page.read_text())
    return [(re.sub(r"\W", "", mark), code) for mark, name, code in found if name == language]


def commands(page, *, here=False):
    """Shell commands of a page as words, continuation lines joined, comments left out.

    Those that can run here, or all.
    """
    found = []
    for mark, code in blocks(page, "sh"):
        if here and (mark == "nequip" or (mark == "mace" and find_spec("mace") is None)):
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.split(" > ")[0], comments=True)
            if words:
                found.append(words)
    return found


def without_torchrun(words):
    """The command that several processes run together."""
    return words[words.index("lrcalc") :] if words[0] == "torchrun" else words


def with_blocks(language):
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES if blocks(p, language)]


def run_blocks(page, folder, *, long):
    names = {"__name__": "page"}
    with contextlib.chdir(folder):
        for mark, code in blocks(page, "python"):
            compiled = compile(code, str(page), "exec")
            if mark == "torchsim" and find_spec("torch_sim") is None:
                continue
            if long or mark in ("", "torchsim"):
                exec(compiled, names)


@pytest.fixture(autouse=True)
def registers():
    """What a page registers, the next page does not know."""
    kept = [(register, dict(register)) for register in (PROPERTIES, BACKBONES, COURSES)]
    yield
    for register, before in kept:
        register.clear()
        register.update(before)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python(page, tmp_path):
    run_blocks(page, tmp_path, long=False)


class Understood(Exception):
    """The options of a command were parsed; it does not run."""


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_are_understood(page, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def only_parse(*given):
        parse(*given)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for words in commands(page):
        words = without_torchrun(words)
        if words[0] == "lrcalc" and not words[1].startswith("-"):
            with pytest.raises(Understood):
                main(words[1:])
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    text = page.read_text()
    for name in re.findall(r"\b((?:benchmarks|examples|tests|lrcalc|tools)/[\w/]+\.\w+)", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\bexamples/(\d\d)\b", text):
        assert list((ROOT / "examples").glob(f"{name}_*.py")), name
    for name in re.findall(r"`lrcalc ([a-z][a-z-]+)", text):
        assert name in COMMANDS, name


@pytest.mark.long
@pytest.mark.parametrize("page", with_blocks("python"))
def test_all_python(page, tmp_path):
    run_blocks(page, tmp_path, long=True)


SHORTER = 0.175
"""4000 steps become 700: a spectrum needs 0.34 ps at least; a run that goes on still goes on."""


def shortened(words):
    """A command whose runs are of few steps and small models."""
    few = {"--epochs": 2, "--beads": 2, "--max-minutes": 1}
    for place, word in enumerate(words[:-1]):
        if word == "--steps":
            # steps of ring polymers are half as long; of a loop there is no spectrum
            factor = 2 if "trpmd" in words else 0.1 if "--cycle" in words else 1
            words[place + 1] = str(int(SHORTER * factor * int(words[place + 1])))
        elif word == "--device":
            words[place + 1] = "cpu"
        elif word in few:
            words[place + 1] = str(min(few[word], int(words[place + 1])))
    return words


def few_waters():
    """Eight molecules at the density of water, as the bundled model has them."""
    water = water_box(cell=6.2 * np.eye(3), n=8)
    water.calc = LRCalculator("water")
    with FIRE(water, logfile=None) as relaxation:
        relaxation.run(fmax=0.3, steps=200)
    return water


def crystal_with_born_charges(path):
    """Displaced cells of rock salt, held by springs; the first has Born charges."""
    from ase.calculators.lj import LennardJones

    random = np.random.default_rng(0)
    frames = []
    for index in range(30):
        salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        salt.positions += 0.05 * random.normal(size=(8, 3))
        salt.calc = LennardJones(sigma=2.5, epsilon=0.05, rc=5.0)
        results = {"energy": salt.get_potential_energy(), "forces": salt.get_forces()}
        salt.calc = SinglePointCalculator(salt, **results)
        if not index:
            signs = np.where(salt.numbers == 11, 1.1, -1.1)
            salt.arrays["REF_born"] = (signs[:, None, None] * np.eye(3)).reshape(-1, 9)
        frames.append(salt)
    for index, frame in enumerate(frames):
        write(path, frame, append=index > 0)


def other_peoples_files(folder, phonons):
    """What the commands read that a user would have."""
    water = few_waters()
    write(folder / "water64", water, format="extxyz", columns=["symbols", "positions"])
    random = np.random.default_rng(0)
    frames = []
    born = water.calc.get_property("born_effective_charges", water)
    for _ in range(30):
        frame = water.copy()
        frame.positions += 0.05 * random.normal(size=(24, 3))
        frame.calc = water.calc
        results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        alpha = water.calc.get_property("polarizability", frame) / 0.0694462
        frame.info["polarizability"] = alpha.ravel()
        frame.calc = SinglePointCalculator(frame, **results)
        frames.append(frame)
    write(folder / "frames.xyz", frames)
    write(folder / "alpha.xyz", frames)
    frames[0].arrays["REF_born"] = born.reshape(-1, 9)
    write(folder / "born.xyz", frames[0])
    write(folder / "born.xyz", frames[1:], append=True)
    shutil.copy(ROOT / "lrcalc" / "zoo" / "water.pt", folder / "quantum.pt")
    published = phonons.parents[1] / "published" / "maceles-water-r4.5-l0.model"
    shutil.copy(published, folder / "maceles-water.model")
    shutil.copy(published, folder / "mace.model")
    crystal_with_born_charges(folder / "crystal.xyz")
    write(folder / "Cu.vasp", bulk("Cu", cubic=True))
    hot = bulk("Cu", cubic=True).repeat(3)
    hot.rattle(0.2, seed=1)
    for name in ("run.xyz", "hot.xyz"):
        write(folder / name, hot)
    crystals = [bulk("Cu"), bulk("Fe"), bulk("Mg")]
    ices = [water.copy(), water.copy()]
    for number, atoms in enumerate([*crystals, *ices]):
        atoms.calc, atoms.info = None, {"phase": f"phase{number}"}
    write(folder / "crystals.xyz", crystals)
    write(folder / "ices.xyz", ices)
    ions = [(0, 0, 0), (0.5, 0.5, 0.51), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    perovskite = crystal(["Ba", "Ti", "O", "O", "O"], ions, cellpar=[4, 4, 4.02, 90, 90, 90])
    write(folder / "batio3.cif", perovskite.repeat((2, 2, 2)))
    shutil.copy(phonons / "quartz" / "POSCAR", folder / "POSCAR")
    shutil.copytree(phonons / "quartz", folder / "FOLDER")
    (folder / "my_module.py").write_text(
        "from ase.calculators.emt import EMT as make\nfrom lrcalc import LRCalculator\n\n"
        "def make_calculator():\n    return LRCalculator('SiO2', dtype='float64')\n"
    )
    np.savetxt(folder / "top.pol_0", random.normal(size=(4000, 9)))
    np.savetxt(folder / "top.dip_0", random.normal(size=(4000, 3)))
    ids = np.column_stack([np.arange(1, 25), np.where(water.numbers == 8, 1, 2)])
    with (folder / "dump.lammpstrj").open("w") as dump:
        for step in range(4000):
            dump.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n24\n")
            dump.write("ITEM: BOX BOUNDS pp pp pp\n" + 3 * "0.0 6.2\n")
            dump.write("ITEM: ATOMS id type vx vy vz\n")
            velocities = random.normal(size=(24, 3))
            np.savetxt(dump, np.hstack([ids, velocities]), fmt="%d %d %.5f %.5f %.5f")


def lines_to_run():
    """(page, whether several processes run it, shortened words), those of other pages once."""
    ran = set()
    for page in PAGES:
        for given in commands(page, here=True):
            words = without_torchrun(given)
            if words[0] != "lrcalc" or words[1] in ("demo", "ipi"):  # `ipi` waits for an i-PI
                continue
            line = shlex.join(given)
            if line not in ran:
                ran.add(line)
                yield page, given is not words, shortened(words[1:])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_commands_run(tmp_path, shared):
    other_peoples_files(tmp_path, shared / "data" / "phonons")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "MPLBACKEND": "Agg"}
    failed = []
    for page, together, words in lines_to_run():
        several = ["torch.distributed.run", "--nproc-per-node", "2", "-m"] if together else []
        done = subprocess.run(
            [sys.executable, "-m", *several, "lrcalc.cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            failed.append(f"{page.name}: {shlex.join(words)}\n{done.stderr[-600:]}")
    assert not failed, "\n\n".join(failed)


def test_positions_walk_as_the_page_says():
    page = (ROOT / "docs" / "architecture.md").read_text()
    hops = re.findall(r"^\| \d \| \{\w+\}`([\w.]+)`", page, re.M)
    assert 5 < len(hops) <= 9
    water = molecule("H2O")
    water.calc = LRCalculator("water")
    called = []

    def note(frame, event, _):
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("lrcalc."):
            called.append(f"{module}.{frame.f_code.co_qualname}")

    sys.setprofile(note)
    try:
        water.get_forces()
    finally:
        sys.setprofile(None)
    walked = iter(called)
    for hop in hops:
        assert any(name == hop or name.startswith(hop + ".") for name in walked), hop


def test_picture_of_the_rooms_is_that_of_the_house():
    namespace = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
    picture = (ROOT / "docs" / "pictures" / "rooms.svg").read_text()
    assert picture == namespace["draw"](), "run `python docs/rooms.py`"
