"""The MACE backbone: against MACE itself, the promises, its constants, and what it refuses."""

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc.models.backbone import build_backbone
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from lrcalc.testing import check_backbone

pytest.importorskip("mace", reason="mace-torch is not installed: make test-mace")

SMALL = {"cutoff": 4.0, "hidden_irreps": "4x0e + 4x1o", "max_ell": 2, "radial_MLP": [8]}
NONLINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
DENSITY = "RealAgnosticDensityInteractionBlock"


def built(species=(1, 8), seed=0, **settings):
    torch.manual_seed(seed)
    return build_backbone("mace", species, {**MACE_DEFAULTS, **SMALL, **settings})


def foreign(dtype=torch.float32, cls="ScaleShiftMACE", seed=3, **changes):
    """A MACE model of MACE's own making, random and scripted as it comes."""
    from e3nn import o3

    from lrcalc.models.adapters.foreign_import import quiet
    from lrcalc.models.adapters.mace_import import import_mace

    modules = import_mace()
    block = modules.RealAgnosticResidualInteractionBlock
    known = {
        "r_max": 4.3, "num_bessel": 5, "num_polynomial_cutoff": 6, "max_ell": 2,
        "interaction_cls": block, "interaction_cls_first": block, "num_interactions": 2,
        "num_elements": 3, "hidden_irreps": o3.Irreps("4x0e + 4x1o"),
        "MLP_irreps": o3.Irreps("4x0e"), "atomic_energies": np.zeros(3), "avg_num_neighbors": 7.3,
        "atomic_numbers": [1, 6, 8], "correlation": 2, "gate": torch.nn.functional.silu,
        "radial_MLP": [8, 8],
    }  # fmt: skip
    if cls == "ScaleShiftMACE":
        known |= {"atomic_inter_scale": 1.7, "atomic_inter_shift": 0.3}
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    try:
        torch.set_default_dtype(dtype)
        with quiet():
            return getattr(modules, cls)(**{**known, **changes})
    finally:
        torch.set_default_dtype(before)


def molecules():
    """A skew box with three elements."""
    rng = np.random.default_rng(0)
    cell = 5.5 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3) / 2
    positions = (grid + 0.05 * rng.normal(size=grid.shape)) @ cell
    return Atoms("CH4O2H", positions=positions, cell=cell, pbc=True)


def looked(backbone, atoms):
    system = from_ase(atoms)
    pairs = build_pairs(system, backbone.cutoff)
    dtype = backbone.scale.dtype
    return system, pairs, pair_vectors(system, pairs).to(dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden_irreps": "4x0e", "full_last": False, "num_interactions": 3},
        {"hidden_irreps": "3x0e + 3x1o + 3x2e", "num_interactions": 1,
         "interaction_first": DENSITY},
        # (a seed with which the cubic at the cutoff is not small beside the quartic)
        {"interaction_first": NONLINEAR, "interaction": NONLINEAR, "apply_cutoff": False,
         "seed": 1},
    ],
    ids=["vectors", "scalars", "tensors", "nonlinear"],
)  # fmt: skip
def test_it_keeps_the_promises_of_a_backbone(settings):
    errors = check_backbone(built(**settings))
    assert errors["rotation"] < 1e-12
    assert errors["isolated"] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_of_a_file_are_those_of_mace(dtype):
    """Bit by bit but for the sum: edges, their sense and all constants are MACE's."""
    from lrcalc.models.adapters.mace import build, load_weights, settings_of

    model = foreign(dtype)
    backbone = build((1, 6, 8), **settings_of(model), subtract_isolated=False).double()
    load_weights(backbone, model)
    model = model.double()
    atoms = molecules()
    system, pairs, vectors = looked(backbone, atoms)
    numbers = model.atomic_numbers
    data = {
        "positions": system.positions, "cell": system.cell[0], "batch": system.batch,
        "ptr": torch.tensor([0, len(atoms)]),
        "node_attrs": (system.numbers[:, None] == numbers).double(),
        "edge_index": torch.stack([pairs.i, pairs.j]), "unit_shifts": pairs.shift.double(),
        "shifts": pairs.shift.double() @ system.cell[0], "head": torch.tensor([0]),
    }  # fmt: skip
    theirs = model(data, compute_force=False)["node_feats"]
    layers = backbone.node_features(system.numbers, pairs, vectors)
    torch.testing.assert_close(torch.cat(layers, 1), theirs, rtol=0, atol=1e-13)
    features = backbone(system, pairs, vectors)
    torch.testing.assert_close(features.scalars, torch.cat([theirs[:, :4], theirs[:, 16:]], 1))
    torch.testing.assert_close(features.vectors.flatten(1), theirs[:, 4:16])
    assert theirs.abs().max() > 0.1
