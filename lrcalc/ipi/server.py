"""Runs i-PI with this very Python: ``python -m lrcalc.ipi.server input.xml``.

The same as the ``i-pi`` script, wherever that is installed, with four differences:

* It stops (softly) when the process that started it dies.
* It hands each row of output to the operating system without waiting for the disk. i-PI waits for
  the disk after every row of every file: 7 ms a step for one bead, 140 ms for 32, measured on a
  busy disk. Rows still survive a ``kill -9`` of i-PI; a power cut can take the last seconds.
* It replaces checkpoints and RESTART only when the new one is whole and on the disk. i-PI empties
  the old one first and composes the new one then: killed in between, a run has lost its only state.
* A client that dies with something unread resets its connection; that is taken for the end of it
  which it is. In i-PI it ends the thread that talks to all clients, and the run waits for ever. If
  that thread fails for another reason, the run ends, and RESTART is written.
"""

import argparse
import itertools
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from lrcalc.files import replacing


def watch_parent(parent: int, interval: float = 1.0) -> None:
    """Ask this process to stop when `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


class _WithoutSync:
    """The module `os`, except that `fsync` does not wait."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def fsync(stream: object) -> None:
        """Do nothing: the caller has flushed already."""


def write_checkpoint_whole(checkpoint: Any, write: Callable[..., None], store: bool = True) -> None:
    """Let i-PI's `write` of a `CheckpointOutput` make another file, and put that in place.

    The first file of a run keeps what was there before as ``#name#0#``, as i-PI does.
    """
    if not checkpoint.active():
        return
    if not checkpoint.overwrite:  # files of its own, never in the way of an earlier one
        write(checkpoint, store)
        return
    final, first = checkpoint.filename, not checkpoint._continued
    with replacing(final) as part:
        checkpoint.filename, checkpoint._continued = str(part), True
        try:
            write(checkpoint, store)
        finally:
            checkpoint.filename = final
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        if first and os.path.exists(final):
            numbers = itertools.count()
            backup = next(x for n in numbers if not os.path.exists(x := f"#{final}#{n}#"))
            shutil.copy2(final, backup)


def read_or_end(read: Callable[..., int], *arguments: Any) -> int:
    """Take a connection that was reset for one that ended."""
    try:
        return read(*arguments)
    except ConnectionError:
        return 0


def poll_or_stop(poll: Callable[[Any], None], forcefield: Any) -> None:
    """End the run, softly, where i-PI would lose the thread that serves its clients."""
    try:
        poll(forcefield)
    except Exception as error:
        from ipi.utils.softexit import softexit

        traceback.print_exc()
        # "lrcalc: " at the start of a line is what `run_ipi` looks for when it says what was wrong
        message = f"lrcalc: i-PI failed on the answer of a client: {error!r}"
        print(f"\n{message}", flush=True)
        softexit.trigger(status="restartable", message=message)


def main(arguments: list[str] | None = None) -> int:
    """Run one input (or RESTART) file to its end."""
    parser = argparse.ArgumentParser(prog="python -m lrcalc.ipi.server")
    parser.add_argument("input")
    parser.add_argument("--sockets-prefix", default=None)
    parser.add_argument("--parent", type=int, default=0, help="stop when this process has ended")
    parser.add_argument("--sync", action="store_true", help="wait for the disk after every row")
    options = parser.parse_args(arguments)
    if options.parent:
        watch_parent(options.parent)

    from ipi.engine import forcefields, outputs
    from ipi.engine.simulation import Simulation
    from ipi.interfaces import sockets
    from ipi.utils.softexit import softexit

    read, poll = sockets.DriverSocket.recv_into, forcefields.FFSocket.poll
    sockets.DriverSocket.recv_into = lambda self, *given: read_or_end(read, self, *given)
    forcefields.FFSocket.poll = lambda self: poll_or_stop(poll, self)
    write = outputs.CheckpointOutput.write
    outputs.CheckpointOutput.write = lambda self, store=True: write_checkpoint_whole(
        self, write, store
    )
    if not options.sync:
        outputs.os = _WithoutSync()
    extra = {} if options.sockets_prefix is None else {"sockets_prefix": options.sockets_prefix}
    with open(options.input) as stream:
        simulation = Simulation.load_from_xml(stream, request_banner=True, **extra)
    # i-PI then ends the process itself once RESTART is written
    softexit.hard_exit = True
    simulation.run()
    softexit.trigger(
        status=getattr(simulation, "exit_status", "success"),
        message=getattr(simulation, "exit_message", " @ SIMULATION: Exiting cleanly."),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
