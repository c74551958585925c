"""The arguments of a ClipLoader: what they must be, and errors in their words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from c2d_fast.errors import EndedError, UserError


def check_arguments(
    batch_size: int,
    clips: int,
    train: bool,
    shuffle: bool | None,
    accumulate: int,
    balance: bool,
    workers: tuple[int | None, int | None],
) -> int:
    """Compares arguments with each other; returns the number of workers, 0 where it is left open.

    Args:
        batch_size: of a rank.
        clips: of one decode.
        train: as given.
        shuffle: as given.
        accumulate: as given.
        balance: as given.
        workers: workers and num_workers as given.

    Raises:
        UserError: they do not fit.
    """
    if None not in workers and workers[0] != workers[1]:
        raise UserError(f"workers={workers[0]}, num_workers={workers[1]}: are the same thing; give one of them")
    if min(workers[0] or 0, workers[1] or 0) < 0:
        raise UserError(f"workers={min(workers[0] or 0, workers[1] or 0)}: must be 1 or more; None: as many as fit the machine")
    if batch_size < 1 or (train and batch_size % clips):
        raise UserError(f"batch_size={batch_size}: must be {clips} or a multiple of it, for {clips} clips of each decode")
    if shuffle and not train:
        raise UserError("shuffle=True: evaluation reads the list in its order; leave it out, or take train=True")
    if accumulate != 1 and not train:
        raise UserError(f"accumulate={accumulate}: is of training; leave it out, or take train=True")
    if balance and not train:
        raise UserError("balance=True: is of training; leave it out, or take train=True")
    return workers[0] or workers[1] or 0


def as_arguments(error: UserError) -> UserError:
    """Returns an error of a command in the words of a function's arguments: decoder="nvdec" in place of --decoder nvdec."""
    text = str(error).replace(" of the pipe file", "")
    text = re.sub(r"--([a-z][a-z-]*) (?!or\b)([\w.]+)", lambda match: f'{_name(match[1])}="{match[2]}"', text)
    return UserError(re.sub(r"--([a-z][a-z-]*)", lambda match: _name(match[1]), text))


@contextmanager
def in_arguments(is_command: bool) -> Iterator[None]:
    """Says in errors what is a flag of the commands as an argument, but to the commands."""
    try:
        yield
    except UserError as error:
        if is_command:
            raise
        raise as_arguments(error) from error.__cause__
    except EndedError as error:
        if is_command:
            raise
        raise EndedError(str(as_arguments(UserError(str(error)))), error.exit_code) from error.__cause__


def _name(flag: str) -> str:
    return flag.replace("-", "_")
