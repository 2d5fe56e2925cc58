"""Thin main over ``lrcalc.analysis``: the same options as the command of this name."""

import sys

from lrcalc.cli import main

if __name__ == "__main__":
    sys.exit(main(["msd", *sys.argv[1:]]))
