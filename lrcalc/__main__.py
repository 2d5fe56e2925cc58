"""`python -m lrcalc`: the same as `lrcalc`."""

from lrcalc.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
