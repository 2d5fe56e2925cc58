"""A periodic cell, and the same with its images given as ghosts and pairs from outside."""

import pytest
import torch

from lrcalc import Field, from_ase, predict
from lrcalc.electrostatics import electrostatic_energy
from lrcalc.models import backbone as backbones
from lrcalc.models.backbone import register_backbone
from lrcalc.models.card import VOLUME_PER_ATOM
from lrcalc.models.explicit_images import ExplicitImages, explicit_images
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.electrostatics.test_energy import CELL
from tests.electrostatics.test_energy import system as electrostatic_system
from tests.models.test_backbone import Messages
from tests.sample_structures import cluster, water_box

WANTED = ("energy", "forces", "stress", "dipole", "polarization", "charges",
          "born_effective_charges")  # fmt: skip


def with_ghosts(system, potential, reach):
    """The system with images as ghosts, their pairs, and whose images they are."""
    images = explicit_images(system, reach)
    owned = torch.zeros(len(images.origin), dtype=torch.bool)
    owned[images.primary] = True
    pairs = build_pairs(images.system, potential.cutoff)
    ghosts = images.system._replace(cell=system.cell, pbc=system.pbc, owned=owned)
    return ghosts, pairs, images


def folded(values, images):
    """Add rows of ghosts to the atoms that they are images of."""
    total = values.new_zeros((len(images.primary), *values.shape[1:]))
    return total.index_add(0, images.origin, values)


@pytest.mark.parametrize("field", [None, Field("electric_field", (0.02, -0.01, 0.03))])
@pytest.mark.parametrize(
    ("level", "options"),
    [
        ("sr", {}),
        ("uQ", {}),
        ("q", {"transfer_hops": 2}),
        ("u", {"charges": "atomic"}),
        ("uiu", {"anisotropic": True, "surface": 4}),
        ("u", {"backbone": "messages", "width": 6}),
    ],
    ids=str,
)
def test_ghosts_are_the_images_of_a_periodic_cell(level, options, field, monkeypatch):
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    register_backbone("messages", Messages, {"cutoff": 4.0, "width": 8})
    system = from_ase(water_box(n=3))
    cutoff = {"cutoff": 3.0, "transfer_cutoff": 2.5}
    potential = random_potential(water_box(n=3), level=level, **cutoff, **options)
    names = {"energy", "forces"} if level == "sr" else set(WANTED)
    if level == "uiu":
        names |= {"polarizability", "dielectric_tensor"}
    if options.get("charges") == "atomic":
        names -= {"stress", "dipole", "polarization"}  # not in a field, or by wrapped positions
    if level == "sr" and field is not None:
        return
    given = {"field": field, "properties": names}
    expected = predict(potential, system, build_pairs(system, potential.cutoff), **given)
    ghosts, pairs, images = with_ghosts(system, potential, potential.reach + 0.01)
    result = predict(potential, ghosts, pairs, **given)
    for name in ("forces", "born_effective_charges"):
        if name in result:
            result[name] = folded(result[name], images)
    if "charges" in result:
        assert not result["charges"][~ghosts.owned].any()
        result["charges"] = result["charges"][images.primary]
    for name in names:
        torch.testing.assert_close(result[name], expected[name], rtol=0, atol=1e-10, msg=name)
    assert expected["forces"].abs().max() > 1e-2
    if "charges" in names:
        # ghosts out to the cutoff alone do not hear all that decides what they hand out
        ghosts, pairs, images = with_ghosts(system, potential, potential.cutoff)
        poor = predict(potential, ghosts, pairs, field=field, properties="energy")["energy"]
        enough = options.get("charges") == "atomic"
        assert bool((poor - expected["energy"]).abs().max() < 1e-10) == enough


@pytest.mark.parametrize("field", [None, Field("electric_field", (0.02, -0.01, 0.03))])
@pytest.mark.parametrize("shape", ["slab", "cluster"])
@pytest.mark.parametrize(
    "options",
    [{"level": "uiu", "anisotropic": True}, {"level": "q", "charges": "atomic", "layers": 2}],
    ids=str,
)
def test_ghosts_do_not_fill_what_is_depolarised(options, shape, field):
    """A surface's response to the field outside depends on how much matter there is: not ghosts."""
    box = water_box(n=3)
    potential = random_potential(box, surface=4, cutoff=3.0, transfer_cutoff=2.5, **options)
    potential.metadata["polarizability"] = {VOLUME_PER_ATOM: 10.0}
    names = {"energy", "forces", "polarizability", "polarizability_derivative",
             "born_effective_charges"}  # fmt: skip
    if shape == "slab":
        box.pbc = [True, True, False]
        box.center(4.0, axis=2)
        system = from_ase(box)
        ghosts, pairs, images = with_ghosts(system, potential, potential.reach + 0.01)
    else:  # which has no images: each atom again, as another domain would know it
        system = from_ase(cluster())
        n = len(system.numbers)
        once = build_pairs(system, potential.cutoff)
        ghosts = system._replace(
            positions=system.positions.repeat(2, 1), numbers=system.numbers.repeat(2),
            batch=system.batch.repeat(2), owned=torch.arange(2 * n) < n,
        )  # fmt: skip
        joined = (torch.cat([x, x + add]) for x, add in zip(once[:3], (n, n, 0), strict=True))
        pairs = type(once)(*joined)
        images = ExplicitImages(
            ghosts, torch.arange(n).repeat(2), torch.arange(n), torch.zeros(2 * n, 3)
        )
    expected = predict(potential, system, field=field, properties=names)
    result = predict(potential, ghosts, pairs, field=field, properties=names)
    for name in names:
        value = result[name]
        if len(value) == len(ghosts.numbers):
            value = folded(value, images)
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-9, msg=name)
    assert expected["polarizability"].abs().max() > 1e-2


def test_ghosts_of_a_batch():
    """A box and a cluster, which has no images, in one call."""
    box = water_box(n=3)
    potential = random_potential(box, level="u", cutoff=3.0, transfer_cutoff=2.5)
    system = from_ase([box, cluster()])
    expected = predict(potential, system)
    ghosts, pairs, images = with_ghosts(system, potential, potential.reach + 0.01)
    result = predict(potential, ghosts, pairs)
    torch.testing.assert_close(result["energy"], expected["energy"], rtol=0, atol=1e-10)
    forces = folded(result["forces"], images)
    torch.testing.assert_close(forces, expected["forces"], rtol=0, atol=1e-10)


def test_what_ghosts_cannot_have_is_refused():
    box = water_box(n=3)
    potential = random_potential(box, level="uiq", cutoff=3.0)
    ghosts, pairs, _ = with_ghosts(from_ase(box), potential, potential.cutoff)
    with pytest.raises(ValueError, match="`pairs` is None"):
        predict(potential, ghosts)
    with pytest.raises(ValueError, match="'quadrupole'"):
        predict(potential, ghosts, pairs, properties="quadrupole")
    with pytest.raises(ValueError, match=r"multipoles.pair.*ghost"):
        predict(potential, ghosts, pairs)
    r, m = electrostatic_system("u")
    with pytest.raises(ValueError, match=r"`owned` is .* \(5,\)"):
        potential.ewald(r, CELL, m, owned=torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize("iterations", [0, None])
def test_the_sum_runs_over_owned_atoms(iterations):
    r, m = electrostatic_system("uQiqiu")
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
