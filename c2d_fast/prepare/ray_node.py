"""What a node of a Ray cluster does: some items, in watched children of Ray's worker process. No Ray here."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from c2d_fast import __version__
from c2d_fast.processes.children import ChildPool, Work


@dataclass(frozen=True)
class Chunk:
    """Some items, and how they are worked on."""

    work: Work
    items: Sequence[Any]
    seen: Sequence[str]
    """Local files and folders that the node must see, or else nothing is done: results would go elsewhere."""
    files: Sequence[str]
    """Local files of the items."""
    jobs: int
    time_limit_s: float


@dataclass(frozen=True)
class ChunkResult:
    """What a node says of a chunk."""

    node: str
    version: str
    """Of this package, there."""
    lacking: list[str] = field(default_factory=list)
    """Files and folders that it does not see."""
    results: list[tuple[Any, Any]] = field(default_factory=list)
    """(place of the item in the chunk, result)."""
    seconds: float = 0.0
    """That it took."""
    error: Exception | None = None
    """What the work raised: the whole command's failure, such as a full disk."""


_pools: dict[tuple[Any, ...], ChildPool] = {}  # Ray keeps a worker process for the next task: so stay its children


def do_chunk(chunk: Chunk) -> ChunkResult:
    """Works on a chunk, as a Ray task. A decoder that crashes or hangs ends a child, not Ray's worker."""
    node, started_s = socket.gethostname(), time.monotonic()
    if lacking := [place for place in chunk.seen if not os.path.exists(place)]:
        return ChunkResult(node, __version__, lacking)
    lacking = [file for file in chunk.files if not os.path.exists(file)]
    key = (chunk.work, chunk.jobs, chunk.time_limit_s)
    pool = _pools.pop(key, None)
    try:
        # Ray's own script is this process's main module: no child needs it.
        pool = pool or ChildPool(_Numbered(chunk.work), jobs=chunk.jobs, time_limit_s=chunk.time_limit_s, with_main=False)
        results = [(item[0], result) for item, result in pool.run(enumerate(chunk.items))]
    except Exception as error:
        if pool:
            pool.close()
        return ChunkResult(node, __version__, lacking, error=error)
    except BaseException:  # the task is cancelled
        if pool:
            pool.close()
        raise
    _pools[key] = pool
    return ChunkResult(node, __version__, lacking, results, seconds=time.monotonic() - started_s)


@dataclass(frozen=True)
class _Numbered:
    """Work on (number, item): equal items keep apart."""

    work: Work

    def __call__(self, numbered: tuple[int, Any], tick: Any) -> Any:
        return self.work(numbered[1], tick)
