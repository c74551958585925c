"""The servers that tests read videos from do what they say."""

import asyncio
import multiprocessing
import os
import random
import signal
import tempfile
import time
import urllib.error
import urllib.request

import pytest
from fault_proxy import FaultProxy
from http_server import HttpServer

obstore = pytest.importorskip("obstore")
from obstore.exceptions import GenericError, PermissionDeniedError, PreconditionError  # noqa: E402
from obstore.store import HTTPStore  # noqa: E402

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "one class").mkdir()
    (folder / "one class" / "a b.mp4").write_bytes(DATA)
    (folder / "private").mkdir()
    (folder / "private" / "c.mp4").write_bytes(DATA)
    return folder


@pytest.fixture(scope="module")
def web(folder):
    with HttpServer(folder) as server:
        yield server


@pytest.fixture
def proxy(web, fault_proxy):
    web.forget()
    return fault_proxy(web.url, seed=1)


PATH = "one class/a b.mp4"


def store_at(url, timeout="20s"):
    options = {"allow_http": True, "timeout": timeout}
    return HTTPStore.from_url(url, client_options=options, retry_config={"max_retries": 0})


def read(store, start=5, end=2005, **options):
    return bytes(obstore.get(store, PATH, options={"range": (start, end), **options}).bytes())


def fetch(url, **headers):
    """Returns status, headers and body, whatever the status."""
    request = urllib.request.Request(url.replace(" ", "%20"), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_web_server_gives_ranges_of_the_version_that_is_asked_for(web):
    web.forget()
    store = store_at(web.url)
    tag = obstore.head(store, PATH)["e_tag"]
    assert read(store, if_match=tag) == DATA[5:2005]
    with pytest.raises(PreconditionError):
        read(store, if_match='"other"')
    head, good, bad = web.requests()
    assert head[:3] == ("HEAD", f"/{PATH}", "")
    assert good == ("GET", f"/{PATH}", "bytes=5-2004", tag, 206, 2000)
    assert (bad.if_match, bad.status) == ('"other"', 412)


def test_web_server_forbids_what_is_private_and_stops(web):
    assert fetch(f"{web.url}/private/c.mp4")[0] == 403
    assert fetch(f"{web.url}/none.mp4")[0] == 404
    web.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(f"{web.url}/{PATH}")
    web.start()
    assert fetch(f"{web.url}/{PATH}")[2] == DATA


def _hold(folder, temporary, pipe):
    tempfile.tempdir = str(temporary)  # nobody else removes it
    with HttpServer(folder) as web, FaultProxy(web.url) as proxy:
        pipe.send([process.pid for process in (web._process, proxy._process)])
        time.sleep(60)


def test_servers_end_with_a_parent_that_is_killed(web, folder, tmp_path):
    ours, theirs = multiprocessing.Pipe()
    parent = multiprocessing.get_context("spawn").Process(target=_hold, args=(folder, tmp_path, theirs))
    parent.start()
    pids = ours.recv()
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    _wait_until(lambda: not any(map(_runs, pids)))


def _wait_until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_proxy_passes_on_and_counts(web, proxy):
    store = store_at(proxy.url)
    assert read(store) == DATA[5:2005]
    assert bytes(obstore.get(store, PATH).bytes()) == DATA
    assert [tuple(each) for each in proxy.requests()] == [
        ("GET", "/one%20class/a%20b.mp4", "bytes=5-2004", "", 206, 2000, ""),
        ("GET", "/one%20class/a%20b.mp4", "", "", 200, len(DATA), ""),
    ]
    assert (proxy.open().requests, proxy.peak().requests) == (0, 1)
    assert proxy.peak().connections in (1, 2)  # used again, if the client has it back in time
    assert len(web.requests()) == 2
    proxy.forget()
    assert proxy.requests() == []


def test_proxy_delays_requests_side_by_side(proxy):
    store = store_at(proxy.url)
    proxy.set(delay_s=0.3)

    async def read_all():
        return await asyncio.gather(*(obstore.get_range_async(store, PATH, start=n, length=9) for n in range(8)))

    begun = time.monotonic()
    assert [bytes(each) for each in asyncio.run(read_all())] == [DATA[n : n + 9] for n in range(8)]
    assert 0.3 < time.monotonic() - begun < 1.5
    assert proxy.peak() == (8, 8)
    assert proxy.open().requests == 0


def test_proxy_limits_the_rate(proxy):
    proxy.set(bandwidth=1e6)
    begun = time.monotonic()
    assert fetch(f"{proxy.url}/{PATH}")[2] == DATA
    assert time.monotonic() - begun > 0.25


@pytest.mark.parametrize("status", [500, 503, 403, 404])
def test_proxy_refuses(web, proxy, status):
    proxy.fault(str(status), count=1, paths=r"b\.mp4$")
    url = f"{proxy.url}/{PATH}"
    assert fetch(f"{proxy.url}/none.mp4")[0] == 404
    found, headers, _ = fetch(url)
    assert (found, headers["Retry-After"]) == (status, "1" if status == 503 else None)
    assert fetch(url)[0] == 200
    assert [each.fault for each in proxy.requests()] == ["", str(status), ""]
    assert len(web.requests()) == 2


def test_proxy_cuts_an_answer(proxy):
    proxy.fault("cut")
    with pytest.raises(GenericError):
        read(store_at(proxy.url))
    assert proxy.requests()[0].body_bytes == 1000
    assert proxy.open() == (0, 0)


@pytest.mark.parametrize(("kind", "passed"), [("hang", range(1)), ("trickle", range(1, 9))])
def test_proxy_holds_an_answer_back(proxy, kind, passed):
    proxy.fault(kind)
    with pytest.raises(GenericError):
        read(store_at(proxy.url, timeout="500ms"))
    _wait_until(lambda: proxy.open() == (0, 0))  # it sees that the client has given up
    assert [(each.fault, each.body_bytes in passed) for each in proxy.requests()] == [(kind, True)]


def test_proxy_spoils_bytes(proxy):
    proxy.fault("wrong")
    found = bytes(obstore.get(store_at(proxy.url), PATH).bytes())
    assert len(found) == len(DATA)
    assert {n % 64 for n, (one, other) in enumerate(zip(found, DATA, strict=True)) if one != other} == {0}


def test_proxy_answers_with_less(proxy):
    proxy.fault("short")
    status, headers, body = fetch(f"{proxy.url}/{PATH}", Range="bytes=5-2004")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 5-1004/{len(DATA)}", DATA[5:1005])


def test_proxy_answers_with_the_whole_file(proxy):
    proxy.fault("ignore-range")
    status, _, body = fetch(f"{proxy.url}/{PATH}", Range="bytes=5-2004")
    assert (status, body) == (200, DATA)


def test_proxy_spoils_a_share_of_the_requests(web):
    found = []
    for seed in (1, 1, 2):
        with FaultProxy(web.url, seed=seed) as proxy:
            proxy.fault("404", percent=30)
            found.append([fetch(f"{proxy.url}/{PATH}")[0] for _ in range(40)])
            proxy.clear()
            assert fetch(f"{proxy.url}/{PATH}")[0] == 200
    assert found[0] == found[1] != found[2]
    assert 4 <= found[0].count(404) <= 20


def test_proxy_outlives_the_server(web, proxy):
    store = store_at(proxy.url)
    read(store)
    web.stop()
    with pytest.raises(GenericError):
        read(store)
    web.start()
    assert read(store) == DATA[5:2005]


@pytest.fixture(scope="module")
def s3(s3_server, folder):
    s3_server.upload(folder)
    return s3_server


def test_s3_server_gives_ranges_of_the_version_that_is_asked_for(s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    from obstore.store import S3Store

    store = S3Store.from_url(f"s3://{s3.bucket}")
    facts = obstore.head(store, PATH)
    assert facts["size"] == len(DATA)
    assert read(store, if_match=facts["e_tag"]) == DATA[5:2005]
    with pytest.raises(PreconditionError):
        read(store, if_match='"other"')
    assert [each["path"] for each in obstore.list(store, "one class").collect()] == [PATH]
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "none.mp4")


def test_s3_server_takes_objects_in_parts_and_keeps_them(s3):
    store = s3.store()
    obstore.put(store, "parts", DATA, use_multipart=True, chunk_size=100_000)
    s3.stop()
    with pytest.raises(GenericError):
        obstore.head(s3.store(retry_config={"max_retries": 0}), "parts")
    s3.start()
    assert obstore.head(store, "parts")["e_tag"].endswith('-3"')
    assert bytes(obstore.get(store, "parts").bytes()) == DATA


def test_s3_server_checks_signatures(s3):
    with pytest.raises(PermissionDeniedError, match="SignatureDoesNotMatch"):
        read(s3.store(aws_secret_access_key="other"))


def test_s3_server_answers_through_the_proxy(s3, fault_proxy):
    proxy = fault_proxy(s3.url)
    store = s3.store(proxy.url)
    tag = obstore.put(store, "parts", DATA, use_multipart=True, chunk_size=100_000)["e_tag"]
    assert obstore.head(store, "parts")["e_tag"] == tag
    assert read(store, if_match=obstore.head(store, PATH)["e_tag"]) == DATA[5:2005]
    assert len(obstore.list(store).collect()) == 3
    proxy.fault("ignore-range", count=1)
    with pytest.raises(GenericError, match="non-partial"):
        read(store)
    _wait_until(lambda: proxy.open().requests == 0)
    assert (proxy.requests()[-1].status, proxy.requests()[-1].fault) == (200, "ignore-range")
    assert read(store) == DATA[5:2005]
