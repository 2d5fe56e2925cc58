"""Ghosts instead of periodic pairs: energies of owned atoms, forces handed back to owners."""

import pytest
import torch

from lrcalc import from_ase, predict
from lrcalc.electrostatics import electrostatic_energy
from lrcalc.fields import Field
from lrcalc.models.explicit_images import explicit_images
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.electrostatics.test_energy import CELL, system
from tests.sample_structures import cluster, water_box


def with_ghosts(system, reach):
    """The same structures with the images within reach as atoms, and whose they are."""
    images = explicit_images(system, reach)
    positions = images.system.positions.detach()
    owned = torch.zeros(len(positions), dtype=torch.bool)
    owned[images.primary] = True
    ghosts = images.system._replace(
        positions=positions, cell=system.cell, pbc=system.pbc, owned=owned
    )
    return ghosts, images


@pytest.mark.parametrize("charges", ["local", "atomic"])
@pytest.mark.parametrize("level", ["sr", "u", "uQ", "uiu"])
def test_ghosts_give_what_periodic_pairs_give(level, charges):
    box = water_box(n=3)
    potential = random_potential(box, level=level, charges=charges, accuracy=1e-6)
    for structures in ([box], [box, cluster()]):
        system = from_ase(structures)
        asked = ["energy", "forces"] + (["stress"] if len(structures) == 1 else [])
        expected = predict(potential, system, properties=asked)
        ghosts, images = with_ghosts(system, potential.cutoff + 3.5)
        assert len(ghosts.numbers) > 4 * len(system.numbers)
        pairs = build_pairs(images.system, potential.cutoff)
        found = predict(potential, ghosts, pairs, properties=asked)
        torch.testing.assert_close(found["energy"], expected["energy"], rtol=1e-10, atol=1e-9)
        if "stress" in asked:
            torch.testing.assert_close(found["stress"], expected["stress"], rtol=1e-8, atol=1e-9)
        forces = torch.zeros_like(expected["forces"])
        forces.index_add_(0, images.origin, found["forces"])
        torch.testing.assert_close(forces, expected["forces"], rtol=1e-8, atol=1e-8)


def test_what_ghosts_cannot_have_is_refused():
    box = water_box(n=3)
    potential = random_potential(box, level="u")
    ghosts, images = with_ghosts(from_ase(box), potential.cutoff)
    pairs = build_pairs(images.system, potential.cutoff)
    with pytest.raises(ValueError, match="`pairs` is None"):
        predict(potential, ghosts)
    with pytest.raises(ValueError, match="'dipole'"):
        predict(potential, ghosts, pairs, properties="dipole")
    with pytest.raises(ValueError, match="a field"):
        predict(potential, ghosts, pairs, Field("electric_field", (0.1, 0.0, 0.0)))
    flowing = random_potential(box, level="uiq")
    with pytest.raises(ValueError, match=r"multipoles.pair.*ghost"):
        predict(flowing, ghosts, pairs)
    r, m = system("u")
    with pytest.raises(ValueError, match=r"`owned` is .* \(5,\)"):
        flowing.ewald(r, CELL, m, owned=torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize("iterations", [0, None])
def test_the_sum_runs_over_owned_atoms(iterations):
    r, m = system("uQiqiu")
    ewald = random_potential(water_box(n=3), level="u").ewald
    ewald.iterations, ewald.method = iterations, "direct"
    twice = type(m)(*(x.repeat_interleave(2, 0) for x in m[:5]))
    owned = torch.tensor([True, False] * 6)
    found = ewald(r.repeat_interleave(2, 0), CELL, twice, owned=owned, with_field=True)
    exact = electrostatic_energy(
        r, CELL, m, with_field=True, method="direct", accuracy=ewald.accuracy,
        k_cutoff=ewald.k_cutoff, iterations=iterations,
    )  # fmt: skip
    assert float(found.energy) == float(exact.energy)
    for name in ("potential", "field", "induced_charge", "induced_dipole", "atomic_energy"):
        assert torch.equal(getattr(found, name)[owned], getattr(exact, name))
        assert not getattr(found, name)[~owned].any()
