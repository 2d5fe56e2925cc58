"""What a checkpoint or package of nequip holds: the settings of its model, and its weights.

Both are pickles. Nothing that they name is run: classes are inert, the sources in a package are
not imported, and the model is made anew from its settings (`lrcalc.models.adapters.nequip_model`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lrcalc.models.adapters.packages import read_package
from lrcalc.models.adapters.pickles import DANGER, read_pickle

CHECKPOINT, PACKAGE = ".ckpt", ".nequip.zip"
COMPILED = (".nequip.pt2", ".nequip.pth", ".pt2", ".pth")
ENDINGS = (CHECKPOINT, PACKAGE, *COMPILED)
"""Of nequip's files."""

MODEL = "sole_model.model.func."
"""Where nequip keeps a model that is the only one of its file, less what makes forces of it."""

EMA = "ema.ema_weight_"
"""Where a checkpoint keeps averages of weights over the steps of training, which nequip takes."""


class NequipFile(NamedTuple):
    """A model as nequip has saved it.

    Attributes
    ----------
    settings : dict
        What nequip's builder was called with, and its name (``_target_``): plain values.
    tensors : dict of str to Tensor
        Parameters and buffers, by nequip's names within the model.
    averages : list of Tensor
        Averaged parameters, in the order of the model's; empty: there are none.
    """

    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    averages: list[Tensor]


def read_nequip(path: str | Path, *, trust_pickle: bool, flag: str) -> NequipFile:
    """Read a checkpoint (``.ckpt``) or package (``.nequip.zip``).

    Parameters
    ----------
    path : path-like
    trust_pickle : bool
        Consent to reading a pickle.
    flag : str
        How consent is given, for the message.

    Raises
    ------
    FileNotFoundError
    ValueError
        Naming what is wrong: no consent, a compiled model, another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if path.name.endswith(COMPILED):
        raise ValueError(
            f"{path} is a compiled model, a program without settings and weights: give the "
            f"checkpoint ({CHECKPOINT}) or package ({PACKAGE}) that it was compiled from"
        )
    if not trust_pickle:
        raise ValueError(f"{path} has a pickle in it, and {DANGER.format(flag=flag)}")
    try:
        return _package(path) if path.name.endswith(PACKAGE) else _checkpoint(path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not have what checkpoints and packages of nequip 0.19 have ({error}); "
            "it is something else, or was made by a version that cannot be read"
        ) from error


def _checkpoint(path: Path) -> NequipFile:
    found = read_pickle(path, f"a checkpoint of nequip ({CHECKPOINT}) or package ({PACKAGE})")
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} holds a {type(found).__name__}; wanted is a checkpoint of nequip "
            f"({CHECKPOINT}) or package ({PACKAGE}); a file of MACE is 'mace:FILE'"
        )
    state = found["state_dict"]
    averages = {
        int(name.removeprefix(EMA)): value for name, value in state.items() if name.startswith(EMA)
    }
    return NequipFile(
        plain(found["hyper_parameters"]["model"]),
        _of_model(path, "model.", state),
        [averages[k] for k in range(len(averages))],
    )


def _package(path: Path) -> NequipFile:
    import yaml

    model, text = read_package(path, "model/eager_model.pkl", "model/config.yaml")
    settings = yaml.safe_load(text)["training_module"]["model"]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return NequipFile(plain(settings), _of_model(path, "", tensors), [])


def _of_model(path: Path, prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of the only model, by their names in it."""
    prefix += MODEL
    found = {
        name.removeprefix(prefix): value.detach()
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    if not found:
        raise ValueError(
            f"{path} has no tensors {prefix}…: it holds several models, or none; known are files "
            "of one model"
        )
    return found


def plain(value: Any) -> Any:
    """Return settings as plain values, as JSON has them; refuse what is none.

    Raises
    ------
    ValueError
        For an object, or a reference to something outside (``${…}``).
    """
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, str) and "${" in value:
        raise ValueError(f"a setting of the model is {value!r}, which refers to something else")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a setting of the model is a {type(value).__name__}, not a plain value")
