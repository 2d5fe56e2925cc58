"""One file per model: tensors, a plain configuration and a card. Reading it runs no code."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lrcalc import zoo
from lrcalc.files import replacing
from lrcalc.models.backbone import NATIVE, refuse_broken
from lrcalc.models.potential import Potential

FORMAT = "lrcalc-model-1"

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Precisions of a model."""

FOREIGN = {
    "mace:": "lrcalc.models.adapters.mace_convert",
    "nequip:": "lrcalc.models.adapters.nequip_convert",
}
"""What a name begins with that is a file of another program, and whose ``convert`` reads it.

Files of NequIP and Allegro are of one kind, nequip's; they say themselves which of the two."""

PREFIXES = {".model": "mace:", ".ckpt": "nequip:", ".nequip.zip": "nequip:"}
"""How files of other programs end, and what their names begin with here."""

UNREADABLE = (
    OSError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError,
    KeyError, AttributeError,
)  # fmt: skip
"""What torch raises for a damaged or foreign file, depending on where it breaks."""


def save(potential: Potential, path: str | os.PathLike[str]) -> None:
    """Write ``potential`` to ``path`` atomically.

    Parameters
    ----------
    potential : Potential
    path : path-like
        Replaced only once the new file is complete.

    Raises
    ------
    ValueError
        For a backbone that has no name, or modules that were exchanged: the file could not say so.
    """
    if potential.config.get("backbone", NATIVE) is None:
        raise ValueError(
            "this potential's backbone was made by hand, and its file could not say how to make it "
            "again; give it a name with lrcalc.models.backbone.register_backbone and make the "
            "potential with Potential(species, backbone=name, ...)"
        )
    part = potential.exchanged_part()
    if part is not None:
        raise ValueError(
            f"`{part}` of this potential is not what its configuration makes, and a file made of "
            "it would be read as another model; make the potential with the options that it should "
            "have, register what is your own as a backbone "
            "(lrcalc.models.backbone.register_backbone), or save its state_dict yourself"
        )
    content = {
        "format": FORMAT,
        "species": list(potential.species),
        "config": json.dumps(potential.config),
        "metadata": json.dumps(potential.metadata),
        "state": {k: v.detach().cpu() for k, v in potential.state_dict().items()},
    }
    if potential.environments is not None:
        content["environments"] = potential.environments
    write_tensors(content, path)


def write_tensors(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a dictionary of tensors and plain values atomically."""
    with replacing(path) as temporary:
        torch.save(dict(content), temporary)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_tensors` wrote; only tensors and plain values can come out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, not a torch file, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}; bundled models: {', '.join(bundled())}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on foreign files; we refuse them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "eights only" in reason:  # torch's advice how to run it all the same
            reason = "it holds more than tensors and plain values"
        raise ValueError(
            f"{path} is not a readable lrcalc file ({path.stat().st_size} bytes; {reason}): "
            "truncated, or made by another program; copy it again, train anew, or `lrcalc convert` "
            "it if MACE or nequip wrote it"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an lrcalc model")
    return content


def load(
    name: str | os.PathLike[str],
    *,
    dtype: torch.dtype | str | None = None,
    trust_pickle: bool = False,
) -> Potential:
    """Load a bundled model by name, or any model file by path.

    Parameters
    ----------
    name : str or path-like
        A name that `bundled` lists, or a path; or ``"mace:FILE.model"``, a pickled MACE, MACE-LES
        or MACE-POLAR model, or ``"nequip:FILE"``, a checkpoint or package of a NequIP or Allegro
        model: it is converted as `lrcalc convert` does.
    dtype : torch.dtype or str, optional
        Of the parameters, float32 or float64 (also as text); the latter for derivatives of
        derivatives and reference work. None: as the file has them, so that what is saved again is
        the same (bundled models: float32).
    trust_pickle : bool, optional
        Consent to reading a pickle (``"mace:…"``, ``"nequip:…"``).

    Returns
    -------
    Potential
        In evaluation mode, on the CPU.

    Raises
    ------
    FileNotFoundError
        No such bundled model or file.
    ValueError
        The file is not an lrcalc model, is damaged, or does not fit its own configuration; another
        ``dtype``.
    """
    text = os.fspath(name)
    dtype = as_type(dtype)
    for prefix, reader in FOREIGN.items():
        if text.startswith(prefix):
            convert = importlib.import_module(reader).convert
            return _as_type(convert(text.removeprefix(prefix), trust_pickle=trust_pickle), dtype)
    path = model_path(name)
    for ending, prefix in PREFIXES.items():
        if text.endswith(ending) and path.is_file():
            raise ValueError(
                f"{path} is by its name a file of another program: name it '{prefix}{text}' "
                f"(Python, with trust_pickle=True), or make a model file of it once (`lrcalc "
                f"convert {path} --trust-pickle -o OUT.pt`)"
            )
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!r}, this lrcalc reads {FORMAT!r}; "
            "if it is a training state (`*.state.pt`), use the model file beside it"
        )
    try:
        potential = Potential(tuple(content["species"]), **json.loads(content["config"]))
        kept = dtype or _type_of(potential, content["state"])
        potential = _as_type(potential, kept)  # before: weights may be in float64
        potential.load_state_dict(content["state"])
        potential.metadata = dict(json.loads(content["metadata"]))
        potential.environments = content.get("environments")
    except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not fit its own configuration: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    refuse_broken(potential, path, "; its training diverged")
    return potential.eval().requires_grad_(False)


def opened(
    model: str | os.PathLike[str] | Potential, *, dtype: str, trust_pickle: bool = False
) -> Potential:
    """Return a potential as it is, or load what is named; ``dtype`` is one of `DTYPES`."""
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` is {dtype!r} but must be one of {sorted(DTYPES)}")
    if isinstance(model, Potential):
        return model
    if not isinstance(model, str | os.PathLike):
        raise ValueError(f"`model` is {model!r} but must be a bundled name, a file, or a Potential")
    return load(model, dtype=DTYPES[dtype], trust_pickle=trust_pickle)


def as_type(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Type of parameters by its name or as it is; None stays.

    Raises
    ------
    ValueError
        For any but `DTYPES`.
    """
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if (found is None and dtype is not None) or found not in {None, *DTYPES.values()}:
        raise ValueError(f"`dtype` is {dtype!r} but must be one of {sorted(DTYPES)}, or torch's")
    return found


def _type_of(potential: Potential, state: Mapping[str, torch.Tensor]) -> torch.dtype:
    """Return the type of the parameters in a file."""
    return next(state[name].dtype for name, _ in potential.named_parameters())


def _as_type(potential: Potential, dtype: torch.dtype | None) -> Potential:
    """Convert parameters; reference energies stay, for total energies need float64."""
    if dtype is None:
        return potential
    reference = potential.reference_energy
    potential = potential.to(dtype)
    potential.reference_energy = reference
    return potential


def model_path(name: str | os.PathLike[str]) -> Path:
    """Path of a bundled model, or ``name`` itself if it is a path."""
    text = os.fspath(name)
    if os.sep not in text and not text.endswith((".pt", *PREFIXES)):
        if text not in bundled():
            raise FileNotFoundError(
                zoo.why_not_installed(text)
                or f"no bundled model {text!r}; there are: {', '.join(bundled()) or 'none'}; "
                "for a file give its path (ending in .pt)"
            )
        return zoo.model_file(text)
    return Path(text)


def bundled() -> list[str]:
    """Names of the models that come with lrcalc."""
    return zoo.models()
