"""What our side of a MACE model costs beside MACE itself, in one process and in turn.

    python benchmarks/mace.py [--file FILE.model] [--rounds 7]

192 atoms of water, float32, one thread, CPU times. Without a file: MACE's layers as a backbone
(two layers, 32x0e + 32x1o) with energies alone, against the same MACE model with its graph given
(energy and forces, no neighbour list), and against its calculator (which makes the list and
computes the stress as well). With a MACE-LES file of scalars (128x0e): converted, with charges,
against MACE's calculator with the charges taken out of the model. Needs mace-torch
(`make test-mace`'s environment).
"""

import argparse
import pickle
import time
import types

import numpy as np
import torch
from ase.calculators.calculator import all_changes

from lrcalc import Evaluator, Potential
from lrcalc.models.adapters.mace import load_weights, settings_of
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.models.adapters.mace_import import import_mace, quiet
from lrcalc.structures import read_structure

ENERGY, BORN = ["energy", "forces"], ["born_effective_charges"]


def foreign():
    """Return a MACE model of water with random weights, as MACE makes it."""
    modules = import_mace()
    from e3nn import o3

    block = modules.RealAgnosticResidualInteractionBlock
    torch.manual_seed(0)
    with quiet():
        return modules.ScaleShiftMACE(
            r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
            interaction_cls_first=block, num_interactions=2, num_elements=2,
            hidden_irreps=o3.Irreps("32x0e + 32x1o"), MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(2), avg_num_neighbors=50.0, atomic_numbers=[1, 8],
            correlation=3, gate=torch.nn.functional.silu, atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )  # fmt: skip


class WithoutCharges(pickle.Unpickler):
    """Reads a MACE-LES model as the ScaleShiftMACE that it is without its charges."""

    def find_class(self, module, name):
        """Return the class of a name in the file."""
        if name == "MACELES":
            return import_mace().ScaleShiftMACE
        if module.split(".")[0] == "les":
            return type(name, (torch.nn.Module,), {})
        return super().find_class(module, name)


def read_without_charges(path):
    reader = types.SimpleNamespace(
        Unpickler=WithoutCharges,
        load=lambda f, **k: WithoutCharges(f, **k).load(),
        __name__="reader",
    )
    with quiet():
        model = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    del model.les, model.les_readouts
    return model.float()


def by_calculator(model, atoms):
    """Return a function that runs MACE's calculator."""
    with quiet():
        from mace.calculators import MACECalculator

        calculator = MACECalculator(models=[model], device="cpu", default_dtype="float32")
    return lambda: calculator.calculate(atoms, ENERGY, all_changes)


def by_model(model, atoms):
    """Return a function that runs MACE's model, its graph made before."""
    with quiet():
        from mace.calculators import MACECalculator

        calculator = MACECalculator(models=[model], device="cpu", default_dtype="float32")
        graph = calculator._atoms_to_batch(atoms).to_dict()
    return lambda: model(graph, compute_force=True)["forces"].detach()


def in_turn(cases, rounds):
    """Milliseconds of CPU of each case, (rounds,), a call each in turn."""
    times = {name: [] for name in cases}
    for k in range(rounds + 1):
        for name, call in cases.items():
            start = time.process_time()
            call()
            if k:
                times[name].append(1e3 * (time.process_time() - start))
    for name, t in times.items():
        print(f"{name:52}{np.median(t):8.0f} ms (fastest {min(t):.0f})")
    return [np.array(t) for t in times.values()]


def ratio(what, one, other):
    print(f"{what}: {np.median(one / other):.3f} (of the fastest {one.min() / other.min():.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help="a published MACE-LES model")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    atoms = read_structure("water64")
    if args.file:
        ours = Evaluator(convert(args.file, trust_pickle=True).float())
        cases = {
            "MACE's calculator, charges taken out": by_calculator(
                read_without_charges(args.file), atoms
            ),
            "converted, energy + forces": lambda: ours([atoms], ENERGY),
            "converted, all Born charges": lambda: ours([atoms], BORN),
        }
        base, forces, born = in_turn(cases, args.rounds)
        ratio("energy + forces against MACE's calculator", forces, base)
        ratio("Born charges against a force call", born, forces)
        return
    model = foreign()
    settings = {**settings_of(model), "full_last": False}
    potential = Potential((1, 8), backbone="mace", **settings, level="sr")
    load_weights(potential.backbone, model)
    ours = Evaluator(potential.float())
    cases = {
        "MACE's model, graph given": by_model(model, atoms),
        "MACE's calculator (list, stress)": by_calculator(model, atoms),
        "as a backbone, energy + forces": lambda: ours([atoms], ENERGY),
        "as a backbone, with stress": lambda: ours([atoms], [*ENERGY, "stress"]),
    }
    given, calculator, backbone, stress = in_turn(cases, args.rounds)
    ratio("energy + forces against MACE's model with its graph given", backbone, given)
    ratio("with stress against MACE's calculator", stress, calculator)


if __name__ == "__main__":
    main()
