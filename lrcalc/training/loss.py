"""Loss and error measures: a table of residuals, each with its weight and what it needs.

Energies, forces and stresses are compared on every batch; electrical labels, which few frames may
have, on a batch of their own (`LabelledBatch`), so that their weights mean the same however few
frames carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lrcalc.models.enthalpy import latent_susceptibility
from lrcalc.models.potential import Potential
from lrcalc.models.terms import Terms
from lrcalc.neighbors import Pairs, pair_vectors
from lrcalc.prediction import Options, Prediction, call_model, predict
from lrcalc.system import System
from lrcalc.training.ranks import Ranks
from lrcalc.training.settings import TrainingSettings
from lrcalc.training.static import static_permittivity

if TYPE_CHECKING:
    from lrcalc.training.data import Batch

Errors = dict[str, Tensor]
"""Term → residual of one batch, data minus model."""


class LabelledBatch(NamedTuple):
    """Structures with electrical labels, as one system.

    Attributes
    ----------
    system : System
        Labelled structures, and those whose dipole is taken off.
    pairs : Pairs
    values : dict of str to Tensor
        Label → values: of K atoms (born), or K structures.
    rows : dict of str to Tensor
        Label → atoms (born), or structures, that the values are of, (K,) int64.
    n_atoms : Tensor, shape (S,)
    minus : Tensor, shape (S,), int64
        Structure whose dipole is taken off, or -1.
    """

    system: System
    pairs: Pairs
    values: dict[str, Tensor]
    rows: dict[str, Tensor]
    n_atoms: Tensor
    minus: Tensor


def _born(made: Prediction, batch: LabelledBatch) -> Tensor:
    return batch.values["born"] - made.born[batch.rows["born"]]


def _dipole(made: Prediction, batch: LabelledBatch) -> Tensor:
    """Difference (K, 3) over √N; of periodic structures modulo the quanta ``e a_k``."""
    rows, moments = batch.rows["dipole"], made.dipole
    before = batch.minus[rows]
    moment = moments[rows] - torch.where(before[:, None] < 0, 0.0, moments[before])
    difference = batch.values["dipole"] - moment
    system = batch.system
    # least squares over the periodic directions, whichever they are
    periodic = system.pbc[rows]
    cell = system.cell[rows].double() * periodic[:, :, None]
    overlap = cell @ cell.transpose(1, 2) + torch.diag_embed((~periodic).double())
    along = torch.einsum("kb,kab->ka", difference.detach(), cell)
    quanta = torch.einsum("ka,kab->kb", along, torch.linalg.inv_ex(overlap)[0]).round()
    difference = difference - torch.einsum("kb,kbc->kc", quanta, cell)
    return difference / batch.n_atoms[rows].sqrt()[:, None]


def _polarizability(made: Prediction, batch: LabelledBatch) -> Tensor:
    rows = batch.rows["polarizability"]
    difference = batch.values["polarizability"] - made.polarizability[rows]
    return difference / batch.n_atoms[rows].sqrt()[:, None, None]


def _epsilon_infinity(made: Prediction, batch: LabelledBatch) -> Tensor:
    rows = batch.rows["epsilon_infinity"]
    return batch.values["epsilon_infinity"] - made.dielectric_tensor[rows]


def _epsilon_static(made: Prediction, batch: LabelledBatch) -> Tensor:
    rows = batch.rows["epsilon_static"]
    return batch.values["epsilon_static"] - static_permittivity(made, rows)


class Term(NamedTuple):
    """One row of the loss.

    Attributes
    ----------
    name : str
        Of the label.
    weight : str
        Setting that weighs its mean square (`TrainingSettings`).
    unit : str
        Of the residual.
    needs : tuple of str
        Properties (`lrcalc.properties.PROPERTIES`) that the model is called for.
    residual : callable or None
        Electrical labels: data minus model of a prediction and a `LabelledBatch`. None: energy,
        forces and stress, which every batch has.
    """

    name: str
    weight: str
    unit: str
    needs: tuple[str, ...]
    residual: Callable[[Prediction, LabelledBatch], Tensor] | None = None


TERMS = {
    term.name: term
    for term in (
        Term("energy", "energy_weight", "eV/atom", ("energy",)),
        Term("forces", "forces_weight", "eV/Å", ("forces",)),
        Term("stress", "stress_weight", "eV/Å³", ("stress",)),
        Term("born", "born_weight", "e", ("born_effective_charges",), _born),
        Term("dipole", "dipole_weight", "e Å/√atom", ("dipole",), _dipole),
        Term("polarizability", "polarizability_weight", "e Å²/V/√atom", ("polarizability",),
             _polarizability),
        Term("epsilon_infinity", "dielectric_weight", "", ("dielectric_tensor",),
             _epsilon_infinity),
        Term("epsilon_static", "dielectric_weight", "",
             ("dielectric_tensor", "forces", "born_effective_charges"), _epsilon_static),
    )
}  # fmt: skip
"""All rows, by name; a new label is a row here and a reader in `lrcalc.training.electrical`."""


def describe_error(name: str, value: float) -> str:
    """Name, error and unit of a term, in words."""
    unit = TERMS[name].unit
    factor, unit = (1e3, f"m{unit}") if unit.startswith("eV") else (1.0, unit)
    return f"{name} {factor * value:.3g} {unit}".rstrip()


def residuals(
    potential: Potential, batch: Batch, shifts: Tensor, *, training: bool, stress: bool
) -> Errors:
    """Return data minus model for a batch, without a look at its values.

    Parameters
    ----------
    potential : Potential
    batch : Batch
    shifts : Tensor, shape (n_sources,), eV/atom
        Energy offset of each data file, taken off its energies.
    training : bool
        Keep the graph for the second backward pass.
    stress : bool
        Whether stresses are compared.

    Returns
    -------
    dict of str to Tensor
        energy (S,) eV/atom, forces (N, 3) eV/Å, stress (S', 3, 3) eV/Å³ of the structures that
        have one.
    """
    names = ["energy", "forces"]
    names += ["stress"] if stress and len(batch.stress_rows) else []
    found = predict(
        potential, batch.system, batch.pairs, None, names, create_graph=training, check=False
    )
    energy = (batch.energy - found["energy"]) / batch.n_atoms - shifts[batch.source]
    stress_error = batch.stress[:0]
    if "stress" in found:
        difference = batch.stress - found["stress"]
        stress_error = difference.index_select(0, batch.stress_rows)
    return {"energy": energy, "forces": batch.forces - found["forces"], "stress": stress_error}


def electrical_residuals(potential: Potential, batch: LabelledBatch, *, training: bool) -> Errors:
    """Return data minus model of all labels that a batch has.

    Physical over latent is the ``s = √(ε_∞/(1+χ))`` that the finished model will have, with the
    susceptibility χ that the model has now: weights learn of it (physics §2).
    """
    terms = [TERMS[name] for name in batch.values]
    needed = {name for term in terms for name in term.needs}
    options = Options(screening_now(potential, batch), create_graph=True)
    made = call_model(potential, batch.system, batch.pairs, None, needed, options)
    with torch.enable_grad():
        errors = {t.name: t.residual(made, batch) for t in terms if t.residual is not None}
    return errors if training else {name: value.detach() for name, value in errors.items()}


def screening_now(potential: Potential, batch: LabelledBatch) -> float | Tensor:
    """Physical over latent multipoles, with the graph to the weights but not to the positions.

    It is a constant of the finished model, so its Born charges hold no derivative of it.
    """
    if "i" not in potential.config["level"]:
        return potential.screening
    system = batch.system
    vectors = pair_vectors(system, batch.pairs).to(potential.dtype)
    _, readings = potential.read(system, batch.pairs, vectors)
    terms = Terms(vectors.new_zeros(system.n_structures), readings, None, vectors)
    chi = latent_susceptibility(system, terms)
    epsilon = float(potential.metadata.get("epsilon_infinity", 1.0))
    return potential.screening if chi is None else (epsilon / (1.0 + chi)).sqrt()


HUBER = {"forces": 1.0, "energy": 0.02, "stress": 0.02}
"""Term → its scale over that of forces, in their units; other labels, which are few and were made
with care, are squared. The ratios are about those of the errors of a good model."""


def loss(
    errors: Errors,
    weights: Mapping[str, float] | Mapping[str, Tensor],
    counts: Mapping[str, Tensor] | None = None,
    scales: Mapping[str, float] | None = None,
) -> Tensor:
    """Weighted sum of mean squared residuals; terms without any residual have no part in it.

    Parameters
    ----------
    errors : dict of str to Tensor
    weights : mapping
        Term → weight (`weights_of`).
    counts : mapping, optional
        Term → over how many numbers its mean is, where these errors are but a share of them.
    scales : mapping, optional
        Term → length of an error beyond which it is not squared (`huber`, `scales_of`).
    """
    parts = [
        weights[name]
        * (huber(value, scales[name]) if scales and name in scales else value.square().sum())
        / (value.numel() if counts is None else counts[name])
        for name, value in errors.items()
        if len(value)
    ]
    return torch.stack(parts).sum()


def huber(errors: Tensor, scale: float) -> Tensor:
    """Sum over the rows of ``x²`` up to the scale δ, and of ``2 δ x - δ²`` beyond it.

    ``x`` is the length of a row (of a force, of a stress), so that the loss does not hang on the
    axes. Huber, Ann. Math. Stat. 35, 73 (1964), times two: small errors weigh as squares do.

    Parameters
    ----------
    errors : Tensor, shape (K, ...)
    scale : float
        δ, in their unit.
    """
    square = errors.flatten(1).square().sum(1) if errors.ndim > 1 else errors.square()
    far = square > scale * scale
    # the root has no slope at zero: it is taken of what is far from it only
    length = torch.where(far, square, scale * scale).sqrt()
    return torch.where(far, 2.0 * scale * length - scale * scale, square).sum()


def scales_of(settings: TrainingSettings) -> dict[str, float] | None:
    """Scale of each term that is not squared; None where all are."""
    if settings.loss == "mse":
        return None
    return {name: ratio * settings.huber_scale for name, ratio in HUBER.items()}


def global_counts(errors: Errors, device: torch.device, ranks: Ranks) -> dict[str, Tensor] | None:
    """Over how many numbers the mean of each term is, with those of other ranks; None if alone."""
    if ranks.size == 1:
        return None
    own = [errors[name].numel() if name in errors else 0 for name in TERMS]
    counts = ranks.total(torch.tensor(own, dtype=torch.float64).to(device, non_blocking=True))
    return dict(zip(TERMS, counts, strict=True))


def weights_of(settings: TrainingSettings) -> dict[str, float]:
    """Weight of each term in `TrainingSettings`."""
    return {name: float(getattr(settings, term.weight)) for name, term in TERMS.items()}


class Accumulator:
    """Mean squares of residuals over many batches, on their device until they are asked for.

    Parameters
    ----------
    n_sources : int
        Files of which mean errors of energies are wanted.
    device : torch.device

    Attributes
    ----------
    by_source : Tensor, shape (2, n_sources)
        Sum of the errors of energies of each file, eV/atom, and how many there are.
    """

    def __init__(self, n_sources: int, device: torch.device) -> None:
        self.squares = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
        self.counts = torch.zeros(len(TERMS), dtype=torch.float64)
        self.by_source = torch.zeros(2, n_sources, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, errors: Errors, source: Tensor | None = None) -> None:
        """Add one batch; ``source`` (S,) is the file of each structure."""
        zero = self.squares.new_zeros(())
        parts = [errors[key].square().sum() if key in errors else zero for key in TERMS]
        self.squares += torch.stack(parts)
        self.counts += torch.tensor([errors[k].numel() if k in errors else 0 for k in TERMS])
        if source is not None:
            energy = errors["energy"].detach()
            self.by_source.index_add_(1, source, torch.stack([energy, torch.ones_like(energy)]))

    def gather(self, ranks: Ranks) -> None:
        """Take in what other ranks have, and come to the host."""
        parts = [self.squares, self.counts.to(self.squares.device), self.by_source.flatten()]
        joined = ranks.total(torch.cat(parts)).cpu()
        n = len(TERMS)
        self.squares, self.counts, by_source = joined.split([n, n, self.by_source.numel()])
        self.by_source = by_source.view(2, -1)

    def rmse(self) -> dict[str, float]:
        """Root mean square error of each quantity (NaN where there is none)."""
        return dict(zip(TERMS, (self.squares.cpu() / self.counts).sqrt().tolist(), strict=True))
