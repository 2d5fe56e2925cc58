"""Tables and summaries, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.files import replacing


def lrcalc_version() -> str:
    """Installed version, ``unknown`` when run from a bare source tree."""
    try:
        return version("lrcalc")
    except PackageNotFoundError:
        return "unknown"


def write_atomic(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` make a temporary file in the same folder, then rename it onto ``path``."""
    with replacing(path) as temporary:
        write(temporary)
    return Path(path)


def check_target(path: str | Path, option: str) -> None:
    """Refuse a file that could not be written, before what goes into it is computed.

    Parameters
    ----------
    option
        What the user calls it; named in errors.

    Raises
    ------
    FileNotFoundError, ValueError
        If its folder does not exist or cannot be written to, or it is a folder itself.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{option}: {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{option}: no folder {path.parent} for {path.name}; make it first")
    try:
        tempfile.NamedTemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(
            f"{option}: the folder {path.parent} cannot be written to ({error.strerror})"
        ) from None


def check_prefix(prefix: str, endings: Sequence[str], option: str) -> None:
    """Refuse the beginning of file names of which one could not be written.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`check_target`; also if it is a folder.
    """
    if prefix.endswith(os.sep) or Path(prefix).is_dir():
        raise ValueError(
            f"{option}: {prefix} is a folder; give the beginning of the names of files, like "
            f"{Path(prefix) / 'name'}"
        )
    for ending in endings:
        check_target(f"{prefix}{ending}", option)


def write_csv(
    path: str | Path,
    columns: Sequence[tuple[str, np.ndarray]],
    settings: dict[str, Any],
) -> Path:
    """Columns with their names (units included), settings and version as ``#`` lines."""

    def write(target: Path) -> None:
        with target.open("w") as file:
            file.write(f"# lrcalc {lrcalc_version()}\n")
            for key, value in settings.items():
                file.write(f"# {key}: {value}\n")
            file.write(",".join(name for name, _ in columns) + "\n")
            np.savetxt(file, np.column_stack([c for _, c in columns]), "%.8g", delimiter=",")

    return write_atomic(path, write)


def write_json(path: str | Path, data: dict[str, Any]) -> Path:
    """JSON with the version; numpy values become plain ones, NaN becomes null."""
    text = json.dumps(
        plain({"lrcalc_version": lrcalc_version(), **data}), indent=1, ensure_ascii=False
    )

    def write(target: Path) -> None:
        target.write_text(text + "\n")

    return write_atomic(path, write)


def plain(value: Any) -> Any:
    """Numpy and named tuples as JSON-able values."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_curve(path: str | Path) -> np.ndarray:
    """Two columns (x, y) of a measured curve, comma or blank separated.

    Lines before the first numbers are a header, and those with a # are comments.

    Raises
    ------
    ValueError
        For any other line that is not two numbers or more, and fewer than two points.
    """
    rows: list[list[float]] = []
    for count, line in enumerate(Path(path).read_text().splitlines(), 1):
        fields = line.partition("#")[0].replace(",", " ").split()
        try:
            x, y = (float(field) for field in fields[:2])
        except ValueError:
            if rows and fields:
                raise ValueError(f"{path}: line {count} is {line!r}, not two numbers") from None
            continue
        rows.append([x, y])
    if len(rows) < 2:
        raise ValueError(f"{path}: two columns of numbers expected")
    return np.array(rows)


def plus_minus(value: float, error: float, digits: int = 2) -> str:
    """Value and error to the same decimal place, two figures of the error: ``270 ± 130``."""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    places = digits - 1 - int(np.floor(np.log10(error)))
    if abs(value) >= 1e7 or 0 < max(abs(value), error) < 1e-3:
        power = int(np.floor(np.log10(max(abs(value), error))))
        inner = plus_minus(value / 10.0**power, error / 10.0**power, digits)
        return f"({inner})·10^{power}"
    shown = max(places, 0)
    return f"{round(value, places):.{shown}f} ± {round(error, places):.{shown}f}"
