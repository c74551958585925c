"""`--ray`: the bytes of a command on one machine, whatever nodes and drivers are killed. Real clusters of two nodes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fork_server
import pytest
from crashing_work import crash_or_double
from hypothesis import given
from hypothesis import strategies as st
from media import make_dataset
from scans import scan
from transcodes import transcode

from c2d_fast import __version__
from c2d_fast.errors import UserError
from c2d_fast.prepare.ray_driver import _check, _Chunks
from c2d_fast.prepare.ray_node import Chunk, ChunkResult, do_chunk
from c2d_fast.processes.children import LostItem

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster():
    """A cluster of two nodes of one CPU each: processes of this machine."""
    ray_cluster = pytest.importorskip("ray.cluster_utils")
    environment = dict(os.environ)
    os.environ["PYTHONPATH"] = str(ROOT)
    found = ray_cluster.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Forty videos, a broken one among them."""
    path = make_dataset(tmp_path_factory.mktemp("videos"), count=40, num_frames=(60, 61))
    (path.parent / path.read_text().splitlines()[7].rpartition(" ")[0].strip('"')).write_bytes(b"no video")
    return path


def contents(folder, stem="m"):
    return [(folder / f"{stem}{suffix}").read_bytes() for suffix in (".npz", ".packets.npz")]


def start(videos, out, cluster):
    words = ["scan", "--list", videos, "--out", out, "--ray", cluster.address]
    command = [sys.executable, "-m", "c2d_fast.prepare", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_entries(out, count):
    journal = out.with_name(f"{out.name}.journal")
    deadline_s = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") <= count:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.slow
def test_a_node_that_is_killed_changes_nothing(videos, tmp_path, run_command, cluster):
    assert scan(run_command, videos, tmp_path / "m.npz").returncode == 0
    whole = contents(tmp_path)
    node = cluster.add_node(num_cpus=1)
    (tmp_path / "ray").mkdir()
    with start(videos, tmp_path / "ray/m.npz", cluster) as process:
        wait_for_entries(tmp_path / "ray/m.npz", 3)
        cluster.remove_node(node, allow_graceful=False)
        assert process.poll() is None, "the run was over too soon"
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    assert "Ray: 2 CPUs of 2 nodes, 1 for each task" in out
    assert "raylet" not in out
    assert contents(tmp_path / "ray") == whole


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_where_it_was(videos, tmp_path, run_command, cluster):
    assert scan(run_command, videos, tmp_path / "m.npz").returncode == 0
    whole = contents(tmp_path)
    cluster.add_node(num_cpus=1)
    (tmp_path / "ray").mkdir()
    out = tmp_path / "ray/m.npz"
    with start(videos, out, cluster) as process:
        wait_for_entries(out, 10)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    kept = out.with_name("m.npz.journal").read_bytes().count(b"\n") - 1
    assert 10 <= kept < 40
    done = scan(run_command, videos, out, "--ray", cluster.address)
    assert done.returncode == 0, done.stderr
    assert f"{kept} of 40 videos are known and have not changed: {40 - kept} are read" in done.stdout
    assert contents(tmp_path / "ray") == whole


@pytest.mark.slow
def test_transcoding_on_nodes_makes_the_same_files(videos, tmp_path, run_command, cluster):
    cluster.add_node(num_cpus=1)
    some = tmp_path / "list.txt"
    some.write_text("".join(videos.read_text().splitlines(keepends=True)[:10]))
    flags = ["--data-root", videos.parent, "--preset", "ultrafast"]
    out = tmp_path / "out"
    assert transcode(run_command, some, out, *flags).returncode == 0
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".journal"}
    out.rename(tmp_path / "before")
    done = transcode(run_command, some, out, *flags, "--ray", cluster.address)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".journal"} == files


