"""Read the pickle in an archive of torch.package without running anything that the archive holds.

Such an archive brings Python sources, which torch imports and runs on reading. Here they are left
alone: names are inert, as those of other pickles (`lrcalc.models.adapters.pickles`).
"""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from lrcalc.models.adapters.pickles import Inert, InertUnpickler


class _Unpickler(InertUnpickler):
    """Knows where an archive of torch.package keeps its numbers."""

    def __init__(self, archive: zipfile.ZipFile, root: str, name: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/{name}")))
        self.archive, self.root = archive, root
        self.read: dict[str, Any] = {}

    def persistent_load(self, saved: Any) -> Any:
        """Numbers; and what a class of the archive would make of its own data, inert."""
        if saved[0] != "storage":
            return Inert(*saved)
        kind, key = saved[1], str(saved[2])
        if key not in self.read:
            data = bytearray(self.archive.read(f"{self.root}/.data/{key}.storage"))
            dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self.read[key] = torch.storage.TypedStorage(
                wrap_storage=flat.untyped_storage(), dtype=dtype, _internal=True
            )
        return self.read[key]


def read_package(path: Path, pickle: str, text: str) -> tuple[Any, str]:
    """Return what a pickle of the archive holds, and one of its texts.

    Parameters
    ----------
    path : Path
    pickle, text : str
        Names within the archive's folder.

    Raises
    ------
    ValueError
        For an archive that is damaged or has no such entries.
    """
    from lrcalc.models.native.e3nn_import import o3  # noqa: F401 (irreps of the file)

    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how torch keeps numbers
            root = archive.namelist()[0].split("/")[0]
            found = _Unpickler(archive, root, pickle).load()
            return found, archive.read(f"{root}/{text}").decode()
    except Exception as error:  # whatever a damaged or foreign file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no readable package of a model ({path.stat().st_size} bytes; {reason}): "
            "truncated, or something else; wanted is one that nequip-package has built"
        ) from error
