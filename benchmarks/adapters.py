"""What an adapter costs beyond the foreign model whose layers it calls, in one process and in turn.

    python benchmarks/adapters.py mace|nequip|allegro [--rounds 9]

192 atoms of water, energy and forces, float32, one thread, CPU times, random weights of default
sizes, the pairs given. Theirs: the package's own model from positions and edges, its derivative by
positions. Ours: the same layers with our readout of energies (level sr); without charges there is
no sum over waves in it. MACE's own model has its readouts, and is compiled by TorchScript as it
comes; NequIP's and Allegro's layers are run one after the other by NequIP, with a linear readout of
all their scalars (their own last layers have no vectors, and would be less work).
Needs the environment of `make test-mace` or `make test-nequip`.
"""

import argparse
import time

import numpy as np
import torch

from lrcalc import Potential
from lrcalc.models.adapters.mace_import import import_mace, quiet
from lrcalc.neighbors import build_pairs
from lrcalc.prediction import predict
from lrcalc.structures import read_structure
from lrcalc.system import from_ase

SPECIES = (1, 8)
WANTED = {"energy", "forces"}


def of_mace(system, pairs):
    """Return MACE's model of two layers, 32x0e + 32x1o, and our potential of the same layers."""
    from lrcalc.models.adapters.mace import load_weights, settings_of

    modules = import_mace()
    from e3nn import o3

    block = modules.RealAgnosticResidualInteractionBlock
    with quiet():
        mace = modules.ScaleShiftMACE(
            r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
            interaction_cls_first=block, num_interactions=2, num_elements=2,
            hidden_irreps=o3.Irreps("32x0e + 32x1o"), MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(2), avg_num_neighbors=50.0, atomic_numbers=list(SPECIES),
            correlation=3, gate=torch.nn.functional.silu, atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )  # fmt: skip
    mace.requires_grad_(False)  # as its calculator has it
    settings = {**settings_of(mace), "full_last": False}
    ours = Potential(SPECIES, backbone="mace", **settings, level="sr")
    load_weights(ours.backbone, mace)
    cell = system.cell[0].float()
    data = {
        "cell": cell, "batch": system.batch, "ptr": torch.tensor([0, len(system.numbers)]),
        "node_attrs": (system.numbers[:, None] == mace.atomic_numbers).float(),
        "edge_index": torch.stack([pairs.j, pairs.i]), "unit_shifts": -pairs.shift.float(),
        "shifts": -pairs.shift.float() @ cell, "head": torch.tensor([0]),
    }  # fmt: skip

    def theirs():
        positions = system.positions.float().requires_grad_()
        out = mace({**data, "positions": positions}, compute_force=True)
        return out["energy"].detach(), out["forces"].detach()

    return theirs, ours


def of_nequip(name, system, pairs):
    """Return NequIP's run through the layers of our potential, and the potential."""
    from nequip.nn import SequentialGraphNetwork

    ours = Potential(SPECIES, backbone=name, level="sr", avg_num_neighbors=50.0)
    layers = ours.backbone
    if name == "nequip":
        named = {f"layer{k}": layer for k, layer in enumerate(layers.convnets)}
        parts, field = {**layers.before, **named}, "node_features"
    else:
        parts, field = dict(layers.parts), "edge_features"
    network = SequentialGraphNetwork(parts).requires_grad_(False)
    numbers = torch.tensor([SPECIES.index(z) for z in system.numbers])
    data = {
        "cell": system.cell.float(), "batch": system.batch, "atom_types": numbers,
        "edge_index": torch.stack([pairs.i, pairs.j]), "edge_cell_shift": pairs.shift.float(),
    }  # fmt: skip
    scalars = layers.irreps[-1].count((0, 1)) if name == "nequip" else None

    def theirs():
        positions = system.positions.float().requires_grad_()
        energy = network({**data, "pos": positions})[field][:, :scalars].sum()
        return energy.detach(), -torch.autograd.grad(energy, positions)[0]

    return theirs, ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=["mace", "nequip", "allegro"])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    system = from_ase(read_structure("water64"))
    pairs = build_pairs(system, 5.0)
    made = of_mace if args.package == "mace" else lambda *x: of_nequip(args.package, *x)
    theirs, ours = made(system, pairs)
    ours = ours.float().eval().requires_grad_(False)
    cases = {
        "the package's own": theirs,
        "through lrcalc": lambda: predict(ours, system, pairs, None, WANTED),
    }
    times = {name: [] for name in cases}
    for k in range(args.rounds + 2):  # the first two warm up, and TorchScript compiles
        for name, call in cases.items():
            start = time.process_time()
            call()
            if k > 1:
                times[name].append(1e3 * (time.process_time() - start))
    print(f"{args.package}, {len(system.numbers)} atoms, {len(pairs.i)} pairs")
    for name, t in times.items():
        print(f"{name:24}{np.median(t):8.0f} ms (fastest {min(t):.0f})")
    own, lrcalc = (np.array(t) for t in times.values())
    low, middle, high = np.quantile(lrcalc / own, (0.25, 0.5, 0.75))
    fastest = lrcalc.min() / own.min()
    print(f"through lrcalc / own: {middle:.3f} (quartiles {low:.3f}, {high:.3f}; of the fastest "
          f"{fastest:.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
