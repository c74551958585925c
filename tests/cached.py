"""What tests of the cache of ranges share: a server's bytes, and reads that are checked against them."""

import asyncio
import contextlib
import stat
from pathlib import Path

import numpy as np

from c2d_fast.remote.range_cache import RangeCache, check_folder
from c2d_fast.remote.remote_path import FileState, RemotePath, version_of

MOST = 8 * 2**20
ONE_MORE = 4 * 120_000  # what each of four ranks may be writing while another makes room


def content(name, size, etag='"1"'):
    """What a server has: bytes that depend on all that may be mistaken."""
    return np.random.default_rng(abs(version_of(f"{name} {size} {etag}"))).bytes(size)


def place(name, size, etag='"1"'):
    return RemotePath(f"s3://videos/{name}", FileState(size, version_of(etag), etag))


class Server:
    """Stands for the server: counts what is asked of it."""

    def __init__(self):
        self.asked = []

    async def fetch(self, path, start, end):
        self.asked.append((start, end))
        await asyncio.sleep(0)
        return memoryview(content(path.name, path.state.size, path.state.etag))[start:end]


def cache_in(folder, most=MOST):
    check_folder(folder)
    return RangeCache(folder, most)


def read(cache, path, start, end, server=None):
    server = server or Server()
    data = bytes(asyncio.run(cache.read(path, start, end, server.fetch)))
    assert data == content(path.name, path.state.size, path.state.etag)[start:end], (path, start, end)
    return len(server.asked)


def taken(folder):
    total = 0
    for entry in Path(folder).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a rank has deleted it
            status = entry.stat()
            total += 0 if stat.S_ISDIR(status.st_mode) else 512 * status.st_blocks
    return total
