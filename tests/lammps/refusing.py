"""What LAMMPS says to inputs that cannot run: `refusing.py CASES.json OUT.json`, on some ranks.

Each case is a text; an error that all ranks raise together leaves them alive for the next.
"""

import json
import sys

from lrcalc.lammps.host import start


def main(cases, out):
    found = {}
    with open(cases) as file:
        texts = json.load(file)
    for name, text in texts.items():
        lmp = start(["-log", "none", "-screen", "none"])
        world = lmp.lrcalc.mpi
        try:
            lmp.commands_string(text)
            said = ""
        except Exception as error:  # LAMMPS raises a bare Exception
            said = str(error)
        lmp.close()
        found[name] = world.gather(said)
    if world.rank == 0:
        with open(out, "w") as file:
            json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
