"""References: calibrated limits, their file, and what they tell apart."""

import io

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from lrcalc.information.descriptors import Form
from lrcalc.information.intake import frames_of_file, open_reference
from lrcalc.information.reference import Reference, make_reference, tail_limit
from lrcalc.structures import read_structures


def shaken(n, amplitude, seed=0, symbol="Cu"):
    """Frames of a crystal with independent Gaussian displacements."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk(symbol, cubic=True, a=3.6, crystalstructure="fcc") * 2
        atoms.positions += amplitude * rng.normal(size=(len(atoms), 3))
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def copper():
    return make_reference(shaken(40, 0.1))


def auc(inside, outside):
    """Area under the curve of a score that is to be larger for ``outside``."""
    rank = np.concatenate([inside, outside]).argsort().argsort()
    n, m = len(inside), len(outside)
    return (rank[n:].sum() - m * (m - 1) / 2) / (n * m)


def test_frames_of_the_same_run_are_inside(copper):
    scores = [copper.scores(a) for a in shaken(30, 0.1, seed=1)]
    assert np.concatenate([s.outside for s in scores]).mean() <= 0.002  # a tail of three atoms
    unusual = 1 - np.concatenate([s.usual for s in scores]).mean()
    assert 0.002 < unusual < 0.03  # 1 % by construction


def test_hotter_frames_a_vacancy_and_another_lattice_are_outside(copper):
    assert np.mean([copper.scores(a).outside.mean() for a in shaken(5, 0.2, seed=2)]) > 0.9
    vacancy = shaken(1, 0.1, seed=3)[0]
    near = vacancy.get_distances(5, range(len(vacancy)), mic=True) < 3.0
    near = np.delete(near, 5)
    del vacancy[5]
    own = copper.scores(vacancy).own
    assert own[near].min() > own[~near].max() - 3.0
    assert own[near].mean() > own[~near].mean() + 3.0
    bcc = bulk("Cu", "bcc", a=2.87, cubic=True) * 2
    assert copper.scores(bcc).outside.all()


def test_zero_is_where_data_lie_from_one_another(copper):
    own = np.concatenate([copper.scores(a).own for a in shaken(10, 0.1, seed=4)])
    assert abs(np.median(own)) < 0.5


def test_file(copper, tmp_path):
    buffer = io.BytesIO()
    torch.save(copper.content(), buffer)
    assert len(buffer.getvalue()) < 200_000
    buffer.seek(0)
    back = Reference.of_content(torch.load(buffer, weights_only=True))
    atoms = shaken(1, 0.15, seed=5)[0]
    for one, other in zip(copper.scores(atoms), back.scores(atoms), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("spoil", [
    lambda c: c.pop("h"),
    lambda c: c.update(form=[8, 5.0, False]),
    lambda c: c.update(form=[1, 5.0, False]),
    lambda c: c["species"][29].update(levels=[1.0]),
    lambda c: c["species"][29]["environments"].fill_(float("nan")),
])  # fmt: skip
def test_damaged_content_is_refused(copper, spoil):
    content = copper.content()
    spoil(content)
    with pytest.raises(ValueError, match="lrcalc reference"):
        Reference.of_content(content)


def test_tail_limit_of_an_exponential():
    """-ln(rare) decay lengths, and the margin."""
    scores = np.random.default_rng(0).exponential(2.0, size=200_000)
    assert abs(tail_limit(scores) - (2.0 * np.log(1e6) + 1.0)) < 1.5


def test_few_frames_and_bad_input(copper):
    assert make_reference(shaken(1, 0.1)).h > 0
    assert make_reference(shaken(1, 0.1)[:1]).limit_around > 0
    with pytest.raises(ValueError, match="has no frames"):
        make_reference([])
    with pytest.raises(ValueError, match="one atom of number 2"):
        make_reference([Atoms("He")])
    with pytest.raises(ValueError, match="has Ag, of which the reference"):
        copper.scores(bulk("Ag"))
    bad = shaken(5, 0.1)
    bad[3].positions[0] = np.nan
    with pytest.raises(ValueError, match="frame 3 of the reference"):
        make_reference(bad)


def test_small_cells_and_one_atom(copper):
    """The primitive cell, smaller than the cutoff, is the same crystal; an atom alone is none.

    The 32nd neighbour is one of a shell of 24, and which is taken is chance: hence 0.1 nats.
    """
    small = copper.scores(bulk("Cu", a=3.6))
    assert abs(small.own[0] - copper.scores(bulk("Cu", a=3.6) * 3).own[0]) < 0.1
    assert copper.scores(Atoms("Cu")).outside.all()


def test_models_without_and_files_beside_models(tmp_path):
    from lrcalc.checkpoint import save
    from tests.conftest import random_potential

    path = tmp_path / "bare.pt"
    save(random_potential(molecule("H2O")), path)
    with pytest.raises(ValueError, match="carries no reference"):
        open_reference([path])
    with pytest.raises(ValueError, match="beside others"):
        open_reference([path, "water64"])
    with pytest.raises(FileNotFoundError):
        open_reference([tmp_path / "none.xyz"])


@pytest.fixture(scope="module")
def groups():
    from tests.conftest import SHARED

    path = SHARED / "data" / "water" / "revpbe0_d3_train.xyz.gz"
    if not path.exists():
        pytest.skip(f"reference data not found in {SHARED}")
    found = {}
    for atoms in read_structures(path, extended=True):
        found.setdefault(atoms.info["group"], []).append(atoms)
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("data", "other"),
    [("classical_liq", "quantum_liq"), ("classical_liq", "quantum_ice"),
     ("quantum_ice", "quantum_liq"), ("quantum_ice", "classical_liq")],
)  # fmt: skip
def test_beads_and_the_liquid_are_told_from_classical_frames_and_ice(groups, data, other):
    frames = groups[data][:: max(1, len(groups[data]) // 120)]
    reference = make_reference(frames[::2], Form())
    inside = [reference.scores(a) for a in frames[1::2][:20]]
    outside = [reference.scores(a) for a in groups[other][:: len(groups[other]) // 12]]
    assert np.mean(np.concatenate([s.outside for s in inside])) <= 0.01
    area = auc(*(np.concatenate([s.around for s in part]) for part in (inside, outside)))
    assert area >= 0.95
    plain = auc(*(np.concatenate([s.own for s in part]) for part in (inside, outside)))
    assert plain < area  # atoms taken alone overlap


def test_streamed_frames_are_those_of_the_reader(tmp_path):
    from ase.io import write

    path = tmp_path / "run.xyz"
    write(path, shaken(6, 0.1))
    streamed = list(frames_of_file(path, slice(1, None, 2)))
    whole = read_structures(path, slice(1, None, 2))
    assert len(streamed) == 3
    for one, other in zip(streamed, whole, strict=True):
        assert np.array_equal(one.positions, other.positions)
    assert len(list(frames_of_file(path, slice(-2, None)))) == 2
