"""What becomes of a request when a server, or the way to it, fails: over real sockets, by HTTP and S3."""

import errno
import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from media import CODECS, known, make_video

from c2d_fast.remote import ranges, remote_file, requests, stores, transfers
from c2d_fast.remote.ranges import read_parts
from c2d_fast.remote.remote_errors import ChangedError, RemoteError, of_text
from c2d_fast.remote.remote_path import FileState, RemotePath
from c2d_fast.remote.transfers import file_state, with_state
from c2d_fast.video import reader
from c2d_fast.video.examine import examine
from c2d_fast.video.packets import WHOLE
from c2d_fast.video.storage import is_storage_error, read_error, storage_problem

pytest.importorskip("obstore")
DATA = random.Random(0).randbytes(300_000)
SECRET = "secret-of-mine"


@pytest.fixture
def quick(monkeypatch):
    """Short limits, and no connections of earlier tests."""
    monkeypatch.setattr(requests, "RETRY_LIMIT_S", 0.4)
    monkeypatch.setattr(requests, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(requests, "_QUICK_TRIES", 1)
    monkeypatch.setattr(stores, "READ_LIMIT_S", 1)
    monkeypatch.setattr(stores, "REQUEST_LIMIT_S", 2)
    stores._store.cache_clear()
    requests._throttle.cache_clear()
    yield
    stores._store.cache_clear()
    requests._throttle.cache_clear()


@pytest.fixture(params=["http", "s3"])
def remote(request, quick, tmp_path, fault_proxy, monkeypatch):
    """A file behind a proxy: (path with its state, proxy, a function that replaces it, or deletes it when given nothing)."""
    if request.param == "http":
        (tmp_path / "a b.mp4").write_bytes(DATA)
        server = request.getfixturevalue("http_server")(tmp_path)
        proxy = fault_proxy(server.url, seed=2)
        path = RemotePath(proxy.url + "/a b.mp4")

        def replace(data=None):
            (tmp_path / "a b.mp4").unlink()
            if data is not None:
                (tmp_path / "a b.mp4").write_bytes(data)
                os.utime(tmp_path / "a b.mp4", (time.time() + 5, time.time() + 5))

    else:
        import obstore

        server = request.getfixturevalue("s3_server")
        proxy = fault_proxy(server.url, seed=2)
        for name, value in server.env_for(proxy.url).items():
            monkeypatch.setenv(name, value)
        path, store = RemotePath("s3://videos/faults/a b.mp4"), server.store()
        obstore.put(store, "faults/a b.mp4", DATA)

        def replace(data=None):
            obstore.delete(store, "faults/a b.mp4")
            if data is not None:
                obstore.put(store, "faults/a b.mp4", data)

    with monkeypatch.context() as patch:
        patch.setattr(requests, "RETRY_LIMIT_S", 30.0)  # the machine may be busy
        return with_state(path), proxy, replace


def part(path, start=100, end=9000):
    return bytes(read_parts(path, [(start, end)])[0])


def failure(path, kind=RemoteError, start=100, end=9000):
    """What a read raises: one line, with no library's words and no URL."""
    with pytest.raises(kind) as caught:
        part(path, start, end)
    text = getattr(caught.value, "strerror", None) or str(caught.value)
    assert "\n" not in text
    assert len(text) < 120
    assert not any(word in text for word in ("http", "127.0.0.1", "Error", "reqwest", "Generic", "a b.mp4"))
    return caught.value


@pytest.mark.parametrize("kind", ["500", "503", "cut", "short"])
def test_what_fails_for_a_moment_is_asked_again(remote, kind, monkeypatch):
    path, proxy, _ = remote
    monkeypatch.setattr(requests, "RETRY_LIMIT_S", 30.0)  # the machine may be busy
    proxy.forget()
    proxy.fault(kind, count=2)
    assert part(path) == DATA[100:9000]
    assert [request.fault for request in proxy.requests()] == [kind, kind, ""]
    assert proxy.open().requests == 0


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("500", errno.EREMOTEIO, r"the server failed \(500\)"),
        ("503", errno.EREMOTEIO, r"the server asks for fewer requests \(503\)"),
        ("cut", errno.ECONNRESET, "cut off while it was sent"),
        ("short", errno.ECONNRESET, "other bytes came than were asked for"),
        ("hang", errno.ETIMEDOUT, "no answer in time"),
        ("trickle", errno.ETIMEDOUT, "no answer in time|cut off"),
        ("403", errno.EACCES, r"access denied \(403\): credentials are missing, wrong or expired"),
        ("404", errno.ENOENT, r"no such object \(404\)"),
        ("ignore-range", errno.ENOTSUP, "the server sends whole files only"),
    ],
)
def test_what_fails_on_and_on_is_told_in_one_line_and_is_the_storage_s(remote, kind, code, says):
    path, proxy, _ = remote
    proxy.fault(kind)
    begun_s = time.monotonic()
    error = failure(path)
    assert time.monotonic() - begun_s < 12
    assert re.search(says, error.strerror), error.strerror
    assert error.errno in (code, errno.ECONNRESET if kind == "trickle" else code)
    assert is_storage_error(storage_problem(error, path))
    proxy.clear()
    assert is_storage_error(storage_problem(error, path)), "also where all is well again by now"
    assert part(path) == DATA[100:9000]
    assert proxy.open().requests == 0


