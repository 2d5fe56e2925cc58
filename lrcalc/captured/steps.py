"""Steps of a run, made in arrays of fixed shapes and, on a GPU, in one launch each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.callers import users_line
from lrcalc.captured.launch import Launch, NotCaptured, Plain
from lrcalc.captured.requests import (
    Answer,
    Request,
    answer,
    block_size,
    difference,
    refusal,
    signature,
)
from lrcalc.captured.stage import Stage
from lrcalc.electrostatics.mesh import Mesh
from lrcalc.electrostatics.sums import Geometry
from lrcalc.frames import Frames
from lrcalc.models.card import VOLUME_PER_ATOM
from lrcalc.models.potential import Potential
from lrcalc.models.versions import version_of
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import MINIMUM_DISTANCE
from lrcalc.prediction import Options, call_model
from lrcalc.system import from_frames

SKIN = 0.6
"""Å; candidates beyond the cutoff cost little in a step, and a search a few steps."""

ALWAYS_HERE = 4096
"""Atoms from which also what is asked for once is evaluated here: pairs are found on the device."""

MOST_KEPT = 8
"""Recorded steps of a set of atoms (of different properties, cells, …) that are kept."""

MOST_CONFIRMED = 20_000
"""Atoms up to which a step that is new is compared with the ordinary path: one more evaluation."""

TRIES = 4
"""Times a step is made until its arrays are large enough; one is enough but for odd structures."""


class Recorded(NamedTuple):
    """A step that can be made again.

    Attributes
    ----------
    run : Plain or Launch
    layout : dict of str to tuple of int
        Shapes of the results, in their order; the status comes last.
    plan : object
        Of the electrostatics: a launch reads its tensors where they were.
    reason : str or None
        Why it is not one launch.
    """

    run: Plain | Launch
    layout: dict[str, tuple[int, ...]]
    plan: Any
    reason: str | None


class Steps:
    """Evaluates the same atoms again and again.

    Parameters
    ----------
    device : torch.device
    launch : bool, optional
        Make a step one launch; by default where the device is a GPU.
    eager : bool, optional
        Record a step when it is asked for, not only when it comes a second time.

    Attributes
    ----------
    reason : str or None
        Why the last call was left to the ordinary path, or was not one launch; None where neither.
    recorded : int
        How many steps were recorded.
    launches : bool
        Whether a step is one launch.
    doubtful : bool
        Whether the last answer is the first of a step that was recorded: to be compared with that
        of the ordinary path (`confirm`).
    """

    def __init__(
        self, device: torch.device, *, launch: bool | None = None, eager: bool = False
    ) -> None:
        self.device = device
        self.launches = device.type == "cuda" if launch is None else launch
        self._eager = eager
        self.reason: str | None = None
        self.recorded = 0
        self.doubtful = False
        self._failed: dict[Any, str] = {}
        self._wrong: dict[Any, str] = {}
        self._broken: str | None = None
        self.forget()

    def forget(self) -> None:
        """Drop everything that is kept."""
        self._atoms: Any = None
        self._version: Any = None
        self.stage: Stage | None = None
        self._kept: dict[Any, Recorded] = {}
        self._asked: set[Any] = set()
        self._kinds: Multipoles | None = None
        self._pool: Any = None
        self._first = False
        self._block: int | None = None
        self._confirmed: set[Any] = set()

    def __call__(
        self, potential: Potential, frames: Sequence[Frames], request: Request
    ) -> Answer | None:
        """Results, or None where the ordinary path has to give them (`reason`)."""
        self.doubtful = False
        self.reason = self._broken or refusal(potential, frames, request)
        self.reason = self.reason or self._wrong.get(request.key)
        if self.reason is None:
            self._settle(potential, frames)
            self._first = request.key not in self._asked and not self._eager
            self._asked.add(request.key)
            assert self.stage is not None
            if self._first and len(self.stage.host.numbers) < ALWAYS_HERE:
                self.reason = "asked for the first time"
        if self.reason is not None:
            return None
        try:
            return self._evaluate(potential, frames, request)
        except Exception as error:
            if not self.launches:
                raise
            # whatever it is, the ordinary path may do without it
            told = (str(error).splitlines() or [""])[0]
            self._broken = self.reason = f"{type(error).__name__}: {told}"
            self.forget()
            _warn(self._broken)
            return None

    def confirm(
        self, request: Request, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
    ) -> None:
        """Compare what a recorded step gave with what the ordinary path gives, when it is new.

        If they differ, the ordinary path has all further calls, and the reason.
        """
        assert self.stage is not None
        wrong = difference(found, expected, self.stage.dtype)
        self._confirmed.add(request.key)
        if wrong is not None:
            told = f"a recorded step gave something else than the ordinary path: {wrong}"
            self._wrong[request.key] = self.reason = told
            _warn(told)

    def _settle(self, potential: Potential, frames: Sequence[Frames]) -> None:
        """Make a new stage for other atoms, forget what was recorded of other weights."""
        atoms = [(x.numbers.tobytes(), x.pbc.tobytes(), x.charge, len(x.cells)) for x in frames]
        own = (id(potential), potential.dtype, potential.cutoff, atoms)
        card = potential.metadata
        told = (card.get("charge_screening"), card.get("epsilon_infinity"))
        volume = card.get("polarizability", {}).get(VOLUME_PER_ATOM)
        version = (version_of(potential), *told, volume, potential.ewald, potential.surface)
        if own != self._atoms:
            self.forget()
            self._failed, self._wrong = {}, {}
            self._atoms = own
            near = float(getattr(potential.readout, "transfer_cutoff", 0.0))
            host = from_frames(frames)
            settings = (potential.cutoff, near, SKIN, potential.dtype)
            self.stage = Stage(host, self.device, *settings)
        if version != self._version:
            self._version = version
            self._kept.clear()

    def _evaluate(
        self, potential: Potential, frames: Sequence[Frames], request: Request
    ) -> Answer | None:
        stage = self.stage
        assert stage is not None
        positions = [part.positions.reshape(-1, 3) for part in frames]
        cells = [part.cells for part in frames]
        held = (0.0, 0.0, 0.0) if request.field is None else request.field.value
        stage.load(_joined(positions), _joined(cells), tuple(held))
        stage.search_if_due()
        for _ in range(TRIES):
            recorded = self._recorded(potential, request)
            out = recorded.run()
            verdict = stage.judge(out[-4:])
            if verdict.closest < MINIMUM_DISTANCE**2:
                self.reason = "atoms overlap"  # who they are, the ordinary path says
                return None
            if verdict.slack < 0.0:
                stage.search()
            elif not stage.make_room(verdict):
                return answer(out, recorded.layout)
        self.reason = "its arrays did not settle"
        return None

    def _recorded(self, potential: Potential, request: Request) -> Recorded:
        """Find the step that was recorded for these sizes and cells, or record it."""
        stage = self.stage
        assert stage is not None
        key = (request.key, stage.sizes, self._plan(potential))
        if key in self._kept:
            self.reason = self._kept[key].reason
            return self._kept[key]
        if len(self._kept) >= MOST_KEPT or any(k[1] != stage.sizes for k in self._kept):
            self._kept.clear()
            self._pool = None
        layout: dict[str, tuple[int, ...]] = {}

        self._block = block_size(potential, len(stage.host.numbers), self.device)
        run = self._run(potential, request, layout)
        ewald = potential.ewald
        recorded = Recorded(run, layout, None if ewald is None else ewald.remembered, self.reason)
        if self._first:
            self.reason = "asked for the first time"
            return recorded
        # what was planned in it is known now
        key = (request.key, stage.sizes, self._plan(potential))
        self._kept[key] = recorded
        self.recorded += 1
        return recorded

    def _run(
        self, potential: Potential, request: Request, layout: dict[str, tuple[int, ...]]
    ) -> Plain | Launch:
        """One launch, where that can be."""
        compute = partial(self._compute, potential, request, layout)
        if not self.launches or self._first:
            return Plain(compute)
        if self._block is not None:
            self.reason = "atoms are described in blocks"
            return Plain(compute)
        if request.key not in self._failed:
            try:
                launch = Launch(compute, self._pool, partial(_check, layout, potential.dtype))
                self._pool = launch.pool
                few = len(self.stage.host.numbers) <= MOST_CONFIRMED if self.stage else False
                self.doubtful = few and request.key not in self._confirmed
                return launch
            except NotCaptured as error:
                self._failed[request.key] = str(error)
                self._pool = None
        self.reason = self._failed[request.key]
        return Plain(compute)

    def _compute(
        self, potential: Potential, request: Request, layout: dict[str, tuple[int, ...]]
    ) -> Tensor:
        """Results and status of a step in one tensor (M,), float64; looks at no value."""
        stage = self.stage
        assert stage is not None
        system, pairs, status = stage.ready()
        if self._block is not None:
            system = system._replace(centres=len(system.numbers), block=self._block)
        names = set(request.names)
        if stage.moving:  # with a gradient, so that nothing that a cell decides is planned
            system = system._replace(cell=system.cell.clone().requires_grad_())
            names.add("forces")
        held = None if request.field is None else stage.held
        options = Options(request.screening, request.asr_projection, held=held)
        prediction = call_model(potential, system, pairs, request.field, names, options)
        values = prediction.results(request.names)
        if "born_effective_charges" in request.names:
            values["sum_rule_residual"] = prediction.born_residual.abs().max()
        if request.names & {"forces", "stress"} and prediction.charge_forces is not None:
            values["charge_forces"] = prediction.charge_forces
        multipoles = prediction.terms.readout.multipoles
        kinds: list[Any] = [None if x is None else status for x in multipoles]
        self._kinds = Multipoles(*kinds)
        layout.clear()
        layout.update({name: tuple(x.shape) for name, x in values.items()})
        parts = [x.detach().to(torch.float64).flatten() for x in values.values()]
        return torch.cat([*parts, status])

    def _plan(self, potential: Potential) -> Any:
        """Tell what of the electrostatics is in a recorded step: cells, or what depends on them."""
        stage = self.stage
        assert stage is not None
        if not stage.moving:
            return stage.cells.tobytes()
        if potential.ewald is None or self._kinds is None:
            return None
        host, ewald = stage.host, potential.ewald
        known = ewald.remembered
        if known is not None and len(known.groups.groups) == 1:
            one = known.groups.groups[0].sum
            if isinstance(one, Mesh):  # all else costs milliseconds
                order = ewald.orders(self._kinds)[0]
                return one.sizes(torch.from_numpy(stage.cells), len(host.numbers), order)
        cell = torch.from_numpy(stage.cells).to(potential.dtype).requires_grad_()
        geometry = Geometry(
            host.positions.to(potential.dtype), cell, host.batch, host.n_structures, host.pbc
        )
        groups = ewald.plan(geometry, self._kinds).groups.groups
        return tuple(signature(group.plan) for group in groups)


def _check(
    layout: dict[str, tuple[int, ...]], dtype: torch.dtype, before: np.ndarray, after: np.ndarray
) -> str | None:
    """Say what of a launch is another than what the step gave before it was recorded."""
    return difference(answer(after, layout).values, answer(before, layout).values, dtype)


def _warn(reason: str) -> None:
    warnings.warn(
        f"steps are not recorded, and slower for it ({reason}); results are those of the ordinary "
        "path. With LRCALC_CAPTURE=0 in the environment it is not tried",
        stacklevel=users_line(),
    )


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(list(parts))
