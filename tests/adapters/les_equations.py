"""Energy of MACE-LES models by the published equations, from MACE's own readouts.

Kim, King, Park, Savoj, Hamel, Wang, Cheng, arXiv:2605.05746, evaluated plainly: every wave and
every pair by itself, and nothing of lrcalc's. In torch for the sake of the forces.
"""

import itertools
import math

import torch

from tests.adapters.mace_batch import batch_of


def evaluate(mace, atoms, head=0):
    """Energies, forces and moments of a model, see `latent_moments` and `electrostatic_energy`."""
    from mace.modules import ScaleShiftMACE

    nodes = []
    hooks = [p.register_forward_hook(lambda *a: nodes.append(a[-1])) for p in mace.products]
    try:
        with batch_of(mace, atoms, head) as batch:
            short = ScaleShiftMACE.forward(mace, batch, compute_force=False)["energy"]
            moments = latent_moments(mace, nodes[-len(mace.readouts) :], head)
            ewald = mace.les.ewald
            cell = batch["cell"] if atoms.pbc.all() else None
            long, responses = electrostatic_energy(
                batch["positions"], cell, moments, ewald.sigma, 2.0 * math.pi / ewald.dl,
                ewald.norm_factor, ewald.remove_self_interaction,
            )  # fmt: skip
            total = short[0] + long
            (slope,) = torch.autograd.grad(total, batch["positions"])
    finally:
        [hook.remove() for hook in hooks]
    found = {name: value.detach().numpy() for name, value in {**moments, **responses}.items()}
    energies = {"energy": float(total.detach()), "les_energy": float(long.detach())}
    return {**energies, "forces": -slope.numpy(), **found}


def latent_moments(mace, nodes, head=0):
    """Charges and other moments from the features of the layers, with MACE's own readouts."""
    heads = torch.full((len(nodes[0]),), head)

    def numbers(stack):
        return [r(x, heads)[:, head] for r, x in zip(stack, nodes, strict=True)]

    def each(stack):
        return [r(x) for r, x in zip(stack, nodes, strict=True)] if len(stack) else []

    unit = torch.eye(3, dtype=torch.float64)
    found = {"charge": mace.les_output_scale * sum(numbers(mace.les_readouts))}
    if len(mace.les_u_readouts):
        found["dipole"] = mace.les_output_scale * sum(each(mace.les_u_readouts))
    quads = each(mace.les_quad_1o_readouts) + [
        torch.einsum("kab,nk->nab", mace.change_of_basis_quads, x)
        for x in each(mace.les_quad_2e_readouts)
    ]
    if quads:
        total = mace.les_output_scale * sum(quads)
        trace = torch.einsum("naa->n", total)
        found["quadrupole"] = total - trace[:, None, None] * unit / 3.0
    if len(mace.les_kappa_readouts):
        kappa = mace.les_kappa_scale * sum(numbers(mace.les_kappa_readouts))
        found["capacitance"] = kappa**2 if mace.make_kappa_positive else kappa
    if mace.use_induced_dipoles:
        alphas = each(mace.les_alpha_1o_readouts) + [
            torch.einsum("kab,nk->nab", mace.change_of_basis, x)
            for x in each(mace.les_alpha_2e_readouts)
        ]
        if len(mace.les_alpha_readouts):
            alphas += [x[:, None, None] * unit for x in numbers(mace.les_alpha_readouts)]
        alpha = mace.les_alpha_scale * sum(alphas)
        found["polarizability"] = alpha @ alpha.mT if mace.make_alpha_positive else alpha
    return found


def electrostatic_energy(positions, cell, moments, sigma, k_cutoff, strength, no_self):
    """Permanent energy and that of the linear response; ``strength`` is 1/(2ε0), eV Å/e²."""
    n = len(positions)
    q = moments["charge"]
    u = moments.get("dipole", q.new_zeros(n, 3))
    quad = moments.get("quadrupole", q.new_zeros(n, 3, 3))
    field = _waves if cell is not None else _pairs
    energy, potential, force = field(positions, cell, q, u, quad, sigma, k_cutoff, strength)
    norm = (2.0 * math.pi) ** 1.5
    own = strength * (
        (q**2).sum() / (sigma * norm)
        + (u**2).sum() / (3.0 * sigma**3 * norm)
        + (quad**2).sum() / (10.0 * sigma**5 * norm)
    )
    # sums over waves have what each site does to itself, sums over pairs have not
    sign = -1.0 if cell is not None and no_self else 1.0 if cell is None and not no_self else 0.0
    energy = energy + sign * own
    potential = potential + sign * 2.0 * strength * q / (sigma * norm)
    force = force - sign * 2.0 * strength * u / (3.0 * sigma**3 * norm)
    found = {}
    if "capacitance" in moments:
        found["induced_charge"] = -moments["capacitance"] * potential
        energy = energy + 0.5 * (found["induced_charge"] * potential).sum()
    if "polarizability" in moments:
        found["induced_dipole"] = torch.einsum("nab,nb->na", moments["polarizability"], force)
        energy = energy - 0.5 * (found["induced_dipole"] * force).sum()
    return energy, found


def _waves(positions, cell, q, u, quad, sigma, k_cutoff, strength):
    volume = torch.linalg.det(cell).abs()
    inverse = 2.0 * math.pi * torch.linalg.inv(cell).T
    energy, potential, force = 0.0, torch.zeros_like(q), torch.zeros_like(u)
    most = [math.ceil(k_cutoff * float(row.detach().norm()) / (2.0 * math.pi)) for row in cell]
    for numbers in itertools.product(*(range(-m, m + 1) for m in most)):
        k = torch.tensor(numbers, dtype=q.dtype) @ inverse
        square = float((k @ k).detach())
        if not 0.0 < square <= k_cutoff**2:
            continue
        weight = strength / volume * math.exp(-0.5 * sigma**2 * square) / square
        phase = torch.exp(1j * (positions @ k))
        amplitude = ((q + 1j * (u @ k) - 0.5 * (quad @ k) @ k) * phase).sum()
        energy = energy + weight * amplitude.abs() ** 2
        felt = 2.0 * weight * amplitude * phase.conj()
        potential = potential + felt.real
        force = force - felt.imag[:, None] * k
    return energy, potential, force


def _pairs(positions, cell, q, u, quad, sigma, k_cutoff, strength):
    def kernel(d):
        r = torch.sqrt(d @ d)
        return strength / (2.0 * math.pi) * torch.erf(r / (math.sqrt(2.0) * sigma)) / r

    kernels = [kernel]
    for _ in range(4):
        kernels.append(torch.func.jacrev(kernels[-1]))
    i, j = (x.flatten() for x in torch.meshgrid(*[torch.arange(len(q))] * 2, indexing="ij"))
    i, j = i[i != j], j[i != j]
    g = [torch.func.vmap(k)(positions[i] - positions[j]) for k in kernels]
    # of j's moments, and one and two derivatives at i
    made = [
        torch.einsum("p,p...->p...", q[j], g[k])
        - torch.einsum("pa,pa...->p...", u[j], g[k + 1])
        + 0.5 * torch.einsum("pab,pab...->p...", quad[j], g[k + 2])
        for k in range(3)
    ]
    potential, gradient, curvature = (
        torch.zeros(len(q), *x.shape[1:], dtype=q.dtype).index_add(0, i, x) for x in made
    )
    energy = 0.5 * ((q * potential).sum() + (u * gradient).sum() + 0.5 * (quad * curvature).sum())
    return energy, potential, -gradient