def test_a_server_that_is_asked_too_much_gets_fewer_requests_and_more_again(remote):
    path, proxy, _ = remote
    path = RemotePath(path.url, path.state)
    parts = [(at, at + 10) for at in range(0, 280_000, 70_000)]
    throttle = requests._throttle(os.getpid())
    proxy.fault("503", count=3)
    assert [bytes(data) for data in read_parts(path, parts)] == [DATA[a:b] for a, b in parts]
    assert throttle.limit < 17
    before = throttle.limit
    for _ in range(5):
        read_parts(path, parts)
    assert throttle.limit > before + 0.5


def test_another_file_in_its_place_is_noticed(remote):
    path, _, replace = remote
    for other in (DATA[::-1], DATA[:50], DATA + b"more", DATA[:-1000]):
        replace(other)
        error = failure(path, ChangedError)
        assert str(error).startswith("has changed since it was examined: ")
        assert storage_problem(reader.DecodeError(str(error)), path) == ""
    replace()
    assert failure(path).errno == errno.ENOENT
    assert read_error(path).errno == errno.ENOENT


def test_a_packet_past_the_end_is_no_fault_of_the_server(remote):
    path, proxy, _ = remote
    proxy.forget()
    with pytest.raises(OSError, match="ends at byte 300000, within a packet") as caught:
        part(path, 299_000, 300_001)
    assert not isinstance(caught.value, RemoteError)
    assert storage_problem(caught.value, path) == ""
    assert [request.range for request in proxy.requests() if "300" in request.range] == []


