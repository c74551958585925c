"""The process that forks workers for the tests' commands."""

import errno
import multiprocessing.forkserver
import socket

import forked_workers
import pytest


def test_a_command_that_dies_while_it_asks_is_passed_by():
    """multiprocessing's own loop passes by this error alone: of any other the workers of all later commands would be gone."""
    assert multiprocessing.forkserver.reduction.recvfds is forked_workers._recvfds
    server, client = socket.socketpair()
    client.close()
    with server, pytest.raises(OSError, match="the command is gone") as raised:
        multiprocessing.forkserver.reduction.recvfds(server, 3)
    assert raised.value.errno == errno.ECONNABORTED
