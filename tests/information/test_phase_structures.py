"""The perfect crystals that phases are learned from, and the frames they are judged on."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from ase.neighborlist import neighbor_list

from lrcalc import zoo

ROOT = Path(__file__).parents[2]
METALS, ICE = zoo.FOLDER / "phases" / "metals.xyz", zoo.FOLDER / "phases" / "ice.xyz.gz"


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


structures, frames = benchmark("phase_structures"), benchmark("phase_frames")


def nearest(atoms):
    i, d = neighbor_list("id", atoms, 3.2 if atoms.numbers[0] == 8 else 1.7)
    found = np.full(len(atoms), np.inf)
    np.minimum.at(found, i, d)
    return found


def test_metals_are_measured_in_their_nearest_neighbour():
    crystals = read(METALS, ":")
    for atoms in crystals:
        assert nearest(atoms).mean() == pytest.approx(1, abs=1e-6), atoms.info["phase"]
        assert atoms.pbc.all()
        assert len(atoms) <= 60
    counts = Counter(a.info["phase"] for a in crystals)
    assert list(counts)[:6] == ["fcc", "bcc", "hcp", "dc", "sc", "omega"]
    assert (len(counts), len(crystals)) == (48, 54)
    assert {k: n for k, n in counts.items() if n > 1} == {"hcp": 5, "omega": 3}


def test_no_two_classes_are_alike():
    prints = {}
    for atoms in read(METALS, ":"):
        found = structures.fingerprints(atoms)
        prints.setdefault(atoms.info["phase"], []).append(found)
    prints = {phase: np.concatenate(found) for phase, found in prints.items()}
    for phase, found in prints.items():
        near = min((structures.distance(found, b), o) for o, b in prints.items() if o != phase)
        assert near[0] > structures.APART, (phase, near)


def test_the_fingerprint_knows_lattices_that_are_the_same():
    one = structures.lattices()["fcc"][0]
    other = one.copy()
    other.rotate(33, (1, 2, 3), rotate_cell=True)
    bct = frames.crystal("fcc", (1, 1, 1))
    first = structures.fingerprints(one)
    assert structures.distance(first, structures.fingerprints(other)) < 1e-6
    assert structures.distance(first, structures.fingerprints(bct)) < 1e-6
    hcp = structures.fingerprints(frames.crystal("hcp", (1, 1, 1)))
    assert structures.distance(first, hcp) > structures.APART_FROM_LATTICES - 0.01


def test_ices_are_whole_molecules_by_the_ice_rules():
    waters = read(ICE, ":")
    counts = Counter(a.info["phase"] for a in waters)
    assert set(counts) == {*structures.ICES, "liquid"}
    assert all(counts[phase] == (1 if phase in structures.ORDERED else structures.ARRANGEMENTS)
               for phase in structures.ICES)  # fmt: skip
    for atoms in waters:
        assert (atoms.numbers.reshape(-1, 3) == [8, 1, 1]).all()
        bonds = Counter(neighbor_list("i", atoms, {("O", "H"): 1.15}).tolist())
        oxygens = np.flatnonzero(atoms.numbers == 8)
        assert all(bonds[k] == 2 for k in oxygens), atoms.info
        if atoms.info["phase"] != "liquid":
            close = Counter(neighbor_list("i", atoms, {("O", "H"): 2.3}).tolist())
            two_and_two = np.mean([close[k] >= 4 for k in oxygens])
            assert two_and_two > 0.99, atoms.info


def test_four_arrangements_differ():
    ih = [a for a in read(ICE, ":") if a.info["phase"] == "Ih"]
    for k, atoms in enumerate(ih):
        assert not any(np.allclose(atoms.positions, b.positions, atol=0.3) for b in ih[:k])


@pytest.mark.parametrize("name", list(frames.DEFECTS))
def test_a_defect_is_where_it_is_said_to_be(name):
    defect = frames.DEFECTS[name](0)
    atoms = defect.atoms.copy()
    assert np.std(atoms.positions - atoms.arrays["ideal"]) == pytest.approx(0.03, rel=0.03)
    atoms.positions = atoms.arrays["ideal"]
    i, d = neighbor_list("id", atoms, 1.25)
    assert d.min() > 0.85
    count = np.bincount(i, minlength=len(atoms))
    fcc = (defect.phases == "fcc") & (defect.away > 2)
    assert (count[fcc] == 12).all()
    assert (count[(defect.phases == "bcc") & (defect.away > 2)] == 14).all()
    if name == "stacking fault":
        assert (count == 12).all()
        assert (defect.phases == "hcp").sum() == 240
    else:
        near = defect.away <= 1.01
        assert near.any()
        assert (count[near & (defect.phases == "fcc")] != 12).mean() > 0.5


@pytest.mark.parametrize("phase", ["fcc", "bcc", "hcp"])
def test_crystals_of_the_benchmark_are_what_they_are_called(phase):
    known = structures.fingerprints(frames.crystal(phase, (1, 1, 1)))
    for name, crystals in structures.lattices().items():
        ideal = crystals[2 if name == "hcp" else 0]
        same = structures.distance(known, structures.fingerprints(ideal))
        assert (same < 1e-3) == (name == phase), name


def test_the_files_can_be_made_again(tmp_path):
    pytest.importorskip("pymatgen", reason="pymatgen is in .venv-phases (make bench-phases)")
    structures.main(["metals", "-o", str(tmp_path / "metals.xyz")])
    assert (tmp_path / "metals.xyz").read_bytes() == METALS.read_bytes()