def test_of_parts_side_by_side_the_first_failure_ends_the_others(remote):
    path, proxy, _ = remote
    proxy.set(delay_s=0.3)
    proxy.fault("403", count=1)
    with pytest.raises(RemoteError):
        read_parts(path, [(at, at + 10) for at in range(0, 280_000, 70_000)])
    deadline_s = time.monotonic() + 0.3 + 5
    while proxy.open().requests:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_servers_that_are_not_there(quick, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    for url, code, says in (
        ("http://127.0.0.1:9/a.mp4", errno.ECONNREFUSED, "connection refused"),
        ("http://no-such-host.invalid/a.mp4", errno.EHOSTUNREACH, "its host is not found"),
    ):
        path = RemotePath(url, FileState(9, 1))
        error = failure(path, start=0, end=9)
        assert (error.errno, error.strerror) == (code, says)
        assert is_storage_error(storage_problem(error, path))
        with pytest.raises(RemoteError, match=says):
            file_state(path)


def test_a_server_that_comes_back_in_time_is_not_missed(quick, tmp_path, http_server, monkeypatch):
    monkeypatch.setattr(requests, "RETRY_LIMIT_S", 20.0)
    (tmp_path / "a.mp4").write_bytes(DATA)
    server = http_server(tmp_path)
    path = with_state(RemotePath(server.url + "/a.mp4"))
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(part, path)
        time.sleep(0.5)
        server.start()  # it ends with the thread that starts it
        assert read.result(30) == DATA[100:9000]


def test_credentials_are_named_and_never_shown(s3_server, quick, monkeypatch):
    for name, value in (s3_server.env | {"AWS_SECRET_ACCESS_KEY": SECRET}).items():
        monkeypatch.setenv(name, value)
    error = failure(RemotePath("s3://videos/x.mp4", FileState(9, 1)), start=0, end=9)
    assert error.errno == errno.EACCES
    assert "credentials" in error.strerror
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        assert SECRET not in repr(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


def test_a_question_whether_a_file_can_be_read_is_quick_whatever_happens(remote, monkeypatch):
    path, proxy, _ = remote
    monkeypatch.setattr(requests, "RETRY_LIMIT_S", 20.0)
    monkeypatch.setattr(transfers, "_ASKED_LIMIT_S", 0.4)
    assert read_error(path) is None
    for kind in ("hang", "trickle", "500", "503", "cut"):
        proxy.clear()
        proxy.fault(kind)
        begun_s = time.monotonic()
        error = read_error(path)
        assert error is None or isinstance(error, RemoteError), kind
        assert time.monotonic() - begun_s < 1.5, kind
    stores._store.cache_clear()


@pytest.mark.parametrize("codec", ["h264", "vp9", "mjpeg", "mpeg4"])
def test_a_failure_within_ffmpeg_stays_what_it_is(tmp_path, monkeypatch, codec):
    file = make_video(tmp_path / f"a.{CODECS[codec][1]}", codec, num_frames=12)
    data, calls, fails = file.read_bytes(), [0], [0, 0]

    def read_parts(path, parts):
        calls[0] += 1
        if fails[0] <= calls[0] < fails[1]:
            raise RemoteError(errno.ETIMEDOUT, "no answer in time")
        return [data[a:b] for a, b in parts]

    for name in ("_FIRST_BYTES", "_LARGEST_BYTES"):
        monkeypatch.setattr(remote_file, name, max(len(data) // 12, 300))
    monkeypatch.setattr(remote_file, "read_parts", read_parts)
    path, wanted = RemotePath("s3://videos/a", FileState(len(data), 1)), np.array([1, 6, 11])
    for stored in (WHOLE, known(examine(file).facts)):
        calls[0], fails[:] = 0, [0, 0]
        right = reader.decode_frames(path, wanted, 1, stored)
        for first in range(1, calls[0] + 1):
            for last in (first + 1, 10**6):  # once, or from then on
                calls[0], fails[:] = 0, [first, last]
                with pytest.raises(reader.DecodeError) as caught:
                    reader.decode_frames(path, wanted, 1, stored)
                assert isinstance(caught.value.__cause__, RemoteError)
        calls[0], fails[:] = 0, [0, 0]
        assert (reader.decode_frames(path, wanted, 1, stored) == right).all()


@pytest.mark.parametrize("name", ["token", "metadata", "body", "certificate", "timed out", "dns error", "NotPartial"])
def test_a_file_s_name_does_not_pass_for_an_error(name):
    error = of_text(f"Error performing GET http://host/{name.replace(' ', '%20')}/a.mp4 in 3 ms - something")
    assert error.strerror == "the request failed"


def test_one_request_ahead_serves_all_that_read_the_same(remote):
    """Two samples of a short video may be of the same frames: the second would wait for an answer of its own."""
    path, proxy, _ = remote
    proxy.forget()
    for _ in range(3):
        ranges.ask_ahead(path, [(0, 10)])
    for left in (1, 1, 0):
        assert bytes(read_parts(path, [(0, 10)])[0]) == DATA[:10]
        assert len(ranges._ahead(os.getpid())) == left
    assert len(proxy.requests()) == 1


def test_what_fails_ahead_is_asked_for_again_by_the_next_that_reads_it(remote):
    path, proxy, _ = remote
    proxy.fault("404", count=1)
    for _ in range(2):
        ranges.ask_ahead(path, [(0, 10)])
    with pytest.raises(RemoteError, match="404"):
        read_parts(path, [(0, 10)])
    assert bytes(read_parts(path, [(0, 10)])[0]) == DATA[:10]


def test_requests_ahead_fail_when_they_are_read_and_not_before(remote):
    path, proxy, _ = remote
    proxy.fault("404", count=1)
    ranges.ask_ahead(path, [(0, 10)])
    with pytest.raises(RemoteError, match="404"):
        read_parts(path, [(0, 10)])
    assert bytes(read_parts(path, [(0, 10)])[0]) == DATA[:10]
