"""What ends a command early: `cli.run` makes one line and an exit code of it."""

from collections.abc import Set as AbstractSet

EXIT_USER_ERROR = 2
EXIT_START_AGAIN = 75
"""sysexits.h's EX_TEMPFAIL: nothing is to be mended, the same command goes on with --resume auto. torchrun restarts on it."""
EXIT_INTERRUPTED = 130
TRAIN_FLAGS = frozenset({"resume", "batch_size", "accumulate", "decode_batch", "decoder_threads", "workers"})
"""Flags that messages of shared modules name as remedies: train has all, other commands some."""


class UserError(ValueError):
    """The user's input breaks a rule: the commands print its one line on stderr and exit with status 2.

    The message names the thing, its value, the rule, and what to do next.
    """

    def __init__(self, message: str):
        super().__init__(on_one_line(" ".join(message.split())))


def on_one_line(text: str) -> str:
    """Returns a text with names from files in it: what would move a terminal's cursor is shown, not sent."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class ReportedElsewhereError(UserError):
    """A user error that another rank prints."""


class EndedError(Exception):
    """A run ends before its work is done, and as it should: by a signal, or because another process of it is gone."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def restart_hint(flags: AbstractSet[str]) -> str:
    """Returns what to do when nothing is to be mended, by a command with these flags."""
    return "start again with --resume auto" if "resume" in flags else "give the same command again"


def smaller_batches_hint(flags: AbstractSet[str]) -> str:
    """Returns what to lower when memory is short, by a command with these flags."""
    ways = {
        "batch_size": "--batch-size (twice --accumulate makes as large a step)" if "accumulate" in flags else "--batch-size",
        "decode_batch": "--decode-batch",
        "decoder_threads": "--decoder-threads",
        "workers": "--workers",
    }
    *some, last = [text for name, text in ways.items() if name in flags] or ["the number of videos"]
    return f"lower {', '.join(some)} or {last}" if some else f"lower {last}"
