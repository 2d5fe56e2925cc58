"""Teach a finished model a polarizability surface: its energies, forces and charges stay.

The local description is fixed, so features are computed once and a fit takes a minute or two.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from lrcalc.models.backbone import Features
from lrcalc.models.enthalpy import polarizability
from lrcalc.models.potential import Potential
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from lrcalc.training.labels import same
from lrcalc.training.permittivity import stated_permittivity
from lrcalc.training.settings import check_numbers
from lrcalc.units import BOHR, COULOMB

KEYS = ("REF_polarizability", "polarizability")
"""Entries of `Atoms.info` that hold a polarizability: nine numbers or (3, 3)."""

UNITS = {"eA2/V": 1.0, "A3": 1.0 / COULOMB, "bohr3": BOHR**3 / COULOMB}
"""Units of a polarizability in e Å²/V; volumes stand for ``α/(4π ε0)``."""

LOCAL_FIELDS = ("none", "clausius-mossotti")

PLAUSIBLE_PER_ATOM = (0.2, 100.0)
"""Å³ an atom. Of free atoms He has the least, 0.205, and Cs the most, 60; condensed matter
with the largest permittivities of semiconductors (30) reaches 90."""

PLAUSIBLE_PERMITTIVITY = 50.0
"""ε_∞; narrow-gap semiconductors reach 30."""


class Settings(NamedTuple):
    """How to fit.

    Attributes
    ----------
    hidden : int
        Width of the hidden layer.
    epochs : int
    batch_size : int
        Structures per step.
    learning_rate : float
        Peak; a cosine down to zero.
    weight_decay : float
        Decoupled weight decay of AdamW.
    seed : int
        Of the initial weights and of the order of the frames.
    """

    hidden: int = 64
    epochs: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    seed: int = 0


class Sample(NamedTuple):
    """One structure, as the fit sees it."""

    features: Features
    species: Tensor
    target: Tensor


def reference_polarizability(
    atoms: Atoms, unit: str = "eA2/V", local_field: str = "none"
) -> np.ndarray | None:
    """Polarizability ``∂M/∂E`` (3, 3), e Å²/V, that a structure carries, or None.

    Parameters
    ----------
    atoms : Atoms
    unit : {"eA2/V", "A3", "bohr3"}
        Of the file.
    local_field : {"none", "clausius-mossotti"}
        ``none``: the response to the macroscopic field, ``ε_∞ = 1 + α/(ε0 V)``.
        ``clausius-mossotti``: the file has α' with ``(ε_∞ - 1)/(ε_∞ + 2) = α'/(3 ε0 V)``; it is
        turned back, ``α = α' (1 - α'/(3 ε0 V))⁻¹``.

    Raises
    ------
    ValueError
        For unknown units and conventions, wrong shapes, NaN, strong asymmetry, a tensor that is
        not positive definite, or a Clausius-Mossotti catastrophe.
    """
    if unit not in UNITS:
        raise ValueError(f"`unit` is {unit!r} but must be one of {sorted(UNITS)}")
    if local_field not in LOCAL_FIELDS:
        raise ValueError(f"`local_field` is {local_field!r} but must be one of {LOCAL_FIELDS}")
    key = next((k for k in KEYS if k in atoms.info), None)
    if key is None:
        return None
    others = [k for k in KEYS if k != key and k in atoms.info]
    if others and not same(atoms.info[key], atoms.info[others[0]]):
        raise ValueError(f"{key} and {others[0]} are both there and differ; keep one of them")
    value = np.asarray(atoms.info[key], dtype=float)
    if value.size != 9 or not np.isfinite(value).all():
        raise ValueError(
            f"{key} has {value.size} numbers but must have nine finite ones "
            "(xx xy xz yx yy yz zx zy zz)"
        )
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(
            f"the structure has pbc {atoms.pbc.tolist()}: a polarizability is learned as the "
            "response to the macroscopic field, which a slab does not have along its normal; "
            "leave it out"
        )
    full = UNITS[unit] * value.reshape(3, 3)
    alpha: np.ndarray = 0.5 * (full + full.T)
    if np.abs(full - alpha).max() > 0.05 * np.abs(full).max():
        raise ValueError(f"{key} is not symmetric: {value.tolist()}; a polarizability is")
    lowest = float(np.linalg.eigvalsh(alpha).min())
    if lowest <= 0.0:
        raise ValueError(
            f"{key} is {value.tolist()}, whose lowest eigenvalue is {lowest / UNITS[unit]:.3g}: "
            "the static polarizability of a ground state is positive definite; look at the sign "
            "and the order of the numbers, or remove the frame"
        )
    if local_field == "clausius-mossotti":
        if not atoms.pbc.all():
            raise ValueError("`local_field` clausius-mossotti needs three periodic directions")
        packing = 4.0 * math.pi * COULOMB * alpha / (3.0 * atoms.get_volume())
        if np.linalg.eigvalsh(packing).max() >= 1.0:
            raise ValueError(
                f"α/(3 ε0 V) is {np.linalg.eigvalsh(packing).max():.2f}, which Clausius and "
                "Mossotti's relation excludes; look at `unit`, or use local_field='none'"
            )
        alpha = np.linalg.solve(np.eye(3) - packing, alpha)
    return alpha


def describe_magnitude(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str:
    """One line on how large polarizabilities (e Å²/V) are, by which a wrong unit is recognised."""
    per_atom = [a.trace() / 3 * COULOMB / len(s) for s, a in zip(structures, alphas, strict=True)]
    text = f"isotropic polarizability per atom: {_range(per_atom)} Å³"
    epsilon = permittivities(structures, alphas)
    return text + (f"; ε_∞ = 1 + α/(ε0 V): {_range(epsilon)}" if epsilon else "")


def permittivities(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> list[float]:
    """Mean ε_∞ of each structure that is periodic in three directions."""
    return [
        1.0 + 4.0 * math.pi * COULOMB * float(a.trace()) / 3.0 / s.get_volume()
        for s, a in zip(structures, alphas, strict=True)
        if s.pbc.all()
    ]


def volume_per_atom(structures: Sequence[Atoms]) -> float | None:
    """Å³ that an atom fills in the mean; None unless all structures are fully periodic."""
    if not all(atoms.pbc.all() for atoms in structures):
        return None
    return sum(a.get_volume() for a in structures) / sum(len(a) for a in structures)


def warn_permittivity(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str | None:
    """One line on frames whose polarizability (e Å²/V) and stated ε_∞ differ, or None."""
    found = []
    for index, (atoms, alpha) in enumerate(zip(structures, alphas, strict=True)):
        tensor = stated_permittivity(atoms, f"frame {index}")
        made = permittivities([atoms], [alpha])
        if tensor is None or not made:
            continue
        stated = float(tensor.trace()) / 3
        if abs(made[0] - stated) > 0.1 * (stated - 1.0) + 0.01:
            found.append((index, made[0], stated))
    if not found:
        return None
    index, epsilon, stated = found[0]
    return (
        f"{len(found)} of {len(structures)} frames state another ε_∞ than their polarizability "
        f"makes (frame {index}: 1 + α/(ε0 V) = {epsilon:.3g}, stated {stated:.3g}); look at --unit "
        "and --local-field"
    )


def warn_implausible(structures: Sequence[Atoms], alphas: Sequence[np.ndarray]) -> str | None:
    """One line on frames whose polarizability (e Å²/V) no matter has, or None."""
    low, high = PLAUSIBLE_PER_ATOM
    found = []
    for index, (atoms, alpha) in enumerate(zip(structures, alphas, strict=True)):
        per_atom = float(alpha.trace()) / 3.0 * COULOMB / len(atoms)
        (epsilon,) = permittivities([atoms], [alpha]) or [1.0]
        if not low <= per_atom <= high:
            found.append(f"frame {index}: {per_atom:.3g} Å³ an atom, not {low:g} to {high:g}")
        elif epsilon > PLAUSIBLE_PERMITTIVITY:
            found.append(f"frame {index}: ε_∞ {epsilon:.3g}, above {PLAUSIBLE_PERMITTIVITY:g}")
    if not found:
        return None
    return (
        f"{len(found)} of {len(structures)} frames have polarizabilities that no insulator has "
        f"(first: {found[0]}); look at --unit and --local-field, or remove them"
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def make_samples(
    potential: Potential, structures: Sequence[Atoms], targets: Sequence[np.ndarray]
) -> list[Sample]:
    """Features and what the surface has to add to the model's own response."""
    screening = potential.screening
    samples = []
    for atoms, target in zip(structures, targets, strict=True):
        system = from_ase([atoms])
        potential.check_species(system.numbers)
        pairs = build_pairs(system, potential.cutoff)
        with torch.no_grad():
            vectors = pair_vectors(system, pairs).to(potential.dtype)
            features = potential.backbone(system, pairs, vectors)
            rest = torch.from_numpy(target)
            if "i" in potential.config["level"]:
                terms = potential(system, pairs, surface=False)
                rest = rest - polarizability(system, terms, screening)[0]
        species = potential.species_of_number[system.numbers]
        samples.append(Sample(features, species, rest))
    return samples


