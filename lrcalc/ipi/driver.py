"""The driver: structures from i-PI in, energies and forces in i-PI's units out, all beads at once.

Used in process (`LRCalcDriver`, loaded by i-PI) and behind a socket (`lrcalc.ipi.client`).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from lrcalc.frames import Frames
from lrcalc.ipi.conversions import ForceMessage, frames_from_ipi, message_to_ipi
from lrcalc.ipi.frame_checks import check_answers_finite, check_first_frame, check_forces
from lrcalc.ipi.settings import DriverSettings, make_settings, read_template
from lrcalc.ipi.watch import Watch
from lrcalc.properties import extras

Array = NDArray[np.float64]

CPU_ATOMS = 1000
"""Atoms in one model call on a CPU: more do not fit its cache and take longer each."""


class Evaluates(Protocol):
    """What a driver needs of a model: one call for several structures.

    An evaluator that has a method ``of_frames(frames, properties)`` as well, as `lrcalc.Evaluator`,
    is given the arrays themselves (`lrcalc.frames.Frames`).
    """

    def __call__(
        self, structures: Sequence[Atoms], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Properties of each structure, in eV, Å, e."""


def make_evaluator(settings: DriverSettings) -> Evaluates:
    """Load the model that `settings` names."""
    from lrcalc.evaluator import Evaluator

    return Evaluator(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        field=settings.field,
        epsilon_infinity=settings.epsilon_infinity,
        compile=settings.compile,
    )


class Engine:
    """Evaluates what i-PI sends. `template` (copied) gives species, their order and the boundary.

    What is held is asked of the evaluator in every call, where it can tell, else of `settings`.
    """

    def __init__(
        self, settings: DriverSettings, template: Atoms, evaluator: Evaluates | None = None
    ) -> None:
        self.settings = settings
        self.template = template.copy()
        self.evaluator = make_evaluator(settings) if evaluator is None else evaluator
        self._first = True
        self._watch = Watch(settings, self.evaluator)

    @property
    def _turned(self) -> bool:
        """Whether something is held that does not turn with the structure: E or D."""
        held = getattr(self.evaluator, "field", self.settings.field)
        return held is not None and held.cartesian

    @property
    def properties(self) -> list[str]:
        """What is asked of the evaluator; a virial in a field needs the torque of the field."""
        names, known = ["energy", "forces"], extras()
        if self.settings.virial and np.any(self.template.pbc):
            names += ["stress", "electric_field", "dipole"] if self._turned else ["stress"]
        return list(dict.fromkeys([*names, *(known[name].name for name in self.settings.extras)]))

    def __call__(self, cells: Sequence[Array], positions: Sequence[Array]) -> list[ForceMessage]:
        """All structures, in one model call or a few (see `DriverSettings.atoms_per_call`).

        Parameters
        ----------
        cells : sequence of arrays (3, 3)
            Cell vectors as columns, bohr.
        positions : sequence of arrays (N, 3)
            bohr, unwrapped.

        Raises
        ------
        ValueError
            If the atoms are not those of the template, or a result is not finite.
        """
        frames = frames_from_ipi(self.template, cells, positions)
        if self._first:
            check_first_frame(self.template, frames.atoms()[0], has_field=self._turned)
        wanted = self.properties
        ask = getattr(self.evaluator, "of_frames", self._of_atoms)
        results = [result for part in self._parts(frames) for result in ask(part, wanted)]
        check_answers_finite(results)
        if self._first:
            check_forces(results, self.settings.max_force)
            self._first = False
        self._watch.see(frames, self.evaluator)
        volumes = np.abs(np.linalg.det(frames.cells))
        return [
            message_to_ipi(volume, result, self.settings.extras)
            for volume, result in zip(volumes, results, strict=True)
        ]

    def _of_atoms(self, frames: Frames, properties: Sequence[str]) -> list[dict[str, Any]]:
        """Ask an evaluator that knows nothing but ASE's structures."""
        return self.evaluator(frames.atoms(), properties)

    def _parts(self, frames: Frames) -> list[Frames]:
        """Structures that go into one model call together."""
        limit = self.settings.atoms_per_call
        if limit is None:
            limit = CPU_ATOMS if self.settings.device == "cpu" else 0
        if limit <= 0:
            return [frames]
        return frames.parts(max(1, limit // len(self.template)))


def stop_ipi(message: str) -> None:
    """End an i-PI that runs in this process, so that it writes RESTART; a plain error would not.

    Raises SystemExit in any case.
    """
    print(f"lrcalc: {message}", file=sys.stderr, flush=True)
    module = sys.modules.get("ipi.utils.softexit")
    if module is not None:
        module.softexit.trigger(status="restartable", message=f"lrcalc: {message}")
    raise SystemExit(1)


class LRCalcDriver:
    """The PES that i-PI loads with ``<ffdirect><pes>custom</pes>`` or ``i-pi-py_driver -m custom``.

    Takes the fields of `lrcalc.ipi.settings.DriverSettings` as keyword arguments, for example
    ``<parameters>{model: water, template: init.xyz, extras: dipole}</parameters>``. Another
    evaluator can be used by overriding `evaluator_factory` in a subclass.
    """

    evaluator_factory: Callable[[DriverSettings], Evaluates] = staticmethod(make_evaluator)

    def __init__(self, **parameters: Any) -> None:
        settings = make_settings(parameters)
        template = read_template(settings)
        self.engine = Engine(settings, template, self.evaluator_factory(settings))

    def __call__(self, cell: Any, pos: Any) -> Any:
        """One structure, or lists of them (as many results, from one model call)."""
        return self.compute(cell, pos)

    def compute(self, cell: Any, pos: Any) -> Any:
        """As `__call__`; the name that i-PI's own drivers use."""
        many = isinstance(cell, list)
        try:
            messages = self.engine(cell if many else [cell], pos if many else [pos])
        except ValueError as error:
            if self.engine.settings.exit_file:
                Path(self.engine.settings.exit_file).touch()
            stop_ipi(str(error))
        answers = [tuple(message) for message in messages]
        return answers if many else answers[0]

    def compute_structure(self, cell: Array, pos: Array) -> Any:
        """As i-PI's drivers name the single evaluation."""
        return self.compute(cell, pos)
