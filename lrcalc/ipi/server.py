"""Runs i-PI with this very Python: ``python -m lrcalc.ipi.server input.xml``.

The same as the ``i-pi`` script, wherever that is installed, with two differences: it stops (softly)
when the process that started it dies, and it hands each row of output to the operating system
without waiting for the disk. i-PI waits for the disk after every row of every file: 7 ms a step for
one bead, 140 ms for 32, measured on a busy disk. Rows still survive a ``kill -9`` of i-PI; a power
cut can take the last seconds, as it can take the checkpoint, for which i-PI does not wait either.
"""

import argparse
import os
import signal
import sys
import threading
import time
from typing import Any


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

    from ipi.engine import outputs
    from ipi.engine.simulation import Simulation
    from ipi.utils.softexit import softexit

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
