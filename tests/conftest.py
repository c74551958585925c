import contextlib
import gc
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW_LIMIT_S = 1800
sys.path.insert(0, str(Path(__file__).parent))  # tests/media.py, also where pytest's rootdir is elsewhere
# With tests side by side two threads of one process spin while they wait for each other: ten times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
with contextlib.suppress(ModuleNotFoundError):  # GPU machines may lack it
    from hypothesis import settings

    settings.register_profile("project", deadline=None)  # a machine that does other things, too, is slow now and then
    settings.load_profile("project")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Where tests run side by side one process forks the commands of all."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        import fork_server

        fork_server.share(fork_server.environment())


def pytest_collection_finish():
    """Spares collections of garbage the many objects that are there for good: modules, tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory):
    """Manifests of the tests stay out of the user's cache, also in the processes that tests start."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


# Files that test what becomes of processes, or what they find in their environment: there a worker starts as it does for users.
_OF_PROCESSES = {
    "test_worker_pool", "test_workers", "test_stream", "test_decoder_check", "test_clip_loader_broken", "test_stops",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def forked_workers(request):
    """Workers of loaders, also those of commands, are forks of a process that has imported what they import: half the time."""
    import fork_server

    from c2d_fast.loading import worker_pool

    # On a GPU all is as it is for users.
    fork_server.SPAWNED_WORKERS = request.path.stem in _OF_PROCESSES or Path("/dev/nvidiactl").exists()
    if fork_server.SPAWNED_WORKERS:
        yield
        return
    multiprocessing.set_forkserver_preload(["c2d_fast.loading.source", "c2d_fast.loading.worker_pool"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_pool, "_CONTEXT", multiprocessing.get_context("forkserver"))
        yield


@pytest.fixture(scope="session")
def shared():
    """The reference files that lie beside the project in development; a user's clone has none."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("no reference files beside this checkout")
    return folder


@pytest.fixture(scope="session")
def run_command():
    """Runs `python -m c2d_fast.NAME ...` in a process of its own, from the project's root."""
    import fork_server

    def run(name, *args, **kwargs):
        command = [sys.executable, "-m", f"c2d_fast.{name}", *map(str, args)]
        return fork_server.run(command, fork_server.environment(**kwargs.pop("env", {})), timeout=600, **kwargs)

    return run


@pytest.fixture(scope="session")
def ten_videos(tmp_path_factory):
    """Ten videos of two classes, of three lengths: a list's path; nobody changes them."""
    from media import make_dataset

    return make_dataset(tmp_path_factory.mktemp("ten videos"), count=10, num_frames=(40, 30, 9))


@pytest.fixture(scope="session")
def eight_videos(tmp_path_factory):
    """The list of eight sound H.264 videos of two classes, for the runs of runs.py; nobody changes them."""
    from media import make_dataset

    return make_dataset(tmp_path_factory.mktemp("eight videos"), count=8, num_frames=(20, 31))


@pytest.fixture(scope="session")
def whole_run(eight_videos, tmp_path_factory):
    """The folder of a run on them that nothing has interrupted."""
    from runs import flags, run

    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(*flags(eight_videos, out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def red_or_not(tmp_path_factory):
    """A checkpoint of a model that says 1 of red clips, and 0 of grey ones."""
    from events import make_red_or_not

    return make_red_or_not(tmp_path_factory.mktemp("model") / "red.pt")


@pytest.fixture
def http_server():
    """Serves a folder by nginx until the test ends: http_server(folder)."""
    from http_server import HttpServer

    with contextlib.ExitStack() as keeper:
        yield lambda folder: keeper.enter_context(HttpServer(folder))


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server that a process's tests share."""
    from s3_server import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def fault_proxy():
    """Puts a proxy before a server until the test ends: fault_proxy(url, seed=0)."""
    from fault_proxy import FaultProxy

    with contextlib.ExitStack() as keeper:
        yield lambda url, seed=0: keeper.enter_context(FaultProxy(url, seed))


# What takes longest, mostly by waiting: begun first, so that the end of a run is not spent waiting for it alone.
_FIRST = (
    "test_examples", "test_runs_without_storage", "test_distributed", "test_workers", "test_benchmarks", "test_gpu_stages",
    "test_transcode", "test_storage", "test_packaging", "test_without_msgspec", "test_docs_python", "test_reproducible",
    "test_stream_command",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Marks the GPU tests, gives slow tests more time than setup.cfg does, and puts long ones first."""
    items.sort(key=lambda item: item.path.stem not in _FIRST)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_LIMIT_S))
        if "gpu" in Path(item.fspath).parts:
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def cuda():
    """The GPU, or a skip (a failure with C2D_REQUIRE_GPU=1)."""
    import torch

    if not torch.cuda.is_available():
        _lacking("there is no CUDA GPU")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def nvdec(cuda):
    """A GPU whose driver decodes video, or a skip."""
    from c2d_fast.loading.decode import nvdec_library

    if not nvdec_library():
        _lacking("the driver's video decoding library (libnvcuvid.so.1) is missing")
    return cuda


def _lacking(reason):
    if os.environ.get("C2D_REQUIRE_GPU") == "1":
        pytest.fail(f"C2D_REQUIRE_GPU=1, but {reason}")
    pytest.skip(reason)
