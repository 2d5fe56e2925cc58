"""Bad input to the electrostatics is refused by name."""

import pytest
import torch

from lrcalc.electrostatics import electrostatic_energy
from tests.test_electrostatics import CELL, system


def bad(**changes):
    r, m = system("uQiqiu")
    arguments = {"positions": r, "cell": CELL, "multipoles": m} | changes
    parts = arguments.pop("parts", None)
    if parts:
        arguments["multipoles"] = m._replace(**parts)
    return electrostatic_energy(**arguments)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"smearing": -0.1}, "smearing"),
        ({"k_cutoff": 0.0}, "k_cutoff"),
        ({"accuracy": 2.0}, "accuracy"),
        ({"method": "magic"}, "method"),
        ({"iterations": -1}, "iterations"),
        ({"positions": torch.zeros(6, 2)}, "positions"),
        ({"positions": torch.full((6, 3), float("nan"))}, "positions"),
        ({"cell": torch.zeros(3, 3)}, "cell"),
        ({"cell": torch.eye(2)}, "cell"),
        ({"cell": CELL * float("nan")}, "cell"),
        ({"batch": torch.zeros(5, dtype=torch.long)}, "batch"),
        ({"batch": torch.full((6,), -1)}, "batch"),
        ({"pbc": torch.tensor([True, False, False])}, "pbc"),
        ({"pbc": torch.tensor([True, True])}, "pbc"),
        ({"pbc": torch.tensor([True] * 3), "method": "open"}, "method"),
        ({"pbc": torch.tensor([True] * 3), "method": "slab"}, "method"),
        ({"cell": None, "method": "mesh"}, "cell"),
        ({"parts": {"charge": torch.zeros(5)}}, "charge"),
        ({"parts": {"dipole": torch.zeros(6)}}, "dipole"),
        ({"parts": {"quadrupole": torch.eye(3).expand(6, 3, 3)}}, "traceless"),
        ({"parts": {"quadrupole": torch.ones(6, 3, 3).triu(1)}}, "symmetric"),
        ({"parts": {"capacitance": -torch.ones(6)}}, "capacitance"),
        ({"parts": {"polarizability": -torch.ones(6)}}, "polarizability"),
        (
            {"parts": {"polarizability": torch.diag(torch.tensor([1.0, 1, -1])).expand(6, 3, 3)}},
            "polarizability",
        ),
        ({"parts": {"polarizability": torch.ones(6, 3, 3).triu()}}, "symmetric"),
    ],
)
def test_bad_input_is_named(changes, named):
    with pytest.raises(ValueError, match=named):
        bad(**changes)
