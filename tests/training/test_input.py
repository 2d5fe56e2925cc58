"""What training and evaluation refuse, and that they say which file, frame or option it is."""

import json

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lrcalc import load
from lrcalc.cli import main
from lrcalc.training.data import make_frames, read_structures
from lrcalc.training.fit import fit
from lrcalc.training.labels import LabelKeys
from lrcalc.training.settings import RULES, TrainingSettings, check_numbers
from lrcalc.training.split import assign, check_parts, describe_outliers
from tests.training.labelled import labelled

SMALL = ["--channels", "4", "--hidden", "8", "--cutoff", "3", "--valid-every", "3", "--level", "q"]


@pytest.fixture
def data(tmp_path):
    return written(tmp_path)


def written(folder):
    path = folder / "water.xyz"
    write(path, labelled(stress=True), format="extxyz")
    return path


def test_settings_of_a_run_are_checked_where_it_starts(tmp_path):
    frames = make_frames(labelled(2), "file.xyz", 3.0)
    with pytest.raises(ValueError, match="`ema` is 2 but must be at least 0 and below 1"):
        fit(frames[:1], frames[1:], {}, TrainingSettings(ema=2), tmp_path / "m.pt")
    card = {"epsilon_infinity": 0.5}
    with pytest.raises(ValueError, match="`epsilon_infinity` is 0.5"):
        fit(frames[:1], frames[1:], {}, TrainingSettings(), tmp_path / "m.pt", metadata=card)
    with pytest.raises(ValueError, match="smaller --valid-every"):
        fit(frames, [], {}, TrainingSettings(), tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


def test_no_rule_lets_nan_pass():
    for key in RULES:
        with pytest.raises(ValueError, match=f"`{key}` is nan"):
            check_numbers({key: float("nan")})
    check_numbers(TrainingSettings()._asdict())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--valid-every", "0", "must be at least 2"),
        ("--valid-every", "1", "must be at least 2"),
        ("--valid-every", "-1", "must be at least 2"),
        ("--test-every", "-3", "0 (none kept out) or at least 2"),
        ("--test-every", "1", "0 (none kept out) or at least 2"),
        ("--batch-size", "0", "must be at least 1"),
        ("--batch-size", "-1", "must be at least 1"),
        ("--channels", "0", "must be at least 1"),
        ("--hidden", "0", "must be at least 1"),
        ("--transfer-hops", "0", "must be at least 1"),
        ("--epochs", "0", "must be at least 1"),
        ("--patience", "0", "must be at least 1"),
        ("--cutoff", "-2", "must be positive"),
        ("--smearing", "0", "must be positive"),
        ("--k-cutoff", "0", "must be positive"),
        ("--epsilon-infinity", "0.5", "must be at least 1 (vacuum)"),
        ("--ema", "2", "at least 0 and below 1"),
        ("--energy-weight", "-1", "zero or positive"),
        ("--stress-weight", "nan", "zero or positive"),
        ("--weight-decay", "inf", "zero or positive"),
        ("--learning-rate", "-1", "must be positive"),
        ("--seed", "-1", "from 0"),
        ("--device", "nonsense", "torch cannot use it"),
        ("--out", "model.txt", "must end in .pt"),
        ("--max-force", "0", "must be positive"),
        ("--frames", "3-7", "must look like 3, 3:10 or 3::7"),
    ],
)
def test_bad_option_is_named_before_data_are_read(option, value, message, tmp_path, capsys):
    out = [] if option == "--out" else ["--out", str(tmp_path / "sub" / "m.pt")]
    # the data file does not exist: an option that passed would be noticed by another message
    assert main(["train", "--train", "no.xyz", *out, f"{option}={value}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert option.strip("-") in error
    assert value in error
    assert not list(tmp_path.iterdir())


def test_no_weight_at_all(tmp_path, capsys):
    command = ["train", "--train", "no.xyz", "--out", str(tmp_path / "m.pt"),
               "--energy-weight", "0", "--forces-weight", "0"]  # fmt: skip
    assert main(command) == 2
    assert "`--energy-weight` and `--forces-weight` are both 0" in capsys.readouterr().err


def test_missing_data(tmp_path, capsys):
    assert (
        main(["train", "--train", str(tmp_path / "no.xyz"), "--out", str(tmp_path / "m.pt")]) == 2
    )
    assert "no data file" in capsys.readouterr().err


def test_too_few_frames_to_validate(data, tmp_path, capsys):
    command = ["train", "--train", str(data), "--cutoff", "3", "--out", str(tmp_path / "m.pt")]
    assert main(command) == 2
    assert "--valid-every is 20, but no file leaves more than 6 frames" in capsys.readouterr().err


def test_split():
    parts = assign(10, 3, 4)
    assert [i for i, p in enumerate(parts) if p == "test"] == [2, 6]
    assert [i for i, p in enumerate(parts) if p == "validation"] == [3, 7]
    assert set(assign(10, None, 0)) == {"training"}
    with pytest.raises(ValueError, match="no training frames"):
        check_parts([0], ["test"], 2)


BREAKS = {
    "frame 1 has no forces": lambda s: s[1].calc.results.pop("forces"),
    "frame 2 has no energy": lambda s: setattr(s[2], "calc", None),
    "frame 0 has a stress but frame 1 lacks it": lambda s: s[1].calc.results.pop("stress"),
    "frame 0 has NaN forces": lambda s: s[0].calc.results["forces"].__setitem__((0, 0), np.nan),
    "frame 2 has NaN energy": lambda s: s[2].calc.results.update(energy=np.nan),
    "frame 1 has NaN energy": lambda s: s[1].calc.results.update(energy=np.inf),
    "frame 1 has NaN stress": lambda s: s[1].calc.results["stress"].__setitem__(3, np.nan),
    "frame 1: atoms 0 and 1 are": lambda s: overlap(s[1]),
}


def overlap(atoms):
    calc = atoms.calc
    atoms.positions[0] = atoms.positions[1] + 0.01
    atoms.calc = SinglePointCalculator(atoms, **calc.results)


@pytest.mark.parametrize("message", BREAKS)
def test_inconsistent_data_are_refused_by_frame(message):
    structures = labelled(3, stress=True)
    BREAKS[message](structures)
    with pytest.raises(ValueError, match=f"file.xyz: {message}"):
        make_frames(structures, "file.xyz", 3.0)


def test_cutoff_beyond_the_box_is_refused():
    with pytest.raises(ValueError, match=r"`cutoff` is 9 Å.*own image"):
        make_frames(labelled(1), "file.xyz", 9.0)
    assert make_frames(labelled(1), "file.xyz", 9.0, allow_images=True)


def test_outliers_are_reported_with_what_they_are_used_for():
    frames = make_frames(labelled(3), "file.xyz", 3.0)
    assert describe_outliers(frames) is None
    frames[1].forces[0, 0] = 80.0
    assert "1 of 3 frames have a force above 50 eV/Å (largest 80 eV/Å; first: frame 1)" in (
        describe_outliers(frames) or ""
    )
    text = describe_outliers(frames, ["training", "validation", "test"]) or ""
    assert "frame 1; 1 in validation)" in text
    assert "best epoch" in text


def test_outliers_of_validation_frames_reach_the_user(tmp_path, capsys):
    structures = labelled(4)
    structures[2].calc.results["forces"] *= 1e6
    path = tmp_path / "water.xyz"
    write(path, structures, format="extxyz")
    assert main(["train", "--train", str(path), *SMALL, "--epochs", "1",
                 "--out", str(tmp_path / "m.pt")]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert f"warning: {path}: 1 of 4 frames have a force above 50" in text
    assert "1 in validation" in text


def renamed(tmp_path, structures):
    """Write labels as users of other programs have them: REF_energy, REF_forces, REF_stress."""
    for atoms in structures:
        results = atoms.calc.results
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["REF_forces"] = results["forces"]
        if "stress" in results:
            atoms.info["REF_stress"] = atoms.get_stress(voigt=False).ravel()
        atoms.calc = None
    path = tmp_path / "renamed.xyz"
    write(path, structures, format="extxyz")
    return path


NAMES = ["--energy-key", "REF_energy", "--forces-key", "REF_forces", "--stress-key", "REF_stress"]


def test_labels_under_other_names_are_the_same_labels(data, tmp_path):
    path = renamed(tmp_path, labelled(stress=True))
    keys = LabelKeys("REF_energy", "REF_forces", "REF_stress")
    frames = [make_frames(read_structures(data), data, 3.0),
              make_frames(read_structures(path, keys), path, 3.0)]  # fmt: skip
    for one, two in zip(*frames, strict=True):
        assert one.energy == pytest.approx(two.energy, abs=1e-7)
        np.testing.assert_allclose(one.forces, two.forces, atol=1e-7)
        np.testing.assert_allclose(one.stress, two.stress, atol=1e-9)


def test_labels_under_other_names_are_found_or_pointed_out(tmp_path, capsys):
    path = str(renamed(tmp_path, labelled(stress=True)))
    command = ["train", "--train", path, *SMALL, "--epochs", "1", "--out", str(tmp_path / "m.pt")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "frame 0 has no energy; every frame needs" in error
    assert f"try {' '.join(NAMES)}" in error
    assert main([*command, *NAMES]) == 0
    assert main([*command, "--stress-key", "REF_virial"]) == 2
    assert "virials are -V times the stress" in capsys.readouterr().err
    assert main([*command, *NAMES, "--forces-key", "REF_stress"]) == 2
    assert "frame 0: REF_stress: its shape is" in capsys.readouterr().err


def train(data, tmp_path, *more, epochs="2"):
    out = tmp_path / "m.pt"
    command = ["train", "--train", str(data), *SMALL, "--epochs", epochs, "--out", str(out), *more]
    return main(command), out


def changed(tmp_path, change):
    structures = labelled(stress=True)
    change(structures)
    path = tmp_path / "changed.xyz"
    write(path, structures, format="extxyz")
    return path


def sulphur(structures):
    for atoms in structures:
        atoms.numbers[atoms.numbers == 8] = 16
        atoms.calc.atoms = atoms.copy()


OTHER_RUNS = {
    "elements were H, O, now H, S": sulphur,
    "1 of 4 training frames or their labels differ (first: training frame 1)": (
        lambda s: s[1].calc.results.update(energy=-1.0)
    ),
    "1 of 2 validation frames or their labels differ": (
        lambda s: s[2].calc.results["forces"].__setitem__((0, 0), 0.0)
    ),
    "2 validation frames, now 1": lambda s: s.pop(),
    "the same training frames in another order": lambda s: s.insert(0, s.pop(1)),
}


@pytest.mark.parametrize("message", OTHER_RUNS)
def test_a_state_is_not_resumed_on_other_data(message, data, tmp_path, capsys):
    assert train(data, tmp_path)[0] == 0
    before = (tmp_path / "m.pt").read_bytes()
    other = changed(tmp_path, OTHER_RUNS[message])
    capsys.readouterr()
    assert train(other, tmp_path, epochs="4")[0] == 2
    error = capsys.readouterr().err
    assert message in error
    assert "--restart" in error
    assert (tmp_path / "m.pt").read_bytes() == before


def test_a_state_is_not_resumed_with_other_settings(data, tmp_path, capsys):
    train(data, tmp_path)
    assert train(data, tmp_path, "--learning-rate", "0.5", "--smearing", "1.5")[0] == 2
    error = capsys.readouterr().err
    assert "`learning_rate` was 0.003, now 0.5" in error
    assert "`smearing` was 1.0, now 1.5" in error
    assert train(data, tmp_path, "--learning-rate", "0.5", "--restart")[0] == 0
    state = torch.load(tmp_path / "m.state.pt", weights_only=True)
    torch.save({**state, "format": "lrcalc-training-1"}, tmp_path / "m.state.pt")
    assert train(data, tmp_path, "--learning-rate", "0.5")[0] == 2
    assert "does not say what it was trained on" in capsys.readouterr().err


def test_the_card_of_a_finished_run_can_be_changed(data, tmp_path, capsys):
    _, out = train(data, tmp_path)
    before = load(out)
    out.with_suffix(".csv").unlink()
    capsys.readouterr()
    assert train(data, tmp_path, "--epsilon-infinity", "3", "--licence", "MIT")[0] == 0
    text = capsys.readouterr().out
    assert "the card now says epsilon_infinity 3.0 (was 1.0)" in text
    assert "licence 'MIT' (was 'not stated')" in text
    assert "nothing left to train" in text
    after = load(out)
    assert after.metadata["epsilon_infinity"] == 3.0
    assert after.metadata["licence"] == "MIT"
    assert after.metadata["errors"] == before.metadata["errors"]
    for (name, one), two in zip(
        before.state_dict().items(), after.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    assert out.with_suffix(".csv").is_file()


def test_the_card_holds_settings_of_zero(data, tmp_path):
    _, out = train(data, tmp_path, "--stress-weight", "0", epochs="1")
    assert "--stress-weight 0.0" in load(out).metadata["command"]


def test_validation_frames_have_known_elements(data, tmp_path, capsys):
    other = changed(tmp_path, sulphur)
    assert train(data, tmp_path, "--valid", str(other))[0] == 2
    assert "the validation frames have S, which no training frame has" in capsys.readouterr().err


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return str(train(written(folder), folder)[1])


@pytest.mark.parametrize(
    ("change", "options", "messages"),
    [
        (None, ["--frames", "3::0"], ["`--frames` is '3::0'", "step"]),
        (None, ["--local-field", "clausius-mossotti"], ["--polarizability-unit"]),
        (None, ["--polarizability-unit", "A3"], ["no polarizability", "water.xyz"]),
        ("nan_energy", [], ["frame 4 has NaN energy"]),
        ("bare", [], ["nothing to compare", "frame 0", "forces:R:3"]),
        ("renamed", [], ["nothing to compare", "--energy-key REF_energy"]),
        ("dipoles", [], ["nothing to compare", "for REF_polarizability give --polariz"]),
        ("born", [], ["frame 0", "REF_born", "9 numbers"]),
        ("born_nan", [], ["frame 1", "REF_born", "finite"]),
        ("alpha", ["--polarizability-unit", "A3"], ["frame 2", "REF_polarizability has 6 numbers"]),
    ],
)
def test_evaluate_names_what_it_cannot_use(change, options, messages, model, tmp_path, capsys):
    structures = labelled(stress=True)
    path = tmp_path / "water.xyz"
    if change == "nan_energy":
        structures[4].calc.results["energy"] = np.nan
    if change in ("bare", "dipoles"):
        for atoms in structures:
            atoms.calc = None
            if change == "dipoles":
                atoms.info["REF_polarizability"] = np.eye(3).ravel()
    if change == "born":
        structures[0].arrays["REF_born"] = np.ones((9, 3))
    if change == "born_nan":
        for atoms in structures:
            atoms.arrays["REF_born"] = np.zeros((9, 9))
        structures[1].arrays["REF_born"][2, 3] = np.nan
    if change == "alpha":
        structures[2].info["REF_polarizability"] = np.ones(6)
    if change == "renamed":
        path = renamed(tmp_path, structures)
    else:
        write(path, structures, format="extxyz")
    capsys.readouterr()
    assert main(["evaluate", model, str(path), *options]) == 2
    error = capsys.readouterr().err
    for message in messages:
        assert message in error


def test_evaluate_reads_other_names_and_writes_valid_json(model, data, tmp_path, capsys):
    path = renamed(tmp_path, labelled(stress=True))
    reports = []
    for name, options in ((data, []), (path, NAMES)):
        out = tmp_path / "e.json"
        assert main(["evaluate", model, str(name), "--json", str(out), *options]) == 0

        def refuse(constant):
            raise AssertionError(constant)

        # the energy of a single frame has no R²
        assert main(["evaluate", model, str(name), "--frames", "1", "--json",
                     str(tmp_path / "one.json"), *options]) == 0  # fmt: skip
        one = json.loads((tmp_path / "one.json").read_text(), parse_constant=refuse)
        assert one["training"]["energy"]["r2"] is None
        reports.append(json.loads(out.read_text(), parse_constant=refuse)["training"])
    assert reports[0]["forces"]["rmse"] == pytest.approx(reports[1]["forces"]["rmse"], rel=1e-5)
    assert reports[0]["stress"]["rmse"] == pytest.approx(reports[1]["stress"]["rmse"], rel=1e-5)


def test_evaluate_points_out_labels_that_it_does_not_read(model, tmp_path, capsys):
    structures = labelled(2)
    for atoms in structures:
        atoms.info["REF_energy"] = atoms.calc.results.pop("energy")
        atoms.info["REF_polarizability"] = np.eye(3).ravel()
    path = tmp_path / "half.xyz"
    write(path, structures, format="extxyz")
    capsys.readouterr()
    assert main(["evaluate", model, str(path)]) == 0
    text = capsys.readouterr().out
    assert "note: left out: REF_energy (--energy-key REF_energy)" in text
    assert "REF_polarizability (--polarizability-unit" in text


def test_electrical_labels_of_a_model_without_charges_are_left_out(data, tmp_path, capsys):
    """An error about Born charges stood where errors of energies and forces were wanted."""
    model = str(tmp_path / "sr.pt")
    short = [*SMALL[:-1], "sr", "--epochs", "1", "--out", model]
    assert main(["train", "--train", str(data), *short]) == 0
    structures = labelled(2)
    for atoms in structures:
        atoms.arrays["REF_born"] = np.ones((len(atoms), 9))
        atoms.info["REF_dipole"] = np.zeros(3)
    path = tmp_path / "born.xyz"
    write(path, structures, format="extxyz")
    capsys.readouterr()
    assert main(["evaluate", model, str(path), "--json", str(tmp_path / "e.json")]) == 0
    text = capsys.readouterr().out
    assert "left out: Born charges (the model is short-ranged, without charges)" in text
    assert "ε_∞" not in text
    (group,) = (x for x in json.loads((tmp_path / "e.json").read_text()).values() if "forces" in x)
    assert not {"born", "dipole"} & set(group)
    for atoms in structures:
        atoms.calc = None
    write(path, structures, format="extxyz")
    assert main(["evaluate", model, str(path)]) != 0
    assert "has no charges" in capsys.readouterr().err
