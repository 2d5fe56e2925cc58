"""What answers the plugin on a rank: the model and its field, then energies and forces of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcalc.checkpoint import opened
from lrcalc.lammps.exchange import Part
from lrcalc.lammps.library import (
    COEFF,
    COMPUTE,
    INIT,
    SERIES,
    SERIES_OPEN,
    SETTINGS,
    Plugin,
    View,
    array,
)
from lrcalc.lammps.series import Series
from lrcalc.lammps.step import Step
from lrcalc.lammps.style import Style, read_elements, read_style, swapped_elements
from lrcalc.memory import keep_freed_memory
from lrcalc.models.card import charge_warning, field_warning
from lrcalc.models.potential import Potential
from lrcalc.models.requests import check_device, check_model, check_structure
from lrcalc.models.screening import screening_factor


class Server:
    """Answers of one rank.

    Parameters
    ----------
    plugin : Plugin
    communicator : mpi4py.MPI.Intracomm
    """

    def __init__(self, plugin: Plugin, communicator: Any) -> None:
        keep_freed_memory()
        self.plugin = plugin
        self.mpi = communicator
        self.style: Style | None = None
        self.potential: Potential | None = None
        self.elements: list[int] = []
        self.step: Step | None = None
        self.series: dict[str, Series] = {}
        self._open: set[Path] = set()
        """Files that a fix has opened since the run began."""
        self._told = False
        self._answers = {
            SETTINGS: self._settings, COEFF: self._coeff, INIT: self._init, COMPUTE: self._compute,
            SERIES_OPEN: self._open_series, SERIES: self._write_series,
        }  # fmt: skip

    def serve(self) -> None:
        """Answer from now on."""
        self.plugin.serve(lambda request, view: self._answers[request](view), self._message)

    def _message(self, request: int, error: Exception) -> str:
        """Message of an error; of one that is none of ours the traceback is printed at once."""
        if isinstance(error, ValueError | OSError):
            return f"pair_style lrcalc: {error}"
        import sys
        import traceback

        traceback.print_exception(error)
        sys.stderr.flush()
        return f"pair_style lrcalc: {type(error).__name__}: {error}"

    def _settings(self, view: View) -> None:
        style = read_style(_words(view))
        check_device(style.device)
        potential = opened(style.model, dtype=style.dtype).to(style.device).requires_grad_(False)
        if potential.own_field:
            raise ValueError(
                f"model {style.model!r} has an energy of its own in a field, which is not split "
                "into parts of ranks; use it in ASE or i-PI"
            )
        if style.accuracy is not None and potential.ewald is not None:
            potential.ewald.accuracy = style.accuracy
        self.style, self.potential = style, potential

    def _coeff(self, view: View) -> None:
        assert self.potential is not None, "pair_style comes before pair_coeff"
        words = _words(view)
        elements = read_elements(words, int(view.ntypes))
        unknown = [
            w for w, z in zip(words, elements, strict=True) if z not in self.potential.species
        ]
        if unknown:
            from ase.data import chemical_symbols

            known = " ".join(chemical_symbols[z] for z in self.potential.species)
            raise ValueError(
                f"pair_coeff names {' '.join(unknown)}, which the model does not know; it knows "
                f"{known}"
            )
        self.elements = elements
        view.cutoff = self.potential.cutoff

    def _init(self, view: View) -> None:
        style, potential = self.style, self.potential
        self._open.clear()  # fixes open their files after this, once a run
        assert style is not None
        assert potential is not None
        pbc = [bool(x) for x in view.periodic]
        held = set() if style.field is None else {style.field.kind}
        check_model(potential, {"energy", "forces"}, held)
        check_structure(
            potential, pbc, style.charge, 0, {"energy", "forces"}, held, allow_net_charge=False
        )
        layers = int(potential.backbone.layers)
        view.ghost_pairs = int(layers > 1)
        view.reach = layers * potential.cutoff
        before = self.step
        self.step = Step(
            potential,
            self.elements,
            Part(self.plugin, self.mpi),
            style,
            screening_factor(potential.metadata, style.epsilon_infinity),
            pbc,
        )
        if before is not None and before.potential is potential:  # `pair_style` opens another
            self.step.go_on(before)
        if self.mpi.rank == 0 and not self._told:
            self._told = True
            masses = array(view.mass, int(view.ntypes) + 1)  # zeros where atoms have their own
            for note in swapped_elements(self.elements, masses[1:].tolist()):
                print(f"WARNING: pair_style lrcalc: {note}", flush=True)
            doubts = [charge_warning(potential.metadata, potential.config, [style.charge])]
            doubts += [field_warning(potential.config, pbc)] if held else []
            for doubt in filter(None, doubts):
                print(f"WARNING: pair_style lrcalc: {doubt}", flush=True)
            if held and potential.config["charges"] == "atomic" and any(pbc):
                print(
                    "pair_style lrcalc: atomic charges in periodic cells have no stress in a "
                    "field: the pressure is NaN",
                    flush=True,
                )
            if layers > 1:
                print(
                    f"pair_style lrcalc: {layers} rounds of messages: each rank describes ghosts "
                    f"{view.reach:g} Å deep, at the price of own atoms",
                    flush=True,
                )

    def _compute(self, view: View) -> None:
        assert self.step is not None
        self.step.compute(view)

    def _open_series(self, view: View) -> None:
        assert self.step is not None
        assert self.style is not None
        name, current, every, *fixes = _words(view)
        self.step.check_series(current=bool(current))
        if self.mpi.rank != 0:
            return
        path = Path(name).resolve()
        if path in self._open:
            raise ValueError(
                f"fix lrcalc: {name} is the file of two fixes of this run, whose rows would be "
                "mixed; name another file for one of them, or unfix it"
            )
        self._open.add(path)
        earlier = self.series.get(name)
        if earlier is None or not earlier.goes_on(self.style, view, int(every), fixes):
            self.series[name] = Series(
                name, self.style, view, int(every), fixes, current=bool(current)
            )

    def _write_series(self, view: View) -> None:
        assert self.step is not None
        name, current = _words(view)
        row = self.step.series_row(view, current=bool(current))
        if self.mpi.rank == 0:
            self.series[name].write(view, row)


def _words(view: View) -> list[str]:
    return [view.arg[k].decode() for k in range(view.narg)]
