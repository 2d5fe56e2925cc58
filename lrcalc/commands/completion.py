"""`lrcalc completion`: a script that completes commands, options, choices and bundled names.

It is made from the parsers when it is printed, and asks nothing of lrcalc while one types.
"""

from __future__ import annotations

import argparse

from lrcalc.commands._table import COMMANDS

SCRIPT = """\
{head}
_lrcalc() {{
    local command="${{COMP_WORDS[1]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local word="${{COMP_WORDS[COMP_CWORD]}}" words="" files="" IFS=$' \\t\\n'
    case "$COMP_CWORD $command $before" in
    "1 "*) words="{commands} --help --version" ;;
{values}
    *)  case "$command $word" in
{options}
        *) words="{models} {structures}" files=yes ;;
        esac ;;
    esac
    words=$(compgen -W "$words" -- "$word")
    [ -n "$files" ] && words="$words"$'\\n'$(compgen -f -- "$word")
    IFS=$'\\n'
    COMPREPLY=($words)
}}
complete -o filenames -F _lrcalc lrcalc
"""

STRUCTURES = ("structure", "template", "cell_from")
"""Arguments for which the name of a bundled structure will do."""

HEADS = {
    "bash": "# completion of lrcalc in bash: source it, or keep it as\n"
    "# ~/.local/share/bash-completion/completions/lrcalc",
    "zsh": "#compdef lrcalc\n# completion of lrcalc in zsh: source it in ~/.zshrc\n"
    "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=sorted(HEADS), help="what to write it for")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    """Completion script of a shell, from the parsers of all commands."""
    from lrcalc.commands._parser import command_parser
    from lrcalc.zoo import models, structures

    options, values = [], []
    for name in COMMANDS:
        parser = command_parser(name)
        options.append(f'        "{name} -"*) words="{" ".join(parser.options())}" ;;')
        for action in parser._actions:
            before = action.option_strings or [name]
            offered = value_of(action)
            if offered and (action.option_strings or action.choices):
                when = "|".join(f'*" {name} {spelling}"' for spelling in before)
                values.append(f"    {when}) {offered} ;;".replace(f" {name} {name}", f" {name}"))
    return SCRIPT.format(
        head=HEADS[shell],
        commands=" ".join(COMMANDS),
        options="\n".join(options),
        values="\n".join(values),
        models=" ".join(models()),
        structures=" ".join(structures()),
    )


def value_of(action: argparse.Action) -> str:
    """Return what may follow an option, as assignments of the script; nothing for a switch."""
    from lrcalc.zoo import models, structures

    if action.choices:
        return f'words="{" ".join(map(str, action.choices))}"'
    if action.nargs == 0:
        return ""
    if action.type in (int, float):
        return "words="
    names = {"model": models()} | dict.fromkeys(STRUCTURES, structures())
    return f'words="{" ".join(names.get(action.dest, []))}" files=yes'
