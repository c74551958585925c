"""What all commands share: flags with the same names and meanings, one-line errors, exit codes."""

import argparse
import atexit
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from c2d_fast import console, flag_parser
from c2d_fast.errors import EXIT_USER_ERROR, EndedError, ReportedElsewhereError, UserError, on_one_line
from c2d_fast.processes import early_signals
from c2d_fast.remote.remote_path import Location, local_path, user_location

T = TypeVar("T")

_EXIT_CODES = "exit codes: 0 done; 2 an error to mend; 128 + N signal N (130 Ctrl-C)"


Parser = flag_parser.Parser


def command(name: str, description: str, example: str, *, exit_codes: str = "", quiet: bool = True) -> Parser:
    """Returns the parser of `python -m c2d_fast.NAME`.

    Args:
        name: of the command.
        description: what it does.
        example: a command line that works.
        exit_codes: further ones than all commands have.
        quiet: whether it has the flag --quiet itself; otherwise its subcommands have, see add_quiet.
    """
    parser = Parser(
        prog=f"c2d_fast.{name}",
        description=description,
        epilog=f"example: {example}\n{_EXIT_CODES}{exit_codes}",
        formatter_class=flag_parser.Help,
        allow_abbrev=False,
    )
    if quiet:
        add_quiet(parser)
    return parser


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that begin() heeds."""
    parser.add_argument("--quiet", action="store_true", help="show results and errors only")


def add_subcommand(commands: Any, name: str, *, summary: str, description: str, example: str, exit_codes: str = "") -> Parser:
    """Returns the parser of a subcommand: of `python -m c2d_fast.prepare NAME`."""
    epilog = f"example: {example}\n{_EXIT_CODES}{exit_codes}"
    parser: Parser = commands.add_parser(
        name, help=summary, description=description, epilog=epilog, formatter_class=flag_parser.Help
    )
    add_quiet(parser)
    return parser


def begin(args: argparse.Namespace, *, quiet: bool = False) -> None:
    """Called by a command once its flags are parsed, and before anything is printed: heeds --quiet."""
    if args.quiet or quiet:
        console.quieten()


def imports_done() -> None:
    """Called by a command once its imports are done: what it does from now on may have to be tidied up when a signal comes."""
    from c2d_fast.processes.signals import raise_on_signals

    raise_on_signals()


def add_recipe_flags(parser: argparse.ArgumentParser, what: str, *, required: bool = True) -> None:
    """Adds the flags that say which recipe, and in what it differs from its file; what: the help of --pipe."""
    parser.add_argument("--pipe", required=required, metavar="FILE", help=what)
    text = "change the recipe, such as training.lr=0.02; any number of times (docs/recipes.md)"
    parser.add_argument("--set", action="append", default=[], metavar="PART.FIELD=VALUE", help=text)


def add_list_flags(group: "argparse._ActionsContainer") -> None:
    """Adds the flags that say how lists are to be understood."""
    group.add_argument("--num-classes", type=positive, metavar="K",
                       help="default: as many as --label-map has, or the checkpoint, or the recipe")  # fmt: skip
    group.add_argument("--label-map", metavar="FILE", help="class names, one a line, or lines of `name index`")
    names = "where lists give ids, e.g. '{id}.mp4'; a CSV also has {start} {end} {label} {split}"
    group.add_argument("--video-name", metavar="TEMPLATE", help=names)


def add_loader_flags(parser: argparse.ArgumentParser, *, of_list: bool = True) -> "argparse._ActionsContainer":
    """Adds the flags that say how videos are read, those of a list or others; returns their group."""
    group = parser.add_argument_group("reading videos")
    decoders = "nvdec, dali, ffmpeg, hybrid (shared), or auto: of nvdec and ffmpeg what is faster here"
    group.add_argument(
        "--decoder", default="auto", choices=("auto", "nvdec", "dali", "ffmpeg", "hybrid"), metavar="NAME", help=decoders
    )
    group.add_argument("--hybrid-share", type=share, metavar="S", help="of nvdec in hybrid, 0 to 1 (default: measured)")
    group.add_argument("--workers", type=positive, metavar="N", help="processes that read and decode (default: by CPUs)")
    group.add_argument("--decoder-threads", type=positive, metavar="N",
                       help="threads of an ffmpeg decoder (default 1), or of nvdec and dali (by CPUs)")  # fmt: skip
    group.add_argument("--whole-files", action="store_true",
                       help="read and decode files whole, not only what a clip needs: for comparison")  # fmt: skip
    group.add_argument("--cache", metavar="DIR", help="keep what is read of remote videos in this folder (docs/remote.md)")
    group.add_argument("--cache-gb", type=gigabytes, metavar="N", help="what the folder may hold (default 50)")
    if of_list:
        group.add_argument("--allow-missing", action="store_true",
                           help="go on without missing files; when scoring, without any file that does not decode")  # fmt: skip
    return group


def add_compute_flags(parser: argparse.ArgumentParser, group: "argparse._ActionsContainer | None" = None) -> None:
    """Adds the flags that say how the model is computed, to a group of their own where none is given."""
    group = group or parser.add_argument_group("computing")
    group.add_argument("--precision", choices=("bf16", "fp16", "fp32"), help="default: bf16 on a GPU, fp32 on a CPU")
    group.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: on a GPU)")


def _number(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number") from None


def path(text: str) -> Path:
    """Parses a path on this machine: a URL is refused."""
    return _refused_without_value(local_path, text)


def location(text: str) -> Location:
    """Parses a path or a URL without secrets."""
    return _refused_without_value(user_location, text)


def _refused_without_value(parse: Callable[[str], T], text: str) -> T:
    """Has argparse say what is wrong with a value, which may be a secret, instead of the value."""
    try:
        return parse(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Parses a whole number >= 1 that fits 63 bits."""
    number: int = _number(int, text)
    if not 1 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, 1 or more")
    return number


