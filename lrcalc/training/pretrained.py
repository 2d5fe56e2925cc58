"""A backbone that somebody has trained already: its settings and weights, from a file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lrcalc.checkpoint import FORMAT, read_tensors
from lrcalc.hashing import hash_of
from lrcalc.models.backbone import NATIVE, Backbone, find_backbone

FOREIGN = {
    "mace": "lrcalc.models.adapters.mace_files",
    "nequip": "lrcalc.models.adapters.nequip_pretrained",
    "allegro": "lrcalc.models.adapters.nequip_pretrained",
}
"""Backbone → module that reads files of its own program: ``read_backbone``."""


class Pretrained(NamedTuple):
    """What a file says of a backbone.

    Attributes
    ----------
    file : str
        Its name, without the folder.
    sha256 : str
        Of the file: 64 hexadecimal digits.
    settings : dict
        Those that make the backbone.
    fill : callable
        Gives a backbone of these settings the weights.
    scaled : bool
        The features are scaled already (`Backbone.calibrate`), as the weights expect.
    """

    file: str
    sha256: str
    settings: dict[str, Any]
    fill: Callable[[Backbone], None]
    scaled: bool


def read_pretrained(name: str, path: str | Path, *, trust_pickle: bool = False) -> Pretrained:
    """Read the backbone ``name`` from a model file of lrcalc, or from one of its own program.

    Parameters
    ----------
    name : str
        As registered.
    path : path-like
    trust_pickle : bool
        A foreign file may be read. It is a pickle.

    Raises
    ------
    FileNotFoundError
    ValueError
        For a damaged file, a model of another backbone, or a pickle that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} to take a backbone from")
    sha256 = hash_of(path.read_bytes(), length=64)
    try:
        content = read_tensors(path)
    except ValueError:
        if name not in FOREIGN:
            raise
        content = {}
    if name in FOREIGN and "format" not in content:
        return _foreign(name, path, sha256, trust_pickle)
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')!r}, not {FORMAT!r}")
    config = json.loads(content["config"])
    theirs = config.get("backbone", NATIVE)
    if theirs != name:
        origin = json.loads(content["metadata"]).get("source", "")
        remedy = (
            f"; it is {origin}: give that file, with --trust-pickle"
            if " converted from " in origin
            else ""
        )
        raise ValueError(f"the backbone of {path} is {theirs!r}, not {name!r}{remedy}")
    known = find_backbone(name).defaults
    settings = {**known, **{key: value for key, value in config.items() if key in known}}
    state = {
        key.removeprefix("backbone."): value
        for key, value in content["state"].items()
        if key.startswith("backbone.")
    }
    elements = content["species"]

    def fill(backbone: Any) -> None:
        if not settings.get("elements") and list(backbone.species) != elements:
            raise ValueError(
                f"{path} was trained on the atomic numbers {elements}, and its weights do not fit "
                f"others ({list(backbone.species)}): train on structures of the same elements"
            )
        backbone.load_state_dict(state)

    return Pretrained(path.name, sha256, settings, fill, scaled=True)


def _foreign(name: str, path: Path, sha256: str, trust_pickle: bool) -> Pretrained:
    reader = importlib.import_module(FOREIGN[name])
    own, fill = reader.read_backbone(name, path, trust_pickle=trust_pickle, flag="--trust-pickle")
    return Pretrained(path.name, sha256, {**find_backbone(name).defaults, **own}, fill, False)
