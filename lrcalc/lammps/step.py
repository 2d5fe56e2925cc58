"""One step on one rank: arrays of LAMMPS to a `System`, one call of the model, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from lrcalc.derivatives import jacobian
from lrcalc.lammps.exchange import Part
from lrcalc.lammps.library import View, array
from lrcalc.lammps.series import PS
from lrcalc.lammps.style import Style
from lrcalc.lammps.work import FieldWork
from lrcalc.models.potential import Potential
from lrcalc.models.requests import has_moments
from lrcalc.neighbors import MINIMUM_DISTANCE, Pairs
from lrcalc.prediction import Options, Prediction, call_model
from lrcalc.properties import NotHad
from lrcalc.system import System


class Step:
    """The model on the atoms of a rank, step after step.

    Parameters
    ----------
    potential : Potential
    elements : sequence of int
        Atomic number of each atom type.
    part : Part
    style : Style
    screening : float
    pbc : sequence of bool
    """

    def __init__(
        self,
        potential: Potential,
        elements: Sequence[int],
        part: Part,
        style: Style,
        screening: float,
        pbc: Sequence[bool],
    ) -> None:
        self.potential = potential
        self.part = part
        self.style = style
        self.screening = screening
        self.pbc = list(pbc)
        self._numbers = np.array([0, *elements])
        charged_slab = sum(pbc) == 2 and abs(style.charge) > 1e-9
        self.has_dipole = has_moments(potential, self.pbc) and not charged_slab
        self._born: np.ndarray | None = None
        self._energy = 0.0
        self._field_work = FieldWork(part)
        self._volume = 0.0
        self._moments = np.zeros(9)

    def go_on(self, before: Step) -> None:
        """Take up what an earlier run with the same model and field has left: the field's work."""
        self._field_work.go_on(before._field_work)

    def compute(self, view: View) -> None:
        """Add forces to those of LAMMPS; fill in energies, virial and moments that are wanted."""
        self.part.take(view)
        _check_distance(view)
        system, pairs = self._system(view)
        names = {"energy", "forces"} | ({"stress"} if view.want_virial else set())
        options = Options(self.screening, compile=self.style.compile)
        prediction = call_model(self.potential, system, pairs, self.style.field, names, options)
        self._volume = abs(float(np.linalg.det(np.array(view.cell).reshape(3, 3))))
        self._take_energies(view, prediction)
        if view.want_moments:
            self._take_moments(view, prediction)
        if view.want_current:
            self._take_born(prediction)
        if view.want_atomic:
            self._take_atomic(view, prediction)
        forces = prediction.forces.detach().cpu().double().numpy()
        if not np.isfinite(forces).all():
            where = int(np.flatnonzero(~np.isfinite(forces).all(axis=1))[0])
            raise ValueError(
                f"the model returned NaN for the forces (first: atom {view.tag[where]}); the "
                "structure has left what the model was trained on, or an earlier step diverged"
            )
        array(view.f, len(forces), 3)[:] += forces
        if view.want_virial and self.part.first_rank:
            stress = prediction.stress[0].detach().cpu().double().numpy()
            xx, yy, zz, xy, xz, yz = (stress[a, b] for a, b in _VOIGT)
            view.virial[:] = [-self._volume * x for x in (xx, yy, zz, xy, xz, yz)]
            if prediction.charge_forces is not None:  # no number rather than a wrong one
                view.virial[:] = [math.nan] * 6

    def _system(self, view: View) -> tuple[System, Pairs]:
        """Own atoms, unwrapped by their images, then ghosts; pairs in these positions."""
        n, seen, device = self.part.owned, self.part.seen, self.style.device
        positions = array(view.x, seen, 3).copy()
        cell = np.array(view.cell).reshape(3, 3)
        images = array(view.image, n, 3).astype(np.int64)
        i, j = (torch.from_numpy(array(x, view.npairs)) for x in (view.pair_i, view.pair_j))
        shift = torch.zeros(len(i), 3, dtype=torch.int64)
        if images.any() and (self.style.field is not None or view.want_moments):
            positions[:n] += images @ cell
            every = torch.zeros(seen, 3, dtype=torch.int64)
            every[:n] = torch.from_numpy(images)
            shift = every[i] - every[j]
        owned = torch.zeros(seen, dtype=torch.bool)
        owned[:n] = True
        layers = int(self.potential.backbone.layers)
        system = System(
            torch.from_numpy(positions),
            torch.from_numpy(cell)[None],
            torch.from_numpy(self._numbers[array(view.type, seen)]),
            torch.tensor([self.pbc]),
            torch.zeros(seen, dtype=torch.int64),
            torch.tensor([self.style.charge], dtype=torch.float64),
            owned,
            domain=self.part,
            centres=n if layers == 1 else None,
            block=self.style.block,
        )
        pairs = Pairs(i, j, shift)
        if device != "cpu":
            system = system.to(device, torch.float64)
            pairs = Pairs(*(x.to(device) for x in pairs))
        return system, pairs

    def _take_energies(self, view: View, prediction: Prediction) -> None:
        terms = prediction.terms
        coulomb = (
            0.0 if terms.electrostatics is None else float(terms.electrostatics.energy.detach())
        )
        self._energy = float(prediction.enthalpy.value.detach()) - self._work(view, prediction)
        self._moments[6] = self._energy - float(terms.energy.detach())
        self._moments[7] = coulomb
        self._moments[8] = self.style.charge
        if self.part.first_rank:
            view.energy, view.coulomb = self._energy - coulomb, coulomb

    def _work(self, view: View, prediction: Prediction) -> float:
        """Work of the field on charges whose forces have no energy."""
        forces = prediction.charge_forces
        if forces is None:
            return 0.0
        n = self.part.owned
        own = self.part.to_owners(forces).cpu().double()
        tags = torch.from_numpy(array(view.tag, n))
        return self._field_work.add(tags, prediction.leaves.positions.detach()[:n].cpu(), own)

    def _take_moments(self, view: View, prediction: Prediction) -> None:
        with torch.no_grad():
            if self.has_dipole:
                self._moments[:3] = prediction.dipole[0].detach().cpu().numpy()
            self._moments[3:6] = prediction.electric_field[0].detach().cpu().numpy()
        if self.part.first_rank:  # `compute pair` adds those of all ranks
            view.moments[:] = self._moments.tolist()

    def _take_born(self, prediction: Prediction) -> None:
        """Born charges of own atoms, (n, 3, 3), e, of which the current is made."""
        positions = prediction.leaves.positions
        moment = prediction.moment(constant_field=False)
        if moment.requires_grad:
            born = jacobian(moment.sum(0), positions, retain_graph=True).transpose(0, 1)
        else:
            born = positions.new_zeros(len(positions), 3, 3)
        if prediction.levers is not None:
            born = born + prediction.levers
        self._born = self.part.to_owners(born).cpu().numpy()

    def _take_atomic(self, view: View, prediction: Prediction) -> None:
        """Energies of own atoms: half of each interaction, equal shares of that with a field."""
        n, terms = self.part.owned, prediction.terms
        assert terms.local is not None
        energies = terms.local.detach()[:n]
        with torch.no_grad():
            if self.potential.ewald is not None:
                system, dtype = prediction.system, self.potential.dtype
                result = self.potential.ewald(
                    system.positions.to(dtype), system.cell.to(dtype), terms.readout.multipoles,
                    pbc=system.pbc, owned=system.owned, domain=self.part, with_field=True,
                    check=False,
                )  # fmt: skip
                energies = energies + result.atomic_energy[:n].double()
        values = energies.cpu().numpy() + self._moments[6] / self.part.atoms
        array(view.atomic, n)[:] += values

    def check_series(self, *, current: bool) -> None:
        """Refuse a series that this model and boundary have not."""
        if not self.has_dipole and not current:
            raise NotHad(
                "fix lrcalc: this model has no dipole at these boundaries (charges induced on "
                "single atoms in a periodic cell, level 'sr', or a charged slab)"
            )
        if self.potential.config["level"] == "sr":
            raise NotHad("fix lrcalc: this model is short-ranged (level 'sr') and has no charges")

    def series_row(self, view: View, *, current: bool) -> list[float]:
        """Values of a row of the series, after step and time."""
        n = self.part.owned
        row = [view.temperature, self._energy, self._volume, *self._moments[:6].tolist()]
        if current:
            assert self._born is not None, "the pair style was told of the current"
            own = np.einsum("nab,nb->a", self._born, array(view.v, n, 3) / PS)
            row += self.part.sum(torch.from_numpy(own)).tolist()
        return row


_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def _check_distance(view: View) -> None:
    """Refuse overlapping atoms."""
    if view.closest < MINIMUM_DISTANCE:
        a, b = (int(view.tag[k]) for k in (view.closest_i, view.closest_j))
        raise ValueError(
            f"atoms {a} and {b} are {view.closest:.3f} Å apart (less than {MINIMUM_DISTANCE} Å) in "
            f"step {view.step}: overlapping atoms; check the structure, its cell and its units, or "
            "the timestep"
        )
