"""Does the work of a command in watched child processes: of this machine, or of the nodes of a Ray cluster."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from c2d_fast.processes.children import Work, run_in_children
from c2d_fast.remote.remote_path import Location
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, read_in_rounds


def in_watched_rounds(
    work: Work,
    items: Sequence[Any],
    args: argparse.Namespace,
    path: Callable[[Any], Location],
    *,
    seen: Sequence[Location] = (),
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, result) of work in children, as --jobs, --time-limit and --ray say; what fails by the storage later.

    Args:
        work: of children.run_in_children; its results have a reason.
        items: what it is called with.
        args: the command's flags.
        path: gives an item's file.
        seen: other files and folders that each node must see.
    """

    def run(todo: list[Any]) -> Iterator[tuple[Any, Any]]:
        if args.ray is None:
            return run_in_children(work, todo, jobs=min(args.jobs, max(len(todo), 1)), time_limit_s=args.time_limit)
        from c2d_fast.prepare.ray_driver import run_on_ray

        return run_on_ray(work, todo, args, path, seen)

    return read_in_rounds(run, items, path=path, reason=lambda result: result.reason, wait_policy=DEFAULT_WAIT_POLICY)
