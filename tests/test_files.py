"""A file is replaced whole or not at all."""

from pathlib import Path

import pytest

from lrcalc.files import replacing

ROOM = Path(__file__).parents[1] / "lrcalc"


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".xyz"
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere for run\.xyz; make it"):
        replacing(tmp_path / "nowhere" / "run.xyz").__enter__()


def test_it_is_the_only_atomic_write():
    found = [
        p.name
        for p in sorted(ROOM.rglob("*.py"))
        if "os.replace(" in p.read_text() or "mkstemp" in p.read_text()
    ]
    assert found == ["files.py"]
