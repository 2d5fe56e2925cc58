"""The current ``Σ Z*·v`` of an i-PI run that wrote Born charges and velocities at the same steps.

The way to spectra where the dipole is none: of atomic charges in a periodic cell (physics §4).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.analysis.intake import Data, Reading, read
from lrcalc.analysis.ipi_folder import read_run
from lrcalc.analysis.series import WANTED
from lrcalc.ipi_files.extras import layout, shaped, stream


def has_born_current(files: Sequence[str | Path]) -> bool:
    """Whether all files are folders of runs without a current, but with what it is made of."""
    folders = [Path(name) for name in files]
    if not folders or not all(path.is_dir() for path in folders):
        return False
    outputs = [read_run(path).outputs for path in folders]
    return all("current" not in o and {"BEC", "velocities"} <= set(o) for o in outputs)


def read_born_current(folders: Sequence[str | Path], reading: Reading) -> Data:
    """Make the current (T, 3), e Å/fs, of each folder.

    Raises
    ------
    ValueError
        For several beads, whose Born charges are of the centroid, or files of other steps.
    """
    runs = [read_run(folder) for folder in folders]
    for run in runs:
        if run.beads > 1:
            raise ValueError(
                f"{run.folder} has {run.beads} beads, of which no current is made: Born charges "
                "and velocities must be of one bead"
            )
    data = read(folders, "velocities", reading)
    made = [
        _contracted(one, run.outputs["BEC"][0]) for one, run in zip(data.series, runs, strict=True)
    ]
    data.notes.append("current from Born charges and velocities")
    return data._replace(series=made)


def _contracted(velocities: Series, born: Path) -> Series:
    """Make a current of velocities and a file of Born charges, frame by frame."""
    steps = layout(born).steps
    stride = steps[1] - steps[0] if len(steps) == 2 else None
    if velocities.stride != stride:
        raise ValueError(
            f"{born} has Born charges every {stride} steps but {velocities.source} velocities "
            f"every {velocities.stride}. {WANTED['current']}"
        )

    def chunks() -> Iterator[np.ndarray]:
        source, waiting, due = velocities.chunks(), np.empty((0, velocities.columns)), steps[0]
        for found, numbers in stream(born):
            if not np.array_equal(found, due + (stride or 1) * np.arange(len(found))):
                raise ValueError(f"{born}: frames are missing after step {due}; give whole runs")
            due = int(found[-1]) + (stride or 1)
            while len(waiting) < len(found) and (more := next(source, None)) is not None:
                waiting = np.concatenate([waiting, more])
            n = min(len(found), len(waiting))  # a run that was killed has more of one
            tensors = shaped("BEC", numbers[:n])
            yield np.einsum("tiab,tib->ta", tensors, waiting[:n].reshape(n, -1, 3))
            waiting = waiting[n:]

    return velocities._replace(chunks=chunks, columns=3, source=str(born))