def part(text: str) -> tuple[int, int]:
    """Parses I/N, a part of N parts that are numbered from 1."""
    number, slash, count = text.partition("/")
    found = (positive(number), positive(count)) if slash and "/" not in count else (1, 0)
    if not found[0] <= found[1] < 10**6:
        raise argparse.ArgumentTypeError(f"{text} must be I/N, part I of N, counted from 1")
    return found


def batch_size(text: str) -> int | str:
    """Parses a whole number >= 1, or auto."""
    return text if text == "auto" else positive(text)


def per_cent(text: str) -> float:
    """Parses a number of per cent, above 0 and below 100."""
    number: float = _number(float, text)
    if not 0 < number < 100:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and below 100")
    return number


def share(text: str) -> float:
    """Parses a share, above 0 and below 1."""
    number: float = _number(float, text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and below 1")
    return number


def minutes(text: str) -> float:
    """Parses a number of minutes, above 0."""
    return seconds(text)


def gigabytes(text: str) -> float:
    """Parses a size in units of 10**9 bytes, above 0."""
    return seconds(text)


def seconds(text: str) -> float:
    """Parses a number of seconds, above 0."""
    number: float = _number(float, text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return number


def crf(text: str) -> int:
    """Parses an encoder's constant rate factor, 0 to 51."""
    number: int = _number(int, text)
    if not 0 <= number <= 51:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, 0 to 51")
    return number


def not_negative(text: str) -> int:
    """Parses a whole number >= 0 that fits 63 bits."""
    number: int = _number(int, text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, 0 or more")
    return number


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a command's main function and ends the process with its exit code."""
    console.begin()
    code = 0
    try:
        main()
    except Exception as error:
        # What a signal has been made of is no error of its own.
        code = _interrupted() if early_signals.received else _told(error)
    except KeyboardInterrupt:
        code = _interrupted()
    for number in early_signals.STOP_SIGNALS:  # all is done and written: one that comes while workers end changes nothing
        signal.signal(number, signal.SIG_IGN)
    _leave(code)


def _interrupted() -> int:
    number = early_signals.received[0] if early_signals.received else signal.SIGINT
    _say(early_signals.exit_message(number))
    return early_signals.exit_code(number)


def _told(error: Exception) -> int:
    """Says in one line what has ended a command, and returns its exit code.

    Raises:
        Exception: it is none that was made for the user.
    """
    if isinstance(error, ReportedElsewhereError):
        return EXIT_USER_ERROR
    if isinstance(error, EndedError):
        _say(on_one_line(str(error)))
        return error.exit_code
    if isinstance(error, UserError):
        _say(f"error: {error}")
        return EXIT_USER_ERROR
    if isinstance(error, BrokenPipeError):  # `... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    raise error


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # the exit code tells it, too
        print(text, file=sys.stderr, flush=True)


def _leave(code: int) -> NoReturn:
    """Ends the process once Python has tidied up: threads joined, pipelines and workers ended, all output written.

    What C++ libraries do after that is left out: DALI's and torch's threads were seen to end a command that had done its work
    with SIGABRT ("terminate called without an active exception").
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
