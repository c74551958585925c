"""Eight videos behind a proxy that spoils answers, and scripts of their own process that read them."""

import subprocess
import sys
import textwrap
import time

import psutil
from clip_loaders import SMALL
from fault_proxy import FaultProxy
from fork_server import environment
from http_server import HttpServer
from media import make_dataset

from c2d_fast import ClipLoader, Dense

DATA = bytes(range(256)) * 4096


class Site:
    """Eight videos and a plain file on a web server behind a proxy, and a manifest that says where packets lie."""

    def __init__(self, folder, keeper):
        self.folder = folder / "data"
        make_dataset(self.folder, count=8, num_frames=(20, 31))
        (self.folder / "plain").write_bytes(DATA)
        self.proxy = keeper.enter_context(FaultProxy(keeper.enter_context(HttpServer(self.folder)).url))
        self.list, self.manifest = f"{self.proxy.url}/list.txt", folder / "list.npz"

    def loader(self, **more):
        arguments = {"clip": Dense(2, 1), "batch_size": 2, **SMALL, "workers": 2, **more}
        return ClipLoader(self.manifest, **arguments)

    def wait_for_requests(self, true):
        deadline_s = time.monotonic() + 15
        while not true(self.proxy.open().requests):
            assert time.monotonic() < deadline_s, self.proxy.open()
            time.sleep(0.02)


def script(text, **named):
    words = [sys.executable, "-c", textwrap.dedent(text).format(**named)]
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
