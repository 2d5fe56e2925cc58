"""Kernels are tried before they are used, and what is wrong with them is seen."""

import pytest
import torch

from lrcalc.checkpoint import load
from lrcalc.electrostatics import fused_mesh, mesh_trial
from lrcalc.electrostatics.mesh import Mesh
from lrcalc.electrostatics.sums import Geometry
from lrcalc.kernels import choice, trial
from lrcalc.models import fused_repulsion, fused_transfers
from lrcalc.models.native import trial as native_trial
from lrcalc.models.native.fast import Kernels
from lrcalc.models.native.fused import density, products
from tests.kernels import DEVICE, needs_kernels

PRECISIONS = (torch.float64, torch.float32)


def backbone(dtype):
    return load("water").to(DEVICE, dtype)


def native_cases(dtype):
    model = backbone(dtype)
    like = torch.zeros(1, dtype=dtype, device=DEVICE)
    return lambda: native_trial.cases(model.backbone, Kernels(), like)


def transfer_cases(dtype):
    readout = backbone(dtype).readout
    like = torch.zeros(1, dtype=dtype, device=DEVICE)
    return lambda: fused_transfers.cases(like, readout.transfer_weight, readout.transfer_decay, 3.5)


def mesh_cases(dtype, multipole=2):
    positions = torch.zeros(2, 3, dtype=dtype, device=DEVICE)
    cell = 6.0 * torch.eye(3, dtype=dtype, device=DEVICE)[None]
    batch = torch.zeros(2, dtype=torch.int64, device=DEVICE)
    plan = Mesh(1.0, 3.0, 1e-2).plan(Geometry(positions, cell, batch, 1, None, multipole))
    return lambda: mesh_trial.cases(plan, positions)


def repulsion_cases(dtype):
    parts = backbone(dtype).prior, backbone(dtype).wall
    assert all(part is not None for part in parts)
    return lambda: fused_repulsion.cases(parts, torch.zeros(1, dtype=dtype, device=DEVICE))


CASES = {
    "native": native_cases, "transfers": transfer_cases, "mesh": mesh_cases,
    "repulsion": repulsion_cases,
}  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_said_against_the_kernels(name, dtype):
    assert trial.objection(CASES[name](dtype), dtype) is None


@needs_kernels
@pytest.mark.parametrize(
    ("name", "module", "function", "program"),
    [
        ("native", density, "_launch", "density_gradient"),
        ("native", products, "_launch", "couple"),
        ("native", products, "_launch", "couple_gradient"),
        ("native", products, "_launch", "invariants_gradient"),
        ("transfers", fused_transfers, "_launch", "weights_gradient"),
        ("repulsion", fused_repulsion, "_launch", "energies"),
        ("repulsion", fused_repulsion, "_launch", "gradient"),
    ],
)
def test_a_program_that_does_something_else_is_found_out(
    name, module, function, program, monkeypatch
):
    launch = getattr(module, function)

    def wrong(which, *args, **named):
        launch(which, *args, **named)
        if which == program:
            tensors = [x for x in args if isinstance(x, torch.Tensor)]
            tensors[-1].view(-1)[7:9] += 0.05 * tensors[-1].abs().max()

    monkeypatch.setattr(module, function, wrong)
    assert "differs by" in trial.objection(CASES[name](torch.float64), torch.float64)


@needs_kernels
def test_a_mesh_that_does_something_else_is_found_out(monkeypatch):
    take = fused_mesh.Grid.take

    def wrong(grid, at, mesh, order, moments=None):
        values, slopes = take(grid, at, mesh, order, moments)
        return values, None if slopes is None else 1.001 * slopes

    monkeypatch.setattr(fused_mesh.Grid, "take", wrong)
    assert "differs by" in trial.objection(mesh_cases(torch.float64, 1), torch.float64)


def test_what_fails_is_an_objection():
    def failing():
        raise RuntimeError("Failed to find C compiler\nmore")

    assert trial.objection(failing, torch.float32) == "RuntimeError: Failed to find C compiler"


def test_no_number_is_an_objection():
    nothing = torch.tensor([torch.nan])
    found = trial.objection(lambda: [("it", nothing, torch.ones(1))], torch.float32)
    assert "it differs by nan" in found


class OnGpu:
    """Looks like a tensor on a GPU."""

    is_cuda, device, dtype = True, torch.device("cuda"), torch.float32


def test_an_objection_is_warned_of_once_and_kept(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(trial, "VERDICTS", {})
    calls = []

    def cases():
        calls.append(1)
        return [("it", torch.ones(1), 2 * torch.ones(1))]

    with pytest.warns(UserWarning, match=r"it differs by 1.0e\+00 of 2.0e\+00.*LRCALC_KERNELS=0"):
        assert not trial.tried("a kernel", OnGpu, 1, cases)
    assert not trial.tried("a kernel", OnGpu, 1, cases)
    assert len(calls) == 1


def test_nothing_is_tried_while_a_graph_is_recorded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(trial, "VERDICTS", {})
    assert not trial.tried("a kernel", OnGpu, 1, lambda: [])
    assert not trial.VERDICTS


def test_triton_that_does_not_work_is_an_objection(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(trial, "VERDICTS", {})
    monkeypatch.setattr(choice, "_installed", lambda: True)

    def failing(device):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(choice, "_doubled", failing)
    with pytest.warns(UserWarning, match="kernels are not used on cuda.*find C compiler"):
        assert not choice.available(OnGpu)


@pytest.mark.parametrize("chosen", [None, "1", "0"])
def test_kernels_that_are_switched_off_are_not_tried(monkeypatch, chosen):
    monkeypatch.setattr(choice, "_installed", lambda: True)
    monkeypatch.setattr(choice, "tried", lambda *_: True)
    monkeypatch.delenv("LRCALC_KERNELS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("LRCALC_KERNELS", chosen)
    assert choice.available(OnGpu) == (chosen != "0")
