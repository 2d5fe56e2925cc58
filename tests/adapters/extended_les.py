"""MACE-LES models as MACE's main branch has made them since August 2026, with random weights.

mace-torch 0.3.16 has none of it. What is here are doubles: MACE's own layers and readouts of
0.3.16, and classes and attributes of the names, shapes and meaning that the main branch has.
"""

import types

import torch
from torch import nn


class LinearLesReadoutBlock(nn.Module):
    """Sum of weighted dyads of vectors, (N, 3, 3)."""

    def __init__(self, irreps_in, make_w_pos=True):
        from e3nn import o3

        super().__init__()
        self.irreps_in, self.make_w_pos, self.ir_mul = irreps_in, make_w_pos, False
        self.linear = o3.Linear(irreps_in, irreps_in)
        self.n_scalar, self.n_1o, self.n_1e = irreps_in.count("0e"), irreps_in.count("1o"), 0
        self.scalar_to_weight_1o = nn.Linear(self.n_scalar, self.n_1o)
        self.scalar_to_weight_1e = None

    def forward(self, x):
        mixed = self.linear(x)
        weights = self.scalar_to_weight_1o(mixed[:, : self.n_scalar])
        vectors = mixed[:, self.n_scalar :][:, : 3 * self.n_1o].view(len(x), -1, 3)
        return ((weights**2 if self.make_w_pos else weights)[..., None] * vectors).mT @ vectors


class NonLinearLesReadoutBlock(nn.Module):
    """Sum of dyads of vectors that a network mixes, (N, 3, 3)."""

    def __init__(self, irreps_in, hidden_dim=32):
        from e3nn import o3

        super().__init__()
        self.irreps_in, self.ir_mul = irreps_in, False
        self.linear = o3.Linear(irreps_in, irreps_in)
        self.n_scalar, self.n_1o = irreps_in.count("0e"), irreps_in.count("1o")
        self.mlp = nn.Sequential(
            nn.Linear(self.n_scalar, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, self.n_1o**2)
        )

    def forward(self, x):
        mixed = self.linear(x)
        vectors = mixed[:, self.n_scalar :][:, : 3 * self.n_1o].view(len(x), -1, 3)
        mixing = self.mlp(mixed[:, : self.n_scalar]).view(len(x), self.n_1o, self.n_1o)
        return vectors.mT @ (0.5 * (mixing + mixing.mT)) @ vectors


LES = {
    "n_layers": 3, "n_hidden": [32, 16], "add_linear_nn": True, "output_scaling_factor": 0.1,
    "remove_mean": True, "epsilon_factor": 1.0, "use_atomwise": False,
    "use_fixed_atomic_charges": False, "fixed_atomic_charges_scaling_factor": 0.5,
    "use_atomic_alpha": False, "use_epsilon_r_scaling": False, "is_periodic": None, "N_max": 10,
}  # fmt: skip
EWALD = {"sigma": 1.1, "dl": 2.0, "norm_factor": 90.4756, "remove_self_interaction": True}


def les_object(**changes):
    """Return an object of the `les` package and its module, which is not installed."""
    module = types.ModuleType("les.les")
    for name in ("Les", "Ewald", "FixedCharges", "AtomicAlpha"):
        setattr(module, name, type(name, (nn.Module,), {"__module__": "les.les"}))
    les, ewald = module.Les(), module.Ewald()
    for name, known in EWALD.items():
        setattr(ewald, name, changes.get(name, known))
    for name, known in LES.items():
        setattr(les, name, changes.get(name, known))
    les.ewald, les.fixed_charges, les.atomic_alpha = ewald, module.FixedCharges(), None
    les.fixed_charges.register_buffer("charges", torch.ones(5))
    return les, module


def add_moments(mace, **options):
    """See `_add_moments`."""
    from lrcalc.models.adapters.foreign_import import quiet

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with quiet():
            return _add_moments(mace, **options)
    finally:
        torch.set_default_dtype(before)


