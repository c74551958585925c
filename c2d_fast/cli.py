"""What all commands share: flags with the same names and meanings, one-line errors, exit codes."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from c2d_fast.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, EndedError, ToldElsewhereError, UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as a UserError, without the usage text."""
        raise UserError(f"{message}; see python -m {self.prog} --help")


def command(name: str, description: str, example: str) -> Parser:
    """Returns the parser of `python -m c2d_fast.NAME`."""
    return Parser(
        prog=f"c2d_fast.{name}",
        description=description,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_list_flags(group: "argparse._ActionsContainer") -> None:
    """Adds the flags that say how lists are to be understood."""
    group.add_argument("--num-classes", type=positive, metavar="K",
                       help="default: as many as --label-map has, or the checkpoint, or the recipe")  # fmt: skip
    group.add_argument("--label-map", metavar="FILE", help="class names, one a line, or lines of `name index`")
    names = "of files where lists give ids, e.g. '{id}.mp4'; a CSV also has {start} {end} {label} {split}"
    group.add_argument("--video-name", metavar="TEMPLATE", help=names)


def add_loader_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how videos are read."""
    group = parser.add_argument_group("reading videos")
    group.add_argument("--decoder", default="auto", choices=("auto", "nvdec", "dali", "ffmpeg"),
                       help="auto (default): nvdec where GPU, driver and every video allow it, else ffmpeg")  # fmt: skip
    group.add_argument("--workers", type=positive, metavar="N", help="processes that read and decode (default: by CPUs)")
    group.add_argument("--decoder-threads", type=positive, metavar="N",
                       help="threads of an ffmpeg decoder (default 1), or of nvdec (8) and dali (all CPUs)")  # fmt: skip
    group.add_argument("--whole-files", action="store_true",
                       help="read and decode files whole, not only what a clip needs: for comparison")  # fmt: skip
    group.add_argument("--allow-missing", action="store_true",
                       help="go on without missing files; when scoring, without any file that does not decode")  # fmt: skip


def add_compute_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how the model is computed."""
    group = parser.add_argument_group("computing")
    group.add_argument("--precision", choices=("bf16", "fp16", "fp32"), help="default: bf16 on a GPU, fp32 on a CPU")
    group.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: on a GPU)")


def positive(text: str) -> int:
    """Parses a whole number >= 1 that fits 63 bits."""
    number = int(text)
    if not 1 <= number < 2**63:
        raise ValueError
    return number


def batch_size(text: str) -> int | str:
    """Parses a whole number >= 1, or auto."""
    return text if text == "auto" else positive(text)


def per_cent(text: str) -> float:
    """Parses a number of per cent, above 0 and below 100."""
    number = float(text)
    if not 0 < number < 100:
        raise ValueError
    return number


def minutes(text: str) -> float:
    """Parses a number of minutes, above 0."""
    return seconds(text)


def seconds(text: str) -> float:
    """Parses a number of seconds, above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def crf(text: str) -> int:
    """Parses an encoder's constant rate factor, 0 to 51."""
    number = int(text)
    if not 0 <= number <= 51:
        raise ValueError
    return number


def not_negative(text: str) -> int:
    """Parses a whole number >= 0 that fits 63 bits."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError
    return number


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a command's main function and ends the process with its exit code."""
    # Progress is read while it happens, also through a pipe.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be any bytes
    try:
        main()
    except ToldElsewhereError:
        sys.exit(EXIT_USER_ERROR)
    except EndedError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and written: Ctrl-C while workers end changes nothing
    sys.exit(0)
