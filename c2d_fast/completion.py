"""`python -m c2d_fast.completion`: a shell's completion of the program c2d-fast."""

import argparse
import importlib
from typing import Any

from c2d_fast import cli
from c2d_fast.errors import UserError

_SHELLS = ("bash", "zsh")
_DIRECTORY = {"DIR"}
_FILE = {"FILE", "LIST", "MANIFEST", "PATH", "FOLDER", "CSV", "VIDEO"}


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "completion",
        "Prints a script that lets a shell complete the program c2d-fast: its commands, their flags, choices and files.\n"
        'bash, now: eval "$(c2d-fast completion bash)". For good: into ~/.local/share/bash-completion/completions/c2d-fast.\n'
        "zsh, for good: into a file _c2d-fast in a folder of $fpath.",
        "python -m c2d_fast.completion bash > c2d-fast.bash",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=" or ".join(_SHELLS))
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def script_for(shell: str) -> str:
    """Returns the script for bash or zsh.

    Raises:
        UserError: the package that writes it is missing.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError(f"completion: needs a package that does not import: shtab ({error}); pip install shtab") from error
    functions: dict[str, str] = {}
    parser = _program(functions, shell, {"file": shtab.FILE, "directory": shtab.DIRECTORY})
    preamble: Any = {shell: "\n".join(functions.values())}
    script: str = shtab.complete(parser, shell=shell, preamble=preamble)
    return script


def _program(functions: dict[str, str], shell: str, places: dict[str, Any]) -> argparse.ArgumentParser:
    """Returns a parser of all commands whose flags say how they are completed; functions gets the shell's, by their names."""
    from c2d_fast.overrides import settable
    from c2d_fast.program import COMMANDS
    from c2d_fast.recipe import Recipe, shipped_pipes

    program = argparse.ArgumentParser(prog="c2d-fast")
    program.add_argument("--version", action="store_true", help="print the version")
    commands = program.add_subparsers()
    for name, text in COMMANDS.items():
        parser = importlib.import_module(f"c2d_fast.{name}").make_parser()
        for action in _actions(parser):
            parts = (action.metavar or "").split("|") if isinstance(action.metavar, str) else []
            words = [part for part in parts if part.islower()] + list(shipped_pipes() if action.dest == "pipe" else ())
            words += [f"{name}=" for name in settable(Recipe)] if action.dest == "set" else []
            if _FILE & {*parts}:
                how = _words_or_files(action.dest, words, functions, shell) if words else places["file"]
                action.complete = how  # type: ignore[attr-defined]
            elif _DIRECTORY & {*parts}:
                action.complete = places["directory"]  # type: ignore[attr-defined]
            elif words:
                action.choices = words
        commands.add_parser(name, help=text, parents=[parser], add_help=False)
    return program


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Returns a parser's flags and places, those of its subcommands with them."""
    actions = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            actions += [inner for command in action.choices.values() for inner in _actions(command)]
        else:
            actions.append(action)
    return actions


def _words_or_files(flag: str, words: list[str], functions: dict[str, str], shell: str) -> dict[str, str]:
    """Returns how a shell completes what may be one of a few words or a file: by a function, which functions gets."""
    name, text = f"_c2d_fast_file_or_{flag}", " ".join(words)  # by _file in its name shtab knows that it gives files
    functions[name] = {
        "bash": f'{name}() {{ compgen -W "{text}" -- "$1"; _shtab_compgen_files "$1"; }}',
        "zsh": f"{name}() {{ _alternative 'words:word:({text})' 'files:file:_files'; }}",
    }[shell]
    return {shell: name}


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    from c2d_fast.console import result

    cli.imports_done()
    result(script_for(args.shell))


if __name__ == "__main__":
    cli.run(main)