def _add_moments(mace, *, seed=4, **les_arguments):
    """Turn a ScaleShiftMACE into a MACELES of the main branch, with its `les_arguments`.

    Returns
    -------
    (mace, module)
        ``module`` stands for the `les` package while it is pickled.
    """
    from mace.modules import blocks
    from mace.modules.extensions import MACELES, _copy_mace_readout

    if seed is not None:
        torch.manual_seed(seed)
    given = les_arguments.get
    mace.les_output_scale = given("output_scale", 0.1)
    mace.les_kappa_scale, mace.les_alpha_scale = (
        given("kappa_scale", 0.01),
        given("alpha_scale", 0.01),
    )
    mace.use_dipoles, mace.use_quads = given("use_dipole", False), given("use_quad", False)
    mace.use_induced_charges = given("use_induced_charge", False)
    mace.use_induced_dipoles = given("use_induced_dipole", False)
    mace.use_anisotropic_polarizability = given("use_anisotropic_polarizability", False)
    mace.alpha_irreps = given("alpha_irreps", "0e+1o+2e")
    mace.alpha_1o_nonlinear_readout = given("alpha_1o_nonlinear_readout", False)
    mace.alpha_1o_linear_w_pos = given("alpha_1o_linear_w_pos", True)
    mace.make_alpha_positive = given("make_alpha_positive", False)
    mace.make_kappa_positive = given("make_kappa_positive", False)
    mace.compute_bec, mace.bec_output_index = False, None
    mace.les, module = les_object(**{k: v for k, v in les_arguments.items() if k in EWALD | LES})
    stacks = ["", "u_", "quad_2e_", "quad_1o_", "alpha_", "alpha_1o_", "alpha_2e_", "kappa_"]
    for stack in stacks:
        setattr(mace, f"les_{stack}readouts", nn.ModuleList())
    irreps = mace.readouts[0].linear.irreps_in
    basis = matrices()

    def dyads(positive):
        if mace.alpha_1o_nonlinear_readout:
            return NonLinearLesReadoutBlock(irreps)
        return LinearLesReadoutBlock(irreps, positive)

    def linear(irreps_out):
        from e3nn import o3

        return blocks.LinearReadoutBlock(irreps, o3.Irreps(irreps_out))

    for readout in mace.readouts:
        mace.les_readouts.append(_copy_mace_readout(readout))
        if mace.use_dipoles:
            mace.les_u_readouts.append(linear("1x1o"))
        if mace.use_quads and "2e" in str(irreps):
            mace.les_quad_2e_readouts.append(linear("1x2e"))
            mace.register_buffer("change_of_basis_quads", basis[1:])
        if mace.use_quads and "1o" in str(irreps):
            mace.les_quad_1o_readouts.append(dyads(False))
        if mace.use_induced_charges:
            mace.les_kappa_readouts.append(_copy_mace_readout(readout))
        tensor = mace.use_induced_dipoles and mace.use_anisotropic_polarizability
        if tensor and "2e" in str(irreps) and "2e" in mace.alpha_irreps:
            mace.les_alpha_2e_readouts.append(linear("1x0e + 1x2e"))
            mace.register_buffer("change_of_basis", basis)
        if tensor and "1o" in str(irreps) and "1o" in mace.alpha_irreps:
            mace.les_alpha_1o_readouts.append(dyads(mace.alpha_1o_linear_w_pos))
        if mace.use_induced_dipoles and (not tensor or "0e" in mace.alpha_irreps):
            mace.les_alpha_readouts.append(_copy_mace_readout(readout))
    mace.__class__ = MACELES
    return mace.double(), module


def matrices():
    """Return e3nn's own matrices of 1x0e + 1x2e, (6, 3, 3)."""
    from e3nn.io import CartesianTensor

    return CartesianTensor("ij=ji").reduced_tensor_products().change_of_basis.double()


class moments_known:
    """While it is entered, `mace.modules.blocks` has the readouts of dyads, to be pickled."""

    classes = (LinearLesReadoutBlock, NonLinearLesReadoutBlock)

    def __enter__(self):
        from mace.modules import blocks

        for each in self.classes:
            each.__module__ = "mace.modules.blocks"
            setattr(blocks, each.__name__, each)

    def __exit__(self, *error):
        from mace.modules import blocks

        for each in self.classes:
            each.__module__ = __name__
            delattr(blocks, each.__name__)