def fit_surface(
    potential: Potential,
    train: Sequence[Sample],
    valid: Sequence[Sample],
    settings: Settings,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Potential:
    """Return a copy of ``potential`` with a polarizability surface fitted to ``train``.

    Parameters
    ----------
    potential : Potential
        Unchanged; a surface that it has is replaced.
    train, valid : sequence of Sample
        From `make_samples`; the validation part chooses the epoch that is kept.
    settings : Settings
    report : callable, optional
        Called with ``{"epoch", "train", "valid"}``, errors (RMSE of a component, e Å²/V).

    Raises
    ------
    ValueError
        Without training or validation samples, or if the fit diverges.
    """
    check_numbers(settings._asdict())
    if not train or not valid:
        raise ValueError(
            f"{len(train)} training and {len(valid)} validation structures are too few"
        )
    potential = copy.deepcopy(potential)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        surface = potential.add_surface(settings.hidden)
    surface.requires_grad_(True)
    targets = torch.stack([s.target for s in train])
    mean_atoms = sum(len(s.species) for s in train) / len(train)
    with torch.no_grad():
        spread = float((targets - targets.mean(0)).square().mean().sqrt())
        # outputs are per atom and independent, so the cell's spread is √N times theirs
        surface.unit.fill_(3.0 * max(spread, 1e-3 * float(targets.abs().max())) / mean_atoms**0.5)
        mean = float(targets.diagonal(dim1=1, dim2=2).mean())
        surface.constant.fill_(mean / mean_atoms / float(surface.unit))
    optimizer = torch.optim.AdamW(
        surface.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.epochs))
    generator = torch.Generator().manual_seed(settings.seed)
    best, best_state = math.inf, copy.deepcopy(surface.state_dict())
    for epoch in range(settings.epochs):
        order = torch.randperm(len(train), generator=generator).tolist()
        total = 0.0
        for start in range(0, len(order), settings.batch_size):
            chosen = [train[k] for k in order[start : start + settings.batch_size]]
            squares = _residual(potential, chosen).square()
            loss = squares.mean() / (float(surface.unit) ** 2 * mean_atoms)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(squares.detach().mean((1, 2)).sum())
        schedule.step()
        with torch.no_grad():
            error = float(_residual(potential, valid).square().mean().sqrt())
        if not math.isfinite(error):
            raise ValueError(
                f"the fit diverged in epoch {epoch + 1}; lower the learning rate "
                f"(now {settings.learning_rate:g})"
            )
        if error < best:
            best, best_state = error, copy.deepcopy(surface.state_dict())
        if report:
            report({"epoch": epoch + 1, "train": (total / len(train)) ** 0.5, "valid": error})
    surface.load_state_dict(best_state)
    surface.requires_grad_(False)
    return potential


def _residual(potential: Potential, samples: Sequence[Sample]) -> Tensor:
    """Model minus data of several structures, (S, 3, 3), e Å²/V."""
    surface = potential.surface
    assert surface is not None
    features = Features(*(torch.cat(x) for x in zip(*(s.features for s in samples), strict=True)))
    species = torch.cat([s.species for s in samples])
    counts = torch.tensor([len(s.species) for s in samples])
    batch = torch.repeat_interleave(torch.arange(len(samples)), counts)
    made = surface(features, species, batch, len(samples))
    return made - torch.stack([s.target for s in samples])
