"""Making modules of foreign packages, without what they print, warn of and script."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import nn


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to ourselves what a package, e3nn and torch's compiler say while modules are made."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Make modules in double precision, without TorchScript."""
    import e3nn

    before, dtype = e3nn.get_optimization_defaults(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        e3nn.set_optimization_defaults(jit_script_fx=False)
        with quiet():
            yield
    finally:
        torch.set_default_dtype(dtype)
        e3nn.set_optimization_defaults(**before)


@contextlib.contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Let torch make tensors of this type: packages make some of the default type in any case."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        yield
    finally:
        torch.set_default_dtype(before)


def forget_programs(model: nn.Module) -> None:
    """Let a copy of a model that e3nn made be no TorchScript."""
    for module in model.modules():
        if hasattr(module, "__codegen__"):
            module.__codegen__ = []  # type: ignore[assignment]


def require_version(backbone: str, distribution: str, wanted: str) -> None:
    """Refuse another version than ``wanted`` or those that begin so."""
    found = metadata.version(distribution)
    if found != wanted and not found.startswith(wanted + "."):
        exact = "==" + (wanted if wanted.count(".") > 1 else wanted + ".*")
        raise ValueError(
            f"the backbone {backbone!r} needs {distribution} {wanted}, but {found} is installed: "
            f"pip install {distribution}{exact}"
        )


def elements_of(model: str, species: tuple[int, ...], settings: Any) -> tuple[int, ...]:
    """Return the elements that a model is made for; refuse ``species`` that are not among them."""
    elements = tuple(settings["elements"] or species)
    missing = [chemical_symbols[z] for z in species if z not in elements]
    if missing:
        made_for = ", ".join(chemical_symbols[z] for z in elements)
        raise ValueError(
            f"this {model} model was made for the elements {made_for}, not for {', '.join(missing)}"
        )
    return elements
