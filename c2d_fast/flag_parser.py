"""The parser that all commands share: help that fits a screen, errors of one line."""

import argparse
import re
import textwrap
from typing import NoReturn

from c2d_fast.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose help fits a screen and whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as a UserError, without the usage text."""
        raise UserError(f"{message}; see python -m {self.prog} --help")

    def format_help(self) -> str:
        """Returns the help: usage in one line, a line for each flag where the terminal is wide, groups close together."""
        if self.usage is None:
            self.usage = f"python -m {self.prog} {self._needed()} [flags]"
        text = super().format_help().replace("\n\n", "\n", 1).replace("\n\noptions:\n", "\n", 1)
        return re.sub(r"\n\n(?=[^\n]+:\n  )", "\n", text)

    def _needed(self) -> str:
        needed = [action for action in self._actions if action.required]
        words = [[*action.option_strings[:1], _metavar(action)] for action in needed if action.option_strings]
        places = [_metavar(action) + ("..." if action.nargs == "+" else "") for action in needed if not action.option_strings]
        return " ".join([*places, *(word for pair in words for word in pair)])


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


class Help(argparse.RawDescriptionHelpFormatter):
    """Help in which lines stay lines."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # Lines stay lines; only long ones are broken, and no example, which is to be copied.
        lines = text.splitlines()
        return "\n".join(line if line.startswith("example: ") else textwrap.fill(line, width) for line in lines)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # Of a switch that is on, the form that puts it off is what one may need.
        if isinstance(action, argparse.BooleanOptionalAction) and action.default:
            return action.option_strings[-1]
        return super()._format_action_invocation(action)
