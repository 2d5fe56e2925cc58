"""The command line itself; what commands do is tested with what they are for."""

import argparse
import re
import shutil
import subprocess
import sys
import warnings

import pytest

from lrcalc.cli import main, plain, plain_warnings
from lrcalc.commands._parser import command_parser
from lrcalc.commands._table import COMMANDS
from lrcalc.commands.completion import script
from tests.conftest import run_python


@pytest.mark.parametrize(
    ("given", "read"),
    [("-1e-3", "-0.001"), ("-2.5E+2", "-250"), ("-.5e1", "-5"), ("-1", "-1"), ("1e-3", "1e-3"),
     ("--field", "--field"), ("-e3", "-e3"), ("-3e", "-3e"), ("-1e-3,2", "-1e-3,2")],
)  # fmt: skip
def test_negative_numbers_with_exponents_are_numbers(given, read):
    assert plain(given) == read


def test_a_field_may_be_written_with_an_exponent(tmp_path, capsys):
    missing = str(tmp_path / "missing.xyz")
    assert main(["md", "water", missing, "--field", "0", "0", "-1e-3"]) == 2
    assert "missing.xyz" in capsys.readouterr().err  # and not: expected 3 arguments


def test_help_and_version_import_nothing():
    code = (
        "import sys; from lrcalc.cli import main; main(['--help']); main(['--version']); "
        "heavy = {'torch', 'e3nn', 'ase', 'numpy', 'tqdm'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    printed = run_python(code)
    assert "fit-polarizability  " in printed
    assert re.search(r"lrcalc \d\S+ \(torch \d\S+, Python 3\.\d+", printed)


def test_no_parser_needs_torch():
    code = (
        "import sys; from lrcalc.commands import _parser; "
        "from lrcalc.commands._table import COMMANDS; "
        "[_parser.command_parser(name) for name in COMMANDS]; assert 'torch' not in sys.modules"
    )
    run_python(code)


def test_warnings_of_ours_are_lines_of_the_command():
    before = warnings.formatwarning
    with plain_warnings("ir"):
        told = warnings.formatwarning("no mass", UserWarning, "x.py", 3)
        others = warnings.formatwarning("old", DeprecationWarning, "x.py", 3)
    assert told == "lrcalc ir: warning: no mass\n"
    assert others.startswith("x.py:3: DeprecationWarning: old")
    assert warnings.formatwarning is before


def test_help_may_be_asked_for_by_a_word(capsys):
    assert main(["help"]) == 0
    assert "usage: lrcalc COMMAND" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["help", "md"])
    assert ended.value.code == 0
    assert "usage: lrcalc md " in capsys.readouterr().out


def test_it_is_a_module_too():
    done = subprocess.run([sys.executable, "-m", "lrcalc"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: lrcalc COMMAND" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_means_and_what_it_is(name):
    parser = command_parser(name)
    formatter = parser._get_formatter()
    for action in parser._actions:
        assert action.help, f"{action.option_strings or action.dest} has no help"
        if action.help is argparse.SUPPRESS:
            continue
        default = action.default
        if isinstance(default, bool):  # which is the default is told by name: `--wall`
            assert f"default {default}" not in formatter._expand_help(action)
        elif default not in (None, "", argparse.SUPPRESS, []):
            shown = f"{default:g}" if isinstance(default, float) else f"{default}"
            assert shown in formatter._expand_help(action), action.option_strings
    assert parser.epilog.startswith(f"example: lrcalc {name} ")


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("trian --train missing.xyz", "no command trian; did you mean train?"),
        ("zzyzx", "no command zzyzx\nall commands: lrcalc --help"),
        ("--verison", "no option --verison; did you mean --version?"),
        ("train --epoch5 3", "no option --epoch5; did you mean --epochs?"),
        ("train --lr=1", "no option --lr; did you mean --learning-rate?"),
        ("md water missing.xyz --temprature 3", "no option --temprature; did you mean --temperat"),
        ("md --xyzzy", "no option --xyzzy\nall options: lrcalc md --help"),
        ("ir missing -x", "no option -x"),
        ("train", "are required: --train, --out\nexample: lrcalc train --train"),
        ("md water water64 --ensemble nvtt", "invalid choice: 'nvtt' (choose from"),
    ],
)
def test_what_is_wrong_is_answered_with_the_nearest_before_anything_else(given, answer, capsys):
    try:
        status = main(given.split())
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize("given", ["--temp", "--temp=300", "-o", "-owater", "--"])
def test_what_argparse_takes_is_left_to_it(given):
    assert not command_parser("ir")._is_unknown(given)


SHELLS = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"]}


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        (["tr"], {"train"}, {"md"}),
        ([""], {"train", "modes", "--version"}, set()),
        (["md", "--th"], {"--thermostat-time"}, {"--field"}),
        (["md", "water", "wat"], {"water", "water64", "waterfall.xyz"}, set()),
        (["md", "water", "x", "--ensemble", ""], {"nve", "nvt", "npt"}, {"water"}),
        (["completion", ""], {"bash", "zsh"}, {"water"}),
        (["modes", "--from", "a"], {"a folder"}, {"water"}),
        (["msd", "--cell-from", "wat"], {"water64", "waterfall.xyz"}, {"water"}),
    ],
    ids=[
        "command",
        "nothing",
        "option",
        "files",
        "choice",
        "shell",
        "spaces",
        "structure",
    ],  # not of sets: workers differ
)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell, typed, offered, not_offered, tmp_path, completions):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "waterfall.xyz").touch()
    words = " ".join(f"'{word}'" for word in ["lrcalc", *typed])
    # as bashcompinit calls functions
    like_bash = "emulate sh; setopt ksharrays shwordsplit" if shell == "zsh" else ""
    test = (
        f"{completions[shell]}\n{like_bash}\nCOMP_WORDS=({words}); COMP_CWORD={len(typed)}\n"
        "_lrcalc\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    done = subprocess.run(
        SHELLS[shell], input=test, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    # zsh itself drops what does not begin like the word
    found = {word for word in done.stdout.splitlines() if word.startswith(typed[-1])}
    assert offered <= found, done.stderr
    assert not not_offered & found


@pytest.fixture(scope="module")
def completions():
    return {shell: script(shell) for shell in SHELLS}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = command_parser(name).format_help().splitlines()
    assert max(map(len, lines)) <= 80
    assert f"example: lrcalc {name} " in "\n".join(lines)


def test_the_card_of_a_short_ranged_model_names_no_charges(tmp_path, capsys):
    from lrcalc import save
    from lrcalc.models.potential import Potential

    save(Potential((1, 8), level="sr", channels=4, hidden=8), tmp_path / "m.pt")
    assert main(["info", str(tmp_path / "m.pt")]) == 0
    assert "sr, no charges" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_no_switch_has_true_as_its_default(name):
    """``--no-unknown … (default True)`` reads as if it were given; parts of commands, too."""
    parsers = [command_parser(name)]
    for parser in parsers:
        assert "(default True)" not in parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(action.choices.values())


def test_a_pair_of_switches_says_which_is_the_default():
    assert "(default --wall)" in " ".join(command_parser("train").format_help().split())
