"""nequip's own energy of a trained model, and what its readout makes of our features."""

import copy
import importlib

import torch

from lrcalc.models.adapters.foreign_import import quiet
from lrcalc.models.backbone import build_backbone
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from lrcalc.training.pretrained import read_pretrained


def name_of(text):
    return "allegro" if "allegro" in text else "nequip"


def made(architecture, folder):
    """A new model of nequip's own builder: its calculator, and a checkpoint as Lightning has it."""
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator
    from nequip.utils.global_state import set_global_state

    module, _, builder = architecture["_target_"].rpartition(".")
    settings = {k: v for k, v in architecture.items() if k != "_target_"}
    set_global_state()
    with quiet():
        build = getattr(importlib.import_module(module), builder)
        model = build(**copy.deepcopy(settings)).eval()
    path = folder / "new.ckpt"
    state = {f"model.sole_model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"model": architecture}}, path)
    types = architecture["type_names"]
    transforms = [
        ChemicalSpeciesToAtomTypeMapper(model_type_names=types),
        NeighborListTransform(r_max=architecture["r_max"]),
    ]
    return NequIPCalculator(model, "cpu", transforms=transforms), path


def saved_calculator(path):
    from nequip.integrations.ase import NequIPCalculator

    return NequIPCalculator._from_saved_model(
        path, device="cpu", chemical_species_to_atom_type_map=True
    )


def loaded(name, path, species=(1, 8)):
    pretrained = read_pretrained(name, path, trust_pickle=True)
    backbone = build_backbone(name, species, pretrained.settings).double()
    pretrained.fill(backbone)
    return backbone


def features_in_their_order(backbone, atoms, data):
    """Features from our own pairs and vectors, what nequip's readout reads: of atoms or edges."""
    system = from_ase(atoms)
    pairs = build_pairs(system, backbone.cutoff)
    vectors = pair_vectors(system, pairs)
    if hasattr(backbone, "convnets"):
        return backbone.node_features(system.numbers, pairs, vectors)[-1]
    edges = backbone.edge_features(system.numbers, pairs, vectors)[0]
    keys = zip(pairs.i.tolist(), pairs.j.tolist(), *pairs.shift.long().T.tolist(), strict=True)
    place = {key: k for k, key in enumerate(keys)}
    i, j = data["edge_index"].tolist()
    shifts = data["edge_cell_shift"].round().long().T.tolist()
    return edges[[place[key] for key in zip(i, j, *shifts, strict=True)]]


def energies(calculator, backbone, atoms):
    """nequip's energy, that of its readout on our features, of nothing; and their difference."""
    modules = {
        name: each for name, each in calculator.model.named_modules()
        if name.endswith((f"func.layer{backbone.layers - 1}_convnet", "func.allegro"))
    }  # fmt: skip
    (last,) = modules.values()
    field = "node_features" if hasattr(backbone, "convnets") else "edge_features"
    found, errors = [], []
    for factor in (None, 1.0, 0.0):

        def replaced(_, __, data, factor=factor):
            if factor is not None:
                ours = features_in_their_order(backbone, atoms, data)
                errors.append(float((ours - data[field]).detach().abs().max()))
                data[field] = factor * ours.detach() + 0.0 * data[field]  # which has gradients
            return data

        hook = last.register_forward_hook(replaced)
        calculator.reset()
        found.append(calculator.get_potential_energy(atoms))
        hook.remove()
    return *found, max(errors)
