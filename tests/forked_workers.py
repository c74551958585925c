"""Workers of forked commands are forks too, of a process that has imported what they import: a fifth of the time each.

What a spawned worker inherits from its command, one of these is sent: environment, streams, signals that are blocked. It is
no child of the command's, as /proc shows, is not of its process group, and shares no limits.
"""

import errno
import multiprocessing.context
import multiprocessing.forkserver
import os
import signal
from multiprocessing import reduction
from types import SimpleNamespace

_PRELOADED = ["c2d_fast.loading.source", "c2d_fast.loading.worker_pool", "c2d_fast.prepare.scan", "c2d_fast.prepare.transcode"]


def _recvfds(sock, size):
    """As reduction.recvfds; a command that was killed before it has sent them must not end the process that forks for all."""
    try:
        return reduction.recvfds(sock, size)
    except EOFError as error:
        raise OSError(errno.ECONNABORTED, "the command is gone") from error  # which that process passes by


# That process imports this file before it waits for the first command.
multiprocessing.forkserver.reduction = SimpleNamespace(**vars(reduction) | {"recvfds": _recvfds})


class _Process(multiprocessing.context.ForkServerProcess):
    """A process that looks as if the one that starts it had spawned it."""

    def __getstate__(self):
        streams = [reduction.DupFd(1), reduction.DupFd(2)]
        return {**self.__dict__, "inherited": (dict(os.environ), streams, signal.pthread_sigmask(signal.SIG_BLOCK, []))}

    def __setstate__(self, state):
        environment, streams, blocked = state.pop("inherited")
        self.__dict__.update(state)
        os.environ.clear()
        os.environ.update(environment)
        for target, stream in enumerate(streams, 1):
            fd = stream.detach()
            os.dup2(fd, target)
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class _Context(multiprocessing.context.ForkServerContext):
    Process = _Process


def prepare(path):
    """Starts the process that forks them, with a PYTHONPATH; what this process forks may use it."""
    multiprocessing.set_forkserver_preload(["forked_workers", *_PRELOADED])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = path
    multiprocessing.forkserver.ensure_running()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


def use():
    """Has this fork start its workers so."""
    from c2d_fast.loading import worker_pool
    from c2d_fast.processes import children

    # It would look whether the process is alive that forks them: it is a child of this one's parent.
    multiprocessing.forkserver._forkserver.ensure_running = lambda: None
    worker_pool._CONTEXT = children._CONTEXT = _Context()
