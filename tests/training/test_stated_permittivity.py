"""Permittivities that training data state."""

import numpy as np
import pytest

from lrcalc import load
from lrcalc.cli import main
from lrcalc.training.permittivity import permittivity_of, stated_permittivities
from lrcalc.training.polarizability import reference_polarizability, warn_permittivity
from tests.training.labelled_metal import SMALL, written
from tests.training.sets import frames_of


def with_permittivity(value, key="epsilon_infinity", n=6):
    structures = frames_of("crystal", n)
    for k, atoms in enumerate(structures):
        atoms.info[key] = value(k) if callable(value) else value
    return structures


@pytest.mark.parametrize(
    "value", [2.56, [2.5, 2.6, 2.58], np.diag([2.5, 2.6, 2.58]), np.diag([2.5, 2.6, 2.58]).ravel()]
)
@pytest.mark.parametrize("key", ["epsilon_infinity", "REF_dielectric_tensor", "eps_inf"])
def test_names_and_shapes_of_permittivities(value, key):
    stated = stated_permittivities(with_permittivity(value, key, 3), "e.xyz")
    found = permittivity_of(stated, None, "u")
    assert found.value == pytest.approx(2.56)
    assert found.origin.startswith("mean of 3 frames that state it")
    assert len(found.lines) == 1


def test_permittivity_of_the_frames_goes_into_the_card(tmp_path, capsys):
    path = written(tmp_path / "e.xyz", with_permittivity(np.diag([2.5, 2.6, 2.58])))
    out = tmp_path / "m.pt"
    assert main(["train", "--train", path, *SMALL, "--out", str(out)]) == 0
    assert load(out).metadata["epsilon_infinity"] == pytest.approx(2.56)
    text = capsys.readouterr().out
    assert text.count("note: ε_∞ 2.56 is read from the frames") == 1
    assert main(["info", str(out)]) == 0
    (row,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("epsilon infinity")]
    assert "2.56 (mean of 6 frames that state it" in row


def test_permittivities_that_contradict(tmp_path, capsys):
    path = written(tmp_path / "e.xyz", with_permittivity(lambda k: 2.5 + 0.5 * (k > 3)))
    command = ["train", "--train", path, *SMALL, "--out", str(tmp_path / "m.pt")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "ε_∞ 2.667 (2.5 to 3)" in error
    assert "--epsilon-infinity" in error
    assert not (tmp_path / "m.pt").exists()
    assert main([*command, "--epsilon-infinity", "2.5"]) == 0
    assert "but --epsilon-infinity 2.5 goes into the card" in capsys.readouterr().out
    path = written(tmp_path / "e.xyz", with_permittivity(0.5))
    assert main(command) == 2
    assert "frame 0: epsilon_infinity is 0.5 but must be ε_∞" in capsys.readouterr().err


def test_permittivity_that_nobody_states():
    stated = stated_permittivities(frames_of("water", 2), "w.xyz")
    assert "neither given" in permittivity_of(stated, None, "u").lines[0]
    assert permittivity_of(stated, None, "sr").lines == []
    assert permittivity_of(stated, 1.78, "u")[:2] == (1.78, "given")
    stated = stated_permittivities(frames_of("molecules", 2), "m.xyz")
    assert permittivity_of(stated, None, "u") == (1.0, "not given", [])


def test_polarizabilities_that_contradict():
    (atoms,) = frames_of("crystal", 1)
    atoms.info["REF_polarizability"] = np.eye(3).ravel()
    atoms.info["polarizability"] = 2 * np.eye(3).ravel()
    with pytest.raises(ValueError, match="both there and differ"):
        reference_polarizability(atoms)
    del atoms.info["polarizability"]
    atoms.info["epsilon_infinity"] = 1 + 1.0 / (5.52635e-3 * atoms.get_volume())
    assert warn_permittivity([atoms], [np.eye(3)]) is None
    assert "state another ε_∞" in warn_permittivity([atoms], [14.4 * np.eye(3)])


def test_permittivity_of_charged_frames_belongs_to_the_run(tmp_path, capsys):
    path = written(tmp_path / "ions.xyz", frames_of("ions", 12))
    out = ["--out", str(tmp_path / "m.pt")]
    assert main(["train", "--train", path, *SMALL, *out]) == 0
    assert main(["train", "--train", path, *SMALL, *out, "--epsilon-infinity", "2"]) == 2
    assert "`epsilon_infinity` was 1.0, now 2.0" in capsys.readouterr().err
