"""Every line of code in README, CONTRIBUTING and docs: Python runs, commands are parsed.

Blocks of ``python`` on one page share their names. After ``<!-- long -->`` a block is only compiled
here and runs with `make test-long`, and so do the commands, with few steps.
"""

import argparse
import contextlib
import re
import shlex
from pathlib import Path

import pytest

from lrcalc.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    if page.exists() and "_build" not in page.parts
]
BLOCK = re.compile(r"(<!-- long -->\n+)?^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page, language):
    """(long, code) of each block."""
    found = BLOCK.findall(page.read_text())
    return [(bool(long), code) for long, name, code in found if name == language]


def commands(page):
    """Shell commands of a page as words, continuation lines joined, comments left out."""
    found = []
    for _, code in blocks(page, "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(words)
    return found


def with_blocks(language):
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES if blocks(p, language)]


def run_blocks(page, folder, *, long):
    names = {"__name__": "page"}
    with contextlib.chdir(folder):
        for costs_time, code in blocks(page, "python"):
            compiled = compile(code, str(page), "exec")
            if long or not costs_time:
                exec(compiled, names)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python(page, tmp_path):
    run_blocks(page, tmp_path, long=False)


class Understood(Exception):
    """The options of a command were parsed; it does not run."""


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_are_understood(page, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def only_parse(*given):
        parse(*given)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for words in commands(page):
        if words[0] == "lrcalc" and not words[1].startswith("-"):
            with pytest.raises(Understood):
                main(words[1:])
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    text = page.read_text()
    for name in re.findall(r"\b((?:benchmarks|examples|tests|lrcalc|tools)/[\w/]+\.\w+)", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\bexamples/(\d\d)\b", text):
        assert list((ROOT / "examples").glob(f"{name}_*.py")), name
    for name in re.findall(r"`lrcalc ([a-z-]+)", text):
        assert name in COMMANDS, name


@pytest.mark.long
@pytest.mark.parametrize("page", with_blocks("python"))
def test_all_python(page, tmp_path):
    run_blocks(page, tmp_path, long=True)