@pytest.mark.slow
def test_without_a_cluster_one_is_started(videos, tmp_path):
    pytest.importorskip("ray")
    words = ["scan", "--list", videos, "--out", tmp_path / "m.npz", "--ray", "--jobs", 2]
    command = [sys.executable, "-m", "c2d_fast.prepare", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ray: 2 CPUs of 1 node, 1 for each task" in done.stdout


@pytest.mark.slow
def test_a_node_that_cannot_import_the_work_blames_no_video(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only_here.py").write_text("def work(item, tick):\n    return item\n")
    (tmp_path / "driver.py").write_text(
        "import argparse, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import only_here\n"
        "from c2d_fast.errors import UserError\n"
        "from c2d_fast.prepare.ray_driver import run_on_ray\n"
        "args = argparse.Namespace(ray='', jobs=1, cpus_per_task=1, time_limit=30)\n"
        "try:\n"
        "    print(list(run_on_ray(only_here.work, [1, 2], args, lambda item: sys.argv[1], [])))\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "elsewhere")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "--ray: a node cannot run the task (" in done.stdout, done.stdout + done.stderr
    assert "No module named 'only_here'); install c2d-fast on all nodes" in done.stdout


def test_a_wrong_address_is_one_line(videos, tmp_path, run_command):
    pytest.importorskip("ray")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        done = scan(run_command, videos, tmp_path / "n.npz", "--ray", address)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"--ray {address}: there is no Ray cluster" in done.stderr


def test_ray_that_is_not_installed_is_asked_for(videos, tmp_path):
    stub = tmp_path / "stubs" / "ray.py"
    stub.parent.mkdir()
    stub.write_text("raise ImportError('No module named ray')\n")
    words = ["scan", "--list", videos, "--out", tmp_path / "m.npz", "--ray"]
    command = [sys.executable, "-m", "c2d_fast.prepare", *map(str, words)]
    done = fork_server.run(command, fork_server.environment(), timeout=100, first_on_path=[stub.parent])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--ray: needs a package that does not import: ray (No module named ray); pip install 'c2d-fast[ray]'" in done.stderr


def test_a_node_keeps_its_children_and_a_crash_takes_none_but_one_of_them(tmp_path):
    chunk = Chunk(crash_or_double, [1, "crash", 1, 5], [str(tmp_path)], [], jobs=2, time_limit_s=60)
    found = do_chunk(chunk)
    assert (found.node, found.version, found.lacking, found.error) == (socket.gethostname(), __version__, [], None)
    results = dict(found.results)
    assert isinstance(results.pop(1), LostItem)
    assert results == {0: 2, 2: 2, 3: 10}
    again = Chunk(crash_or_double, [4, 5], [], [], jobs=2, time_limit_s=60)
    assert dict(do_chunk(again).results) == {0: 8, 1: 10}
    assert isinstance(do_chunk(Chunk(crash_or_double, ["full"], [], [], 2, 60)).error, OSError)
    assert dict(do_chunk(again).results)[0] == 8


def test_a_node_that_does_not_see_the_files_is_named(tmp_path):
    chunk = Chunk(crash_or_double, [1], [str(tmp_path), str(tmp_path / "no data")], [], jobs=1, time_limit_s=60)
    found = do_chunk(chunk)
    assert (found.lacking, found.results) == ([str(tmp_path / "no data")], [])
    (there := tmp_path / "here.mp4").touch()
    with pytest.raises(UserError, match=r"node n1 lacks .*here\.mp4; all nodes must see the same paths"):
        _check(ChunkResult("n1", __version__, [str(tmp_path / "gone.mp4"), str(there)]))
    _check(ChunkResult("n1", __version__, [str(tmp_path / "gone.mp4")]))
    with pytest.raises(UserError, match=r"node n1 has c2d-fast 0\.0, and this machine"):
        _check(ChunkResult("n1", "0.0"))
    with pytest.raises(OSError, match="full"):
        _check(ChunkResult("n1", __version__, error=OSError(28, "the disk is full")))


@given(st.integers(1, 3000), st.integers(1, 8), st.integers(1, 50), st.floats(0.001, 100))
def test_chunks_hold_every_item_once_and_take_about_ten_seconds(count, jobs, slots, item_s):
    chunks = _Chunks(count, jobs)
    seen = []
    while chunks.left:
        numbers = chunks.pop(slots)
        assert 1 <= len(numbers) <= max(jobs, 1000)
        assert len(numbers) * item_s <= max(11, jobs * item_s + item_s)
        seen += numbers
        chunks.took(len(numbers), len(numbers) * item_s)
    assert seen == list(range(count))
    assert not chunks.split([5])
    assert chunks.split([1, 2])
    assert [chunks.pop(slots), chunks.pop(slots)] == [[1], [2]]
    assert not chunks.left
