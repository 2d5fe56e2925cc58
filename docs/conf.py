"""Sphinx: `make docs` builds the site into docs/_build, without network, and fails on a warning."""

import contextlib
import io
import os
import re
import sys
from importlib.metadata import files
from pathlib import Path
from pydoc import locate

HERE = Path(__file__).parent
os.environ["COLUMNS"] = "92"  # of the commands' help
sys.path.insert(0, str(HERE.parent))

from sphinx.ext.napoleon import NumpyDocstring  # noqa: E402

from lrcalc import __version__  # noqa: E402

project = "lrcalc"
author = "the lrcalc authors"
release = version = __version__
html_title = f"lrcalc {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["lrcalc.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

# MathJax from a package, one file without fonts beside it: pages render without network
MATHJAX = next(f for f in files("sphinx-mathjax-offline") or () if f.name == "tex-svg-full.js")
html_static_path.append(str(MATHJAX.locate()))
mathjax_path = "tex-svg-full.js"
mathjax_options = {"defer": "defer"}

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4

autodoc_mock_imports = ["torch_sim", "triton"]  # extras that pages do not need
autodoc_member_order = "bysource"
# a package shows what it defines, not what it hands on from its modules
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_typehints = "none"  # docstrings say the shape and the unit, which an annotation cannot
# types in our docstrings are words ("ndarray (N, 3), eV/Å"), not names to be looked up
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
# "Å; width of …: …" under a constant is a sentence, not "type: description"
NumpyDocstring._parse_attribute_docstring = lambda self: list(self._lines)

nitpicky = True
# other people's packages, whose inventories would need the network
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|collections|ase|e3nn|phonopy|matplotlib|argparse)\..*")
]


def write_api_pages() -> None:
    """One page a room, with every module that has a docstring, and one of the commands' help."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    wanted = set()
    for name, text in {**rooms(), "commands": commands()}.items():
        page = folder / f"{name}.rst"
        wanted.add(page)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
    for page in set(folder.iterdir()) - wanted:
        page.unlink()


def rooms() -> dict[str, str]:
    """Return the text of each page: a package, or the single files together."""
    pages: dict[str, list[str]] = {}
    for path in sorted((HERE.parent / "lrcalc").rglob("*.py")):
        parts = path.relative_to(HERE.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if len(parts) == 1 or parts[-1].startswith("_") or parts[1] in ("commands", "zoo", "cli"):
            continue
        if parts[-1] == "lrcalc_pes":  # i-PI loads it by its path
            continue
        package = (HERE.parent / "lrcalc" / parts[1]).is_dir()
        pages.setdefault(parts[1] if package else "single", []).append(".".join(parts))
    return {name: page(name, sorted(modules)) for name, modules in pages.items()}


def page(name: str, modules: list[str]) -> str:
    """Text of the page of one room."""
    title = "Rooms of one file" if name == "single" else f"lrcalc.{name}"
    lines = [title, "=" * len(title), ""]
    for module in modules:
        if module != title:
            lines += [module, "-" * len(module), ""]
        lines += [f".. automodule:: {module}", ""]
    return "\n".join(lines)


def commands() -> str:
    """Text of the page of the command line: what ``--help`` prints."""
    from lrcalc.cli import COMMANDS, main

    lines = ["Command line", "============", "", "What ``lrcalc COMMAND --help`` prints.", ""]
    for name in COMMANDS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([name, "--help"])
        lines += [f"lrcalc {name}", "-" * (7 + len(name)), "", ".. code-block:: text", ""]
        lines += [f"   {line}" for line in printed.getvalue().splitlines()] + [""]
    return "\n".join(lines)


def skip(app, what, name, obj, skipped, options):  # noqa: ANN001, ANN201
    """Leave out the fields of named tuples: the Attributes section says what they are."""
    return True if type(obj).__name__ == "_tuplegetter" else None


CODE = re.compile(r"(``.+?``|^ *(?:>>>|\.\.\.)[^\n]*|:[\w:]+:`[^`]+`)", re.S | re.M)
"""What is not prose: literals, lines of doctests, references."""


def named(match):  # noqa: ANN001, ANN201
    """Make a reference, which must be found, of a name of ours in backticks; else code."""
    word = match[1]
    if not re.fullmatch(r"lrcalc(\.\w+)+", word):
        return f"``{word}``"
    found = locate(word)
    found = getattr(found, "fget", found)
    inside = getattr(found, "__qualname__", None)  # where it is written, not handed on
    target = f"{found.__module__}.{inside}" if inside else word
    return f":py:obj:`{word} <{target}>`"


def prose(app, what, name, obj, options, lines):  # noqa: ANN001, ANN201
    """Let "physics §4" lead to the theory, |k| be a length, (N, *shape) a shape."""
    parts = CODE.split("\n".join(lines))
    for k in range(0, len(parts), 2):
        part = re.sub(r"(\||\*(?=\w+\)))", r"\\\1", parts[k])
        part = re.sub(r"`([^`]+)`(?!_)", named, part)
        parts[k] = re.sub(r"hysics §(\d)", r"hysics :ref:`§\1 <physics-\1>`", part)
    lines[:] = "".join(parts).split("\n")


def setup(app):  # noqa: ANN001, ANN201
    """Write the API pages before anything is read."""
    write_api_pages()
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", prose)
