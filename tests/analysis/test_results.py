"""Every analysis returns one kind of result; one table of commands declares what each reads."""

import argparse
import subprocess
import sys

import numpy as np
import pytest

from lrcalc import analysis
from lrcalc.analysis import AnalysisResult, Quantity
from lrcalc.commands.spectra import ROWS
from tests.analysis.signals import ornstein_uhlenbeck

NOISE = ornstein_uhlenbeck(np.random.default_rng(0), 4000, 0.9, 9)
AT = {"timestep": 1.0, "temperature": 300.0}
ATOMS = {"species": ["O", "H"], "masses": [16.0, 1.0], "timestep": 1.0}
RESULTS = {
    "ir": lambda: analysis.infrared(NOISE[:, :3], volume=700.0, epsilon_infinity=1.8, **AT),
    "raman": lambda: analysis.raman(NOISE, **AT),
    "dielectric": lambda: analysis.dielectric(
        NOISE[:, :3], volume=700.0, epsilon_infinity=1.8, resolution=20.0, **AT
    ),
    "vdos": lambda: analysis.vdos(NOISE[:, :6], **ATOMS),
    "conductivity": lambda: analysis.conductivity(NOISE[:, :3], volume=700.0, **AT),
    "sfg": lambda: analysis.sum_frequency(NOISE, NOISE[:, :3], area=50.0, **AT),
    "msd": lambda: analysis.msd(NOISE[:, :6].cumsum(0), **ATOMS),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_owns_its_output(name, tmp_path):
    found = RESULTS[name]()
    assert isinstance(found, AnalysisResult)
    assert isinstance(found, tuple)  # fields by place and `_replace`, as ever
    assert found.kind == name
    assert type(found._replace(settings=found.settings)) is type(found)
    assert len({len(column) for column in found.columns.values()}) == 1
    assert all(isinstance(one, Quantity) for one in found.summary.values())
    assert isinstance(found.table(), str)
    files = found.save(tmp_path / "o", picture="svg", title="water")
    assert [f.name for f in files] == [f"o-{name}.csv", f"o-{name}.svg", f"o-{name}.json"]
    head = [x for x in files[0].read_text().splitlines() if not x.startswith("#")]
    assert head[0].split(",") == list(found.columns)
    assert len(head) == 1 + len(next(iter(found.columns.values())))
    assert "water" in files[1].read_text()
    with pytest.raises(AttributeError):
        found.anything = 1


def test_every_row_has_a_result():
    assert set(RESULTS) == set(ROWS)


def test_results_come_without_matplotlib():
    code = (
        "import sys, numpy as np\nfrom lrcalc.analysis import infrared\n"
        "x = np.random.default_rng(0).normal(size=(9000, 3))\n"
        "f = infrared(x, timestep=1.0, volume=9.0, temperature=300.0)\nf.columns, f.summary\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ROWS)
def test_help_says_what_every_option_means_and_its_default(name):
    parser = argparse.ArgumentParser()
    ROWS[name].add_arguments(parser)
    for action in parser._actions:
        assert action.help, action.option_strings
        if action.default not in (None, False, "", argparse.SUPPRESS):
            assert "default" in action.help, action.option_strings
