"""`--ray`: hands the work of a command to the nodes of a Ray cluster, in chunks that take about ten seconds."""

import argparse
import logging
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from c2d_fast import __version__
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.prepare.ray_node import Chunk, ChunkResult, do_chunk
from c2d_fast.processes.children import LostItem, Work
from c2d_fast.remote.remote_path import Location, RemotePath

_CHUNK_S = 10.0
_MOST_ITEMS = 1000
_RETRIES = 3  # by Ray, of a chunk whose worker or node is lost
_QUEUED = 2  # chunks for each slot: one runs, one waits
_LOOK_EVERY_S = 1.0
_ADDRESS = re.compile(r"(?:ray://)?([^:/]+):(\d{1,5})")
_CONNECT_LIMIT_S = 10.0


def run_on_ray(
    work: Work, items: Sequence[Any], args: argparse.Namespace, path: Callable[[Any], Location], seen: Sequence[Location]
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, result) as children.run_in_children does, of the nodes of a cluster.

    Args:
        work: of children.run_in_children.
        items: what it is called with.
        args: the command's flags.
        path: gives an item's file.
        seen: other files and folders that each node must see.

    Raises:
        UserError: there is no such cluster, or a node cannot do the work.
    """
    if not items:
        return
    ray = _connect(args)
    jobs: int = args.cpus_per_task
    task = ray.remote(num_cpus=jobs, max_retries=_RETRIES)(do_chunk)
    chunks = _Chunks(len(items), jobs)
    running: dict[Any, list[int]] = {}
    nodes = _alive(ray)
    try:
        while running or chunks.left:
            before, nodes = nodes, _alive(ray)  # they come and go
            if nodes < before:
                print(f"Ray: {_nodes(before - nodes)} lost, {_nodes(nodes)} left: what was under way there is done again")
            slots = max(_cpus(ray) // jobs, 1)
            while chunks.left and len(running) < _QUEUED * slots:
                numbers = chunks.pop(slots)
                some = [items[n] for n in numbers]
                chunk = Chunk(work, some, _local(seen), _local(map(path, some)), jobs, args.time_limit)
                running[task.remote(chunk)] = numbers
            ready, _ = ray.wait(list(running), timeout=_LOOK_EVERY_S)
            for ref in ready:
                numbers = running.pop(ref)
                try:
                    found: ChunkResult = ray.get(ref)
                except ray.exceptions.RayTaskError as error:  # do_chunk raises nothing: it, or an item, could not be unpickled
                    problem = _first_line(error.cause or error)
                    raise UserError(f"--ray: a node cannot run the task ({problem}); install c2d-fast on all nodes") from error
                except ray.exceptions.RayError as error:
                    if not chunks.split(numbers):
                        yield items[numbers[0]], _lost(ray, error)
                    continue
                _check(found)
                chunks.took(len(numbers), found.seconds)
                for place, result in found.results:
                    yield items[numbers[place]], result
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def _local(places: Iterable[Location]) -> list[str]:
    return [str(place) for place in places if not isinstance(place, RemotePath)]


class _Chunks:
    """Which items are still to be handed out: places of the items."""

    def __init__(self, count: int, jobs: int):
        self._todo, self._jobs = deque(range(count)), jobs
        self._alone = deque[int]()  # of chunks that were lost again and again: one of their items is to blame
        self._done, self._seconds = 0, 0.0

    @property
    def left(self) -> bool:
        return bool(self._todo or self._alone)

    def pop(self, slots: int) -> list[int]:
        """Returns a chunk that takes about _CHUNK_S, as those before did; few items at the beginning, and at the end."""
        if self._alone:
            return [self._alone.popleft()]
        wanted = int(_CHUNK_S * self._done / self._seconds) if self._seconds else self._jobs
        size = max(min(wanted, len(self._todo) // (2 * slots), _MOST_ITEMS), self._jobs)
        return [self._todo.popleft() for _ in range(min(size, len(self._todo)))]

    def took(self, count: int, seconds: float) -> None:
        """Learns how long items take."""
        self._done, self._seconds = self._done + count, self._seconds + seconds

    def split(self, numbers: list[int]) -> bool:
        """Has the items of a lost chunk tried one by one; says whether there is more than one."""
        if len(numbers) == 1:
            return False
        self._alone.extend(numbers)
        return True


def _connect(args: argparse.Namespace) -> Any:
    """Returns the package, connected to the cluster that --ray names, the one of this machine, or one started for this command.

    Raises:
        UserError: it is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"--ray: needs a package that does not import: ray ({error}); pip install 'c2d-fast[ray]'") from error
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        _check_address(args.ray)
        ray.init(address=args.ray or "auto", **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        if args.ray or not isinstance(error, ConnectionError):
            remedy = "start one with `ray start --head`, or correct the address"
            raise UserError(f"--ray {args.ray or 'auto'}: there is no Ray cluster ({_first_line(error)}); {remedy}") from error
        ray.init(address="local", num_cpus=max(args.jobs, args.cpus_per_task), include_dashboard=False, **quiet)
    # It prints tens of lines of its log where a node is lost, for which there is no switch; run_on_ray says it in one.
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
    print(f"Ray: {_cpus(ray)} CPUs of {_nodes(_alive(ray))}, {args.cpus_per_task} for each task")
    if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= args.cpus_per_task for node in ray.nodes()):
        raise UserError(f"--cpus-per-task {args.cpus_per_task}: no node of the Ray cluster has so many CPUs; give fewer")
    return ray


def _check_address(address: str) -> None:
    """Raises an OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    if found := _ADDRESS.fullmatch(address):
        socket.create_connection((found[1], int(found[2])), timeout=_CONNECT_LIMIT_S).close()


def _cpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def _alive(ray: Any) -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes())


def _nodes(count: int) -> str:
    return f"{count} node{'s' * (count != 1)}"


def _check(found: ChunkResult) -> None:
    """Raises what a node has to say against going on."""
    if found.version != __version__:
        its = f"{found.version}, and this machine {__version__}"
        raise UserError(f"--ray: node {found.node} has c2d-fast {its}; install the same on all nodes")
    # What is gone here as well is gone for all.
    lacking = [file for file in found.lacking if os.path.exists(file)]
    if lacking:
        raise UserError(
            f"--ray: node {found.node} lacks {lacking[0]}; all nodes must see the same paths: mount them there, or give URLs"
        )
    if found.error:
        raise found.error


def _lost(ray: Any, error: Exception) -> LostItem:
    """Returns what becomes of an item that was tried alone; raises a UserError where the cluster is to blame."""
    if not isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
        raise UserError(f"--ray: the cluster has failed ({_first_line(error)}); the same command goes on") from error
    return LostItem(f"ends its Ray worker ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return on_one_line(str(error).strip().partition("\n")[0][:200] or type(error).__name__)
