"""`verifier completion`: scripts that complete commands and options in a shell, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from verifier.cli.places import Reads, Writes

SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": "put `source <(verifier completion bash)` into ~/.bashrc",
    "zsh": "put `source <(verifier completion zsh)` into ~/.zshrc, behind compinit",
    "fish": "verifier completion fish > ~/.config/fish/completions/verifier.fish",
}


def script(shell: str, whole: argparse.ArgumentParser) -> str:
    """The script for a shell, to be read by it when it starts: completing starts no process."""
    commands = dict(_commands(whole))
    if shell == "fish":
        return "\n".join([f"# {HOW[shell]}", *_fish(commands)]) + "\n"
    begin = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"# {HOW[shell]}\n{begin}" + _bash(commands)


def _commands(whole: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command's name and parser."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if action.option_strings]


def _words(action: argparse.Action) -> str | None:
    """The words that an option's value can be; None for a file; empty for anything else, or no value."""
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    return None if isinstance(action.type, (Reads, Writes)) else ""


def _places(command: argparse.ArgumentParser) -> str | None:
    """The same of a command's arguments that have no name."""
    found = [_words(action) for action in command._actions if not action.option_strings]
    return None if None in found or not found else " ".join(word for word in found if word)


FILES = "local IFS=$'\\n'; compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -f -- \"$cur\"))"
BASH = """_verifier() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
    [[ $cur == = ]] && cur=
    [[ $prev == = ]] && prev=${{COMP_WORDS[COMP_CWORD-2]}}
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$cur"))
        return
    fi
    case "$command $prev" in
{values}
    esac
    if [[ $cur == -* ]]; then
        case $command in
{options}
        esac
        return
    fi
    case $command in
{places}
    esac
    {files}
}}
complete -F _verifier verifier
"""


def _bash(commands: dict[str, argparse.ArgumentParser]) -> str:
    values, options, places = [], [], []
    for name, command in commands.items():
        for action in _options(command):
            if action.nargs == 0:
                continue
            pattern = "|".join(f'"{name} {option}"' for option in action.option_strings)
            if (words := _words(action)) is not None:
                values.append(f'        {pattern}) COMPREPLY=($(compgen -W "{words}" -- "$cur")); return ;;')
            else:
                values.append(f"        {pattern}) {FILES}; return ;;")
        listed = " ".join(option for action in _options(command) for option in action.option_strings)
        options.append(f'            {name}) COMPREPLY=($(compgen -W "{listed}" -- "$cur")) ;;')
        if (words := _places(command)) is not None:
            places.append(f'        {name}) COMPREPLY=($(compgen -W "{words}" -- "$cur")); return ;;')
    return BASH.format(
        files=FILES,
        commands=" ".join(commands),
        values="\n".join(values),
        options="\n".join(options),
        places="\n".join(places),
    )


def _fish(commands: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    for name, command in commands.items():
        yield f"complete -c verifier -f -n __fish_use_subcommand -a {name} -d {_quoted(command.description or '')}"
    for name, command in commands.items():
        of = f"complete -c verifier -n '__fish_seen_subcommand_from {name}'"
        if (places := _places(command)) is not None:
            yield f"{of} -f" + (f" -a {_quoted(places)}" if places else "")
        for action in _options(command):
            names = " ".join(f"-{'l' if o.startswith('--') else 's'} {o.lstrip('-')}" for o in action.option_strings)
            words = _words(action)
            value = "" if action.nargs == 0 else " -r -F" if words is None else f" -x -a {_quoted(words)}"
            yield f"{of} {names}{value} -d {_quoted(action.help or '')}"


def _quoted(text: str) -> str:
    """A word of fish, with what stands in help texts for a percent sign."""
    text = text.replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
