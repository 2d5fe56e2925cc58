"""C++ that is compiled when it is needed: kept, made again where it is broken, done without."""

import ctypes
import logging
import os
import shutil
import stat
import subprocess
import sys

import pytest

from lrcalc import compiler
from lrcalc.compiler import cache_folder, shared_library
from tests.test_house import ROOT

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, compiler.COMPILERS)), reason="no C++ compiler"
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source; libraries are kept in a folder beside it."""
    monkeypatch.setenv("LRCALC_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "number.cpp"
    source.write_text('extern "C" int number() { return NUMBER; }\n')
    return source


def number(source, value=7):
    library = shared_library("number", [source], {"NUMBER": value})
    return None if library is None else library.number()


def forbid(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("compiled again")

    monkeypatch.setattr(subprocess, "run", fail)


def test_a_library_is_compiled_once(source, monkeypatch):
    assert number(source) == 7
    assert number(source, 8) == 8
    assert len(list(cache_folder().glob("lrcalc-number-*.so"))) == 2
    forbid(monkeypatch)
    assert number(source) == 7


@pytest.mark.parametrize("change", ["source", "options", "processor"])
def test_what_differs_is_another_library(source, monkeypatch, change):
    assert number(source) == 7
    if change == "source":
        source.write_text('extern "C" int number() { return 1 + NUMBER; }\n')
    elif change == "options":
        monkeypatch.setattr(compiler, "FLAGS", ("-O0", *compiler.FLAGS[1:]))
    else:
        monkeypatch.setattr(compiler, "_machine", lambda: "another")
    assert number(source) == (8 if change == "source" else 7)
    assert len(list(cache_folder().iterdir())) == 2


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "text"])
def test_a_broken_library_is_made_again(source, how):
    """In a process of its own: loading half of a library may end it."""
    code = (
        "from pathlib import Path; from lrcalc.compiler import shared_library; "
        f"print(shared_library('number', [Path({str(source)!r})], {{'NUMBER': 7}}).number())"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout == "7\n"
    (path,) = cache_folder().iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "changed": whole[:middle] + bytes(200) + whole[middle + 200 :],
            "empty": b"",
            "text": b"nothing",
        }[how]
    )
    assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout == "7\n"
    assert path.read_bytes()[-20:] == whole[-20:] or len(path.read_bytes()) == len(whole)


def test_processes_that_compile_at_once(source):
    code = (
        "from pathlib import Path; from lrcalc.compiler import shared_library; "
        f"print(shared_library('number', [Path({str(source)!r})], {{'NUMBER': 7}}).number())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in started] == ["7\n"] * 3
    assert len(list(cache_folder().iterdir())) == 1


def test_a_folder_that_cannot_be_written(source, monkeypatch, caplog):
    """A file is in the way: permissions do not stop root."""
    cache_folder().write_text("in the way")
    with caplog.at_level(logging.DEBUG, "lrcalc"):
        assert number(source) == 7
    assert "for this process alone" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(source):
    cache_folder().mkdir()
    cache_folder().chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert number(source) == 7
    assert not list(cache_folder().iterdir())


def test_a_folder_that_refuses_files(source, monkeypatch, caplog):
    """The compiler needs no room there, so that what it says of it is not taken for its failure."""

    def refused(path):
        raise PermissionError(f"no writing into {path.parent}")

    monkeypatch.setattr(compiler, "replacing", refused)
    with caplog.at_level(logging.DEBUG, "lrcalc"):
        assert number(source) == 7
    assert "for this process alone" in caplog.text
    assert not list(cache_folder().iterdir())


def test_a_folder_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LRCALC_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"


def test_without_a_compiler(source, monkeypatch, tmp_path, caplog, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.DEBUG, "lrcalc"):
        assert number(source) is None
    assert "no C++ compiler" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_what_does_not_compile(source, caplog, capfd):
    source.write_text("this is no C++\n")
    with caplog.at_level(logging.DEBUG, "lrcalc"):
        assert number(source) is None
    assert "failed" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert not list(cache_folder().glob("*"))


def test_a_compiler_that_does_not_know_this_processor(source, monkeypatch):
    monkeypatch.setattr(compiler, "FOR_THIS_PROCESSOR", (["-march=nonsense"], []))
    assert number(source) == 7


def test_a_compiler_that_never_ends(source, monkeypatch, tmp_path):
    script = tmp_path / "waits"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setattr(compiler, "LONGEST", 0.1)
    assert number(source) is None


def test_a_library_that_is_whole_and_does_not_load_is_made_again(source, monkeypatch):
    """As a compiler that says yes and writes nothing leaves it, or another system."""
    monkeypatch.setenv("CXX", "true")
    assert number(source) is None
    assert not list(cache_folder().iterdir())
    monkeypatch.delenv("CXX")
    assert number(source) == 7
    (path,) = cache_folder().iterdir()
    nothing = b"no library"
    path.unlink()  # it is loaded: what is written into it would end this process
    path.write_bytes(nothing + compiler._seal(nothing))
    assert number(source) == 7
    assert path.read_bytes()[: len(nothing)] != nothing


def test_a_compiler_with_options_or_a_wrapper(source, monkeypatch):
    own = next(filter(shutil.which, compiler.COMPILERS))
    for words in (f"{own} -O1", f"env {own}"):
        monkeypatch.setenv("CXX", words)
        assert compiler.find_compiler() == words.split()
        assert number(source) == 7
    monkeypatch.setenv("CXX", "nothing-of-this-name -O1")
    with pytest.raises(ValueError, match="nothing-of-this-name -O1 not found"):
        compiler.find_compiler()


def test_folders_by_relative_names(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRCALC_CACHE", ".")
    assert number(source) == 7
    assert list(tmp_path.glob("lrcalc-number-*.so"))
    forbid(monkeypatch)
    assert number(source) == 7
    monkeypatch.setenv("LRCALC_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other" / "lrcalc"


def test_who_waits_is_told_once(source, caplog):
    compiler._say_once.cache_clear()
    assert number(source) == 7
    assert number(source, 8) == 8
    assert caplog.text.count("compiles functions for this machine, once") == 1
    shutil.rmtree(cache_folder())
    cache_folder().write_text("in the way")
    assert number(source) == 7
    assert number(source, 8) == 8
    assert caplog.text.count("cannot be kept, and are made by every process anew") == 1
    assert "LRCALC_CACHE" in caplog.text


def test_the_library_is_a_library(source):
    assert isinstance(shared_library("number", [source], {"NUMBER": 1}), ctypes.CDLL)
