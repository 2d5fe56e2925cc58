"""Bad input to the electrostatics is refused by name."""

import numpy as np
import pytest
import torch

from lrcalc.electrostatics import electrostatic_energy
from tests.electrostatics.test_energy import CELL, system


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
        ({"accuracy": 0.2}, "from 1e-14 to 0.1"),
        ({"method": "magic"}, "method"),
        ({"iterations": -1}, "iterations"),
        ({"positions": torch.zeros(6, 2).double()}, "positions"),
        ({"positions": torch.full((6, 3), float("nan")).double()}, "positions"),
        ({"cell": torch.zeros(3, 3).double()}, "cell"),
        ({"cell": torch.eye(2).double()}, "cell"),
        ({"cell": CELL * float("nan")}, "cell"),
        ({"batch": torch.zeros(5, dtype=torch.long)}, "batch"),
        ({"batch": torch.full((6,), -1)}, "batch"),
        ({"pbc": torch.tensor([True, False, False])}, "pbc"),
        ({"pbc": torch.tensor([True, True])}, "pbc"),
        ({"pbc": torch.tensor([True] * 3), "method": "open"}, "method"),
        ({"pbc": torch.tensor([True] * 3), "method": "slab"}, "method"),
        ({"cell": None, "method": "mesh"}, "cell"),
        ({"parts": {"charge": torch.zeros(5).double()}}, "charge"),
        ({"parts": {"dipole": torch.zeros(6).double()}}, "dipole"),
        ({"parts": {"quadrupole": torch.eye(3).expand(6, 3, 3).double()}}, "traceless"),
        ({"parts": {"quadrupole": torch.ones(6, 3, 3).triu(1).double()}}, "symmetric"),
        ({"parts": {"capacitance": -torch.ones(6).double()}}, "capacitance"),
        ({"parts": {"polarizability": -torch.ones(6).double()}}, "polarizability"),
        (
            {"parts": {"polarizability": torch.diag(CELL.new_tensor([1, 1, -1])).expand(6, 3, 3)}},
            "polarizability",
        ),
        ({"parts": {"polarizability": torch.ones(6, 3, 3).triu().double()}}, "symmetric"),
        # numbers
        ({"smearing": float("inf")}, "`smearing` is inf"),
        ({"smearing": "1"}, "`smearing` is '1'"),
        ({"smearing": True}, "`smearing` is True"),
        ({"smearing": None}, "`smearing` is None"),
        ({"k_cutoff": float("inf")}, "`k_cutoff` is inf"),
        ({"k_cutoff": "pi"}, "`k_cutoff` is 'pi'"),
        ({"accuracy": float("nan")}, "`accuracy` is nan"),
        ({"iterations": 1.5}, "`iterations` is 1.5"),
        ({"iterations": True}, "`iterations` is True"),
        ({"iterations": "2"}, "`iterations` is '2'"),
        ({"iterations": None, "tolerance": -1.0}, "`tolerance` is -1.0"),
        ({"iterations": None, "tolerance": 0.0}, "`tolerance` is 0.0"),
        ({"iterations": None, "tolerance": float("nan")}, "`tolerance` is nan"),
        ({"iterations": None, "tolerance": float("inf")}, "`tolerance` is inf"),
        ({"iterations": None, "maximum_iterations": 1.5}, "`maximum_iterations` is 1.5"),
        ({"maximum_iterations": -1}, "`maximum_iterations` is -1"),
        # types of tensors
        ({"positions": torch.zeros(6, 3)}, "`cell` is torch.float64.*cell.to"),
        ({"cell": CELL.float()}, "`cell` is torch.float32.*cell.to"),
        ({"positions": torch.zeros(6, 3, dtype=torch.long)}, "`positions` has dtype torch.int64"),
        ({"positions": torch.zeros(6, 3).half()}, "`positions` has dtype torch.float16"),
        ({"positions": np.zeros((6, 3))}, "`positions` is a numpy.ndarray.*as_tensor"),
        ({"positions": None}, "`positions` is a NoneType"),
        ({"cell": CELL.numpy()}, "`cell` is a numpy.ndarray"),
        ({"multipoles": torch.zeros(6)}, "`multipoles` is a torch.Tensor"),
        ({"parts": {"charge": None}}, "`charge` is a NoneType"),
        ({"parts": {"charge": [0.0] * 6}}, "`charge` is a list"),
        ({"parts": {"charge": torch.zeros(6)}}, "`charge` is torch.float32"),
        ({"parts": {"dipole": torch.zeros(6, 3)}}, "`dipole` is torch.float32"),
        ({"batch": [0] * 6}, "`batch` is a list"),
        ({"batch": torch.zeros(6)}, "`batch` is torch.float32"),
        # batches and boundaries
        ({"batch": torch.full((6,), -1), "cell": None}, "`batch` runs from -1"),
        ({"batch": torch.arange(6) - 1}, "`batch` runs from -1"),
        ({"cell": torch.stack([CELL] * 2)}, r"`cell` has shape \(2, 3, 3\).*`batch`"),
        ({"batch": torch.tensor([0, 0, 0, 2, 2, 2])}, r"`batch` has no atom of structures \[1\]"),
        (
            {"batch": torch.tensor([0, 0, 0, 1, 1, 1]), "cell": torch.stack([CELL] * 3)},
            r"`batch` has no atom of structures \[2\]",
        ),
        (
            {"batch": torch.tensor([0, 0, 0, 1, 1, 2]), "cell": torch.stack([CELL] * 2)},
            "`batch` runs from 0 to 2 but must count structures from 0 to 1",
        ),
        ({"pbc": "TTT"}, "`pbc` is 'TTT'"),
        ({"pbc": [True, True, False], "cell": None}, "`pbc` has periodic directions"),
        ({"method": "slab"}, "`method` is 'slab' but `pbc` is None"),
        ({"method": "open"}, "`method` is 'open' but `pbc` is None"),
    ],
)
def test_bad_input_is_named(changes, named):
    with pytest.raises(ValueError, match=named):
        bad(**changes)


def test_periodic_directions_in_any_form():
    """What ASE has, ``atoms.pbc``, lists and a single flag, mean the same as a tensor."""
    expected = bad(pbc=torch.tensor([True, False, True])).energy
    for pbc in ([True, False, True], (1, 0, 1), np.array([True, False, True])):
        assert float(bad(pbc=pbc).energy) == float(expected)
    assert float(bad(pbc=True).energy) == float(bad().energy)
    assert float(bad(pbc=False).energy) == float(bad(cell=None).energy)


def test_indices_of_32_bits():
    short = bad(batch=torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.int32)).energy
    assert short.tolist() == bad(batch=torch.tensor([0, 1, 0, 1, 0, 1])).energy.tolist()
