"""Runs i-PI with this very Python: ``python -m lrcalc.ipi.server input.xml``.

The same as the ``i-pi`` script, wherever that is installed, and it stops (softly) when the process
that started it dies.
"""

import argparse
import os
import signal
import sys
import threading
import time


def watch_parent(parent: int, interval: float = 1.0) -> None:
    """Ask this process to stop when `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    """Run one input (or RESTART) file to its end."""
    parser = argparse.ArgumentParser(prog="python -m lrcalc.ipi.server")
    parser.add_argument("input")
    parser.add_argument("--sockets-prefix", default=None)
    parser.add_argument("--parent", type=int, default=0, help="stop when this process has ended")
    options = parser.parse_args(arguments)
    if options.parent:
        watch_parent(options.parent)

    from ipi.engine.simulation import Simulation
    from ipi.utils.softexit import softexit

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
