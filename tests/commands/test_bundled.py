"""What is bundled is found by its name from any folder, wherever a structure is asked for."""

import pytest

from lrcalc.analysis.cells import read_cell
from lrcalc.cli import main
from lrcalc.ipi.settings import make_settings, read_template
from lrcalc.structures import read_structure


@pytest.fixture(autouse=True)
def any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_info_lists_models_and_structures(capsys):
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    models = "BaTiO3, SiO2, dipeptides, organic, superionic, water, water-large"
    assert f"bundled models: {models}\n" in told
    assert "bundled structures: superionic54, water64\n" in told


def test_info_says_what_taught_charges(capsys):
    assert main(["info", "organic"]) == 0
    told = capsys.readouterr().out
    assert "dipeptides.pt went on with dipeptides_train.xyz.gz" in told
    assert "lrcalc fit-charges dipeptides.pt" in told


@pytest.mark.parametrize(
    ("given", "answer"),
    [  # each is refused after the file was read
        ("evaluate water water64", "water64: nothing to compare"),
        ("train --train water64 --out m.pt", "frame 0"),
        ("fit-polarizability --model water --data water64 --unit A3 --out m.pt", "frame 0 has no"),
        ("modes water64 --model water --frame 7", "water64.xyz' cannot be read"),
        ("modes water64 --model water --bands --supercell 0,1,1 -o m", "--supercell is '0,1,1'"),
    ],
)
def test_commands_read_it(given, answer, capsys):
    assert main(given.split()) == 2
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize(("command", "status"), [("ipi-input", 0), ("ipi-run --quiet", 130)])
def test_runs_of_ipi_start_from_it(command, status, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrcalc.commands.ipi_run.run_ipi", interrupted)
    given = f"{command} --kind nve --structure water64 --steps 1 --model water --workdir run"
    assert main(given.split()) == status
    assert len(read_structure(tmp_path / "run" / "init.xyz")) == 192


def test_the_cell_and_the_template_may_be_bundled():
    assert read_cell("water64").shape == (3, 3)
    assert len(read_template(make_settings({"template": "water64"}))) == 192


def test_a_file_of_that_name_goes_before(tmp_path):
    (tmp_path / "water64").write_text("1\n\nHe 0 0 0\n")
    assert len(read_structure("water64")) == 1
