"""The command line itself; what commands do is tested with what they are for."""

import pytest

from lrcalc.cli import main, plain


@pytest.mark.parametrize(
    ("given", "read"),
    [("-1e-3", "-0.001"), ("-2.5E+2", "-250"), ("-.5e1", "-5"), ("-1", "-1"), ("1e-3", "1e-3"),
     ("--field", "--field"), ("-e3", "-e3"), ("-3e", "-3e"), ("-1e-3,2", "-1e-3,2")],
)  # fmt: skip
def test_negative_numbers_with_exponents_are_numbers(given, read):
    assert plain(given) == read


def test_a_field_may_be_written_with_an_exponent(tmp_path, capsys):
    missing = str(tmp_path / "missing.xyz")
    assert main(["md", "water", missing, "--field", "0", "0", "-1e-3"]) == 2
    assert "missing.xyz" in capsys.readouterr().err  # and not: expected 3 arguments
