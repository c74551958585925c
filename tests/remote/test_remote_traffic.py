"""What is said of the requests that videos on a server take: by `info`, and while a run goes on."""

import json

import pytest

from c2d_fast.commands.run_info import run_info
from c2d_fast.errors import UserError
from c2d_fast.info import parse
from c2d_fast.processes import worker_counts
from c2d_fast.remote import requests
from c2d_fast.reporting.remote_traffic import remote_text
from c2d_fast.training.throughput import ThroughputMeter


@pytest.fixture
def manifest(ten_videos, tmp_path, run_command):
    from scans import scan

    assert scan(run_command, ten_videos, tmp_path / "m.npz", "--packets").returncode == 0
    return tmp_path / "m.npz"


def info(capsys, *words):
    run_info(parse([*map(str, words), "--json"]))
    text = capsys.readouterr().out
    return json.loads(text[text.index("{") :])["list"]


def test_info_says_what_a_clip_takes(manifest, ten_videos, http_server, capsys, monkeypatch):
    server = http_server(ten_videos.parent)
    local = info(capsys, "--list", manifest)
    assert not local["remote"]
    assert "clips_per_s" not in local
    server.forget()
    there = info(capsys, "--list", manifest, "--data-root", server.url)
    assert there["remote"]
    assert {name: there[name] for name in ("requests_per_clip", "bytes_per_clip")} == {
        name: local[name] for name in ("requests_per_clip", "bytes_per_clip")
    }
    asked = [request for request in server.requests() if request.method == "GET"]
    assert len(asked) == 64 + 9, "of 64 clips, 9 of them first alone"
    assert sum(request.body_bytes for request in asked) / len(asked) == pytest.approx(there["bytes_per_clip"], rel=0.2)
    assert there["bytes_per_s"] > 0 < there["ms_per_clip_alone"]
    monkeypatch.setattr(requests, "RETRY_LIMIT_S", 0.5)
    server.stop()
    assert "connection" in info(capsys, "--list", manifest, "--data-root", server.url)["problem"]


def test_info_wants_a_manifest(ten_videos):
    with pytest.raises(UserError, match=r"list\.txt: is no manifest; make one with "):
        run_info(parse(["--list", str(ten_videos)]))
    with pytest.raises(UserError, match="--data-root /data: is of a list"):
        run_info(parse(["--data-root", "/data"]))


def test_a_meter_counts_what_workers_have_asked_for(monkeypatch):
    counts = [worker_counts.Counts(), worker_counts.Counts(90, 6_000_000, 30, 2), worker_counts.Counts(95, 6_000_000, 30, 2)]
    monkeypatch.setattr(worker_counts, "totals", lambda: counts.pop(0))
    meter = ThroughputMeter()
    meter.step(20)
    metrics = meter.read()
    assert (metrics["remote_bytes_per_clip"], metrics["remote_requests_per_clip"]) == (300_000, 1.5)
    assert (metrics["remote_bytes_per_s"] > 0, metrics["remote_retries"]) == (True, 2)
    assert remote_text(metrics | {"remote_bytes_per_s": 2e6}) == "  remote 0.30 MB, 1.5 requests/clip, 2.0 MB/s, 2 tried again"
    meter.step(20)
    assert remote_text(meter.read()) == "", "nothing was asked for"
