"""Read a pickled torch model without running anything that is written in it.

Unpickling calls whatever a file names. Here a short list of harmless names is as torch and e3nn
have them (tensors, containers, irreps); every other name becomes an inert class that keeps what it
is given. So the file of a package that is not installed, or of another version, can be looked at.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

DANGER = (
    "a pickle is a program: reading one with torch.load runs whatever its author put in, with your "
    "rights. lrcalc replaces all classes that such a file names by inert ones, and what it writes "
    "(plain tensors and settings) is safe to pass on; still, read only files of people you trust, "
    "and say so with {flag}"
)
"""Why consent is asked for; `flag` is how to give it."""

CONSENT = "trust_pickle=True (in commands: `lrcalc convert FILE --trust-pickle` once)"
"""How consent is given where a file stands for a model."""

REAL = {
    "_codecs": {"encode"},
    "__builtin__": {"set", "list", "dict", "slice", "complex", "bytearray"},
    "builtins": {"set", "list", "dict", "slice", "complex", "bytearray"},
    "collections": {"OrderedDict"},
    "e3nn.o3._irreps": {"Irrep", "Irreps", "_MulIr"},
    "torch": {"Size", "device", "float32", "float64", "int64"},
    "torch._utils": {"_rebuild_parameter", "_rebuild_tensor_v2"},
    "torch.nn.modules.container": {"ModuleList", "ParameterList", "ModuleDict", "ParameterDict"},
}  # fmt: skip
"""Module → names that are what they say. Called with anything, they do nothing but hold data."""

NUMPY = {"scalar", "_reconstruct", "ndarray", "dtype"}
"""Names within numpy that hold numbers."""


class Inert(nn.Module):
    """What stands for a class or function of the file: it keeps what it is given, and does nothing.

    The name of its class is that of what it stands for; what it was called with is ``given``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Make one, without a look at what it is called with."""
        made = super().__new__(cls)
        nn.Module.__init__(made)
        object.__setattr__(made, "given", args)
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)
        else:
            self.__dict__["state"] = state


class InertUnpickler(pickle.Unpickler):
    """Knows the names of `REAL`, and torch's storages; all others are inert."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        if module.split(".")[0] == "numpy" and name in NUMPY:
            return super().find_class(module, name)
        if name in REAL.get(module, ()) or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        return type(name, (Inert,), {"__module__": module})


def read_pickle(path: str | Path, wanted: str = "a model as MACE saves it (.model)") -> Any:
    """Return what a pickled file of torch holds, with inert objects for unknown classes.

    Parameters
    ----------
    path : path-like
    wanted : str
        What it should be, for the message.

    Raises
    ------
    FileNotFoundError
    ValueError
        For a file that is no pickle of torch's, or is truncated.
    """
    from lrcalc.models.native.e3nn_import import o3  # noqa: F401 (irreps of the file)

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is a folder; wanted is {wanted}" if path.is_dir() else f"no file {path}"
        )
    reader = SimpleNamespace(Unpickler=InertUnpickler, load=_load, __name__="lrcalc's pickles")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    scripted = any("/code/" in name for name in archive.namelist())
                if scripted:
                    raise ValueError(
                        "a TorchScript program, compiled perhaps for LAMMPS, not a pickle"
                    )
            return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # whatever a damaged or foreign file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no readable pickle of a torch model ({path.stat().st_size} bytes; "
            f"{reason}): truncated, or something else; wanted is {wanted}"
        ) from error


def _load(file: Any, **options: Any) -> Any:
    """`pickle.load`, of torch's older files."""
    return InertUnpickler(file, **options).load()
