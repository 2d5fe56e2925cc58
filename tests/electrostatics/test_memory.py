"""Large cells: sums in blocks, the choice between sums by memory, refusals before allocation."""

import resource
import sys

import pytest
import torch

from lrcalc import memory
from lrcalc.electrostatics import Geometry, choice, direct, electrostatic_energy
from lrcalc.multipoles import Multipoles
from lrcalc.testing import check_electrostatics
from tests.electrostatics.test_energy import CELL, energy_and_forces, system

D = torch.float64


def blocks(monkeypatch, size=1e5):
    """Make the direct sum work in blocks even for small cells; return the list of their counts."""
    monkeypatch.setattr(direct, "BLOCK_BYTES", int(size))
    counts = []
    original = direct.Direct._interact

    def counted(self, bound, source, derivatives):
        counts.append(0 if bound.waves else -(-len(bound.plan.first) // bound.plan.pairs))
        return original(self, bound, source, derivatives)

    monkeypatch.setattr(direct.Direct, "_interact", counted)
    return counts


@pytest.mark.parametrize("iterations", [0, 2, None])
@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_blocks_of_waves_add_up(boundary, iterations, monkeypatch):
    r, m = system("uQiqiu", atoms=10)
    m = m._replace(polarizability=0.1 * m.polarizability, capacitance=0.2 * m.capacitance)
    batch = torch.tensor([0, 1] * 5)  # structures of equal size, of interleaved atoms
    cell = torch.stack([CELL, 1.1 * CELL])
    options = {"batch": batch, "method": "direct", "iterations": iterations, "k_cutoff": 4.0}
    if boundary == "slab":
        options |= {"pbc": [True, True, False], "method": "auto"}
    if iterations is None:
        options["tolerance"] = 1e-12
    whole, forces = energy_and_forces(r, cell, m, **options)
    counts = blocks(monkeypatch)
    found, same = energy_and_forces(r, cell, m, **options)
    assert min(counts) > 2
    for name in ("energy", "potential", "field", "induced_charge", "induced_dipole"):
        torch.testing.assert_close(
            getattr(found, name), getattr(whole, name), rtol=1e-9, atol=1e-10
        )
    torch.testing.assert_close(same, forces, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", ["q", "uQiqiu"])
def test_derivatives_of_blocks(level, monkeypatch):
    """Forces, stress and second derivatives, by central differences."""
    counts = blocks(monkeypatch, 2e4)
    r, m = system(level)
    check_electrostatics(r, CELL, m, method="direct", smearing=0.9, k_cutoff=4.0)
    assert min(counts) > 2


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("method", ["auto", "direct", "mesh"])
@pytest.mark.parametrize("length", [1e3, 1e6])
def test_cells_too_large_for_any_sum_are_refused(length, method, dtype, monkeypatch):
    monkeypatch.setattr(choice, "available_bytes", lambda device: 2e10)
    r = torch.tensor([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=dtype)
    m = Multipoles(torch.tensor([-0.8, 0.4, 0.4], dtype=dtype))
    named = rf"`cell` is too large.*{length:.4g}".replace("+", r"\+") + r".*GB.*pbc=False"
    with pytest.raises(ValueError, match=named):
        electrostatic_energy(r, length * torch.eye(3, dtype=dtype), m, method=method)
    # the way out that the message gives
    cell = length * torch.eye(3, dtype=dtype)
    assert electrostatic_energy(r, cell, m, pbc=False).energy.isfinite().all()


def test_too_many_waves_in_a_small_cell_are_refused():
    r, m = system("q")
    with pytest.raises(ValueError, match=r"too large.*k_cutoff 1e\+06.*larger `smearing`"):
        electrostatic_energy(r, CELL, m, k_cutoff=1e6)


def test_pieces_that_are_kept(monkeypatch):
    """A batch of unequal structures, in pieces as large sums on a CPU are; and its derivatives."""
    r, m = system("uQiqiu", atoms=9)
    batch = torch.tensor([0, 1, 1] * 3)
    cell = torch.stack([CELL, 1.1 * CELL])
    options = {"method": "direct", "with_field": True, "k_cutoff": 4.0}
    whole, forces = energy_and_forces(r, cell, m, batch=batch, **options)
    monkeypatch.setattr(direct, "PIECE_BYTES", 50_000)
    pieces = []
    original = direct.Direct._waves
    monkeypatch.setattr(direct.Direct, "_waves", lambda *a: pieces.append(a[2]) or original(*a))
    found, same = energy_and_forces(r, cell, m, batch=batch, **options)
    assert len(pieces) > 2
    torch.testing.assert_close(found.energy, whole.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.field, whole.field, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(same, forces, rtol=1e-11, atol=1e-11)
    check_electrostatics(r, CELL, m, method="direct", k_cutoff=4.0)


def choose(kind="auto", atoms=3, length=200.0, dtype=D):
    cell = length * torch.eye(3, dtype=dtype)[None]
    geometry = Geometry(torch.zeros(atoms, 3), cell, torch.zeros(atoms), 1, None)
    return choice.choose_sum(kind, geometry, 1.0, 4.8, 1e-5)


def test_choice_by_memory(monkeypatch):
    available = [1e13]
    monkeypatch.setattr(choice, "available_bytes", lambda device: available[0])
    # a few atoms cost less than spreading on a mesh, a thousand do not
    assert choose() == "direct"
    assert choose(atoms=1000) == "mesh"
    # 200 Å: the mesh takes about 3 GB, blocks of the direct sum 2 GB
    available[0] = 2.5e9
    assert choose(atoms=1000) == "direct"
    with pytest.raises(ValueError, match=r"mesh needs .* GB, of which 2.5 are free"):
        choose("mesh", atoms=1000)
    available[0] = 1e9
    with pytest.raises(ValueError, match=r"mesh needs .* 1 are free; direct needs .* 1 are free"):
        choose(atoms=1000)
    # what is small is not even asked for
    available[0] = 0.0
    assert choose(length=20.0) == "direct"
    assert choose(length=20.0, atoms=10000) == "mesh"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are read on Linux")
def test_available_memory_knows_limits():
    device = torch.device("cpu")
    free = memory.available_bytes(device)
    assert 0 < free < 1e14
    used = 1024 * memory._field(memory.Path("/proc/self/status"), "VmSize:")
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(used + 1e9), old[1]))
    try:
        assert memory.available_bytes(device) < min(free, 1.1e9)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def test_cutoff_that_leaves_nothing():
    # σ = 1 km at π Å⁻¹: every weight underflows
    r, m = system("q")
    for method in ("direct", "mesh"):
        options = {"smearing": 1e4, "k_cutoff": 3.0, "method": method}
        result = electrostatic_energy(r, CELL, m, remove_self_interaction=False, **options)
        assert float(result.energy) == 0.0
