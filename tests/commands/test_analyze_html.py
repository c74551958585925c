"""`analyze --html`: one page of real runs and results, and of hostile ones, read by Python's own parser."""

import json
import os
import pickle
import re
import shutil
import subprocess

import numpy as np
import pytest
from dumps import random_rows, write_rows
from media import make_video
from pages import Page
from PIL import Image
from runs import PIPE, one_line

from c2d_fast import analyze
from c2d_fast.commands.run_analyze import run_analyze
from c2d_fast.files import atomic_write
from c2d_fast.reporting import html_report

HOSTILE = '<script>alert("x")</script><img src=http://evil.example/p.png onerror=a()>\'"&amp;\x1b[2J\u202e\x00'


def make_page(path, *words):
    run_analyze(analyze.parse([*map(str, words), "--html", str(path)]))
    return Page(path)


def lines(run, kind):
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in read if line["kind"] == kind]


@pytest.fixture(scope="module")
def dump(whole_run, eight_videos, tmp_path_factory, run_command):
    path = tmp_path_factory.mktemp("dump") / "scores.pkl"
    args = ["--pipe", PIPE, "--checkpoint", whole_run / "best.pt", "--list", eight_videos, "--views", "1x1", "--workers", 1]
    done = run_command("test", *args, "--dump", path, env={"PYTHONPATH": str(PIPE.parent)})
    assert done.returncode == 0, done.stderr
    return path


def test_a_run_and_its_result(whole_run, dump, tmp_path, run_command):
    target = tmp_path / "report.html"
    done = run_command("analyze", whole_run, dump, "--html", target, "--top", 3, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"written: {target}"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"], "no folder beside it, and nothing half written"
    page = Page(target)
    assert set(page.links) <= set(page.ids)
    train, validated = lines(whole_run, "train"), lines(whole_run, "val")
    run = page.sideways("Runs side by side")
    best = max(validated, key=lambda line: line["top1"])
    assert (run["recipe"], run["epochs done"], run["of"], run["steps"]) == (["tiny"], [2], [2], [8])
    assert (run["best top-1, %"], run["in epoch"]) == ([best["top1"]], [best["epoch"]])
    assert run["train loss"] == [train[-1]["loss"]]
    assert run["clips/s"] == [np.median([line["clips_per_s"] for line in train])]
    assert run["data wait, %"] == [np.median([line["data_wait_percent"] for line in train])]
    (caption,) = [caption for caption in page.tables if caption.endswith(": validations")]
    rows = page.rows(caption)
    assert [row["loss"] for row in rows] == [line["loss"] for line in validated]
    assert [row["top-1, %"] for row in rows] == [line["top1"] for line in validated]
    assert [row["step"] for row in rows] == [line["step"] for line in validated]
    machine = [json.loads(line)["step_ms"] for line in (whole_run / "machine.jsonl").read_text().splitlines()]
    assert page.sideways("Speed: medians of what was recorded")["step, ms"] == [np.median(machine)]
    said = json.loads((dump.parent / "scores.pkl.summary.json").read_text())["result"]
    result = page.sideways("Results side by side")
    for name, key in (("top-1, %", "top1"), ("top-5, %", "top5"), ("mean class accuracy, %", "mean_class_accuracy")):
        assert result[name] == [pytest.approx(said[key])]
    own = sorted((row["scores"][row["label"]], row["path"]) for row in pickle.loads(dump.read_bytes()))[:3]
    hardest = page.rows("scores: videos with the lowest probability of their label")
    assert [(row["probability of the label"], row["path"]) for row in hardest] == own
    pictures = [(alt, picture) for alt, picture in page.pictures if picture.format == "JPEG"]
    assert [alt.split(", label")[0] for alt, _ in pictures] == [f"4 frames of {path}" for _, path in own]
    for _, picture in pictures:
        assert picture.height == 112
        assert np.asarray(picture).std() > 10
    config = json.loads((whole_run / "config.json").read_text())
    for text in (config["command"], f"torch {config['versions']['torch']}", str(whole_run), config["machine"]["host"]):
        assert text in page.all_text()
    charts = [alt for alt, picture in page.pictures if picture.format == "PNG"]
    for part in ("loss", "top-1", "top-5", "learning rate", "clips/s", "waiting for data", "Confusion", "Figures by class"):
        assert any(part in alt for alt in charts), part


def test_several_runs_and_what_they_did_without(whole_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole_run, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"overrides": ["training.lr=0.5", "augment.mixup=0.2"]}))
    entries = [
        {"format": "c2d_fast.quarantine/1"},
        {"list": "train", "path": "gone.mp4", "where": "l:1: gone.mp4", "reason": "was forgotten"},
        {"forgotten": 1},
        {"list": "train", "path": "broken.mp4", "where": "l:2: broken.mp4", "reason": "does not decode (cut off)"},
    ]
    (other / "quarantine.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"list": "tr')
    skipped = [{"step": step, "epoch": 1, "ranks": []} for step in (3, 5)]
    (other / "nonfinite.jsonl").write_text("".join(json.dumps(line) + "\n" for line in skipped) + "[]\n")
    (other / "profile.txt").write_text("profile of steps 8 to 13: 5.0 ms a step: the host bounds it\n")
    page = make_page(tmp_path / "r.html", whole_run, other)
    runs = page.sideways("Runs side by side")
    assert runs["run"] == [whole_run.name, "other"]
    assert runs["overrides"][1] == "training.lr=0.5, augment.mixup=0.2"
    said = page.all_text().partition("What bounded each run:")[2].partition("Speed: medians")[0]
    waiting = r"the (loader|model): \d+ % of the time was waiting for data"
    verdict = "profile of steps 8 to 13: 5.0 ms a step: the host bounds it"
    assert re.fullmatch(rf"\s*{whole_run.name}\s+{waiting}\s+other\s+{verdict}\s*", said)
    assert [list(row.values())[1:] for row in page.rows("What the runs did without")] == [[0, 0], [1, 2]]
    assert page.rows("other: videos in quarantine") == [
        {"list": "train", "video": "broken.mp4", "why": "does not decode (cut off)"}
    ]
    assert "3, 5." in page.all_text()
    (loss,) = [alt for alt, _ in page.pictures if alt.startswith("Chart, loss")]
    assert f"{whole_run.name} from" in loss
    assert "other from" in loss
    nine = [tmp_path / f"run {number}" for number in range(9)]
    for folder in nine:
        shutil.copytree(whole_run, folder)
    page = make_page(tmp_path / "r.html", *nine)
    assert [row["run"] for row in page.rows("Runs side by side")] == [folder.name for folder in nine]


def test_hostile_names_are_text(tmp_path):
    run = tmp_path / "<b>run"
    run.mkdir()
    record = {"kind": "val", "step": 1, "epoch": 1, "time_s": 1.0, "loss": 1.0, "top1": 50.0, HOSTILE: 1.0}
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    facts = {"command": HOSTILE, "recipe": {"name": HOSTILE}, "overrides": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
    facts |= {"lists": [{"path": HOSTILE}, 3], "machine": [HOSTILE], "used": {"device": HOSTILE, "precision": {"a": 1}}}
    (run / "config.json").write_text(json.dumps(facts))
    (run / "profile.txt").write_text(HOSTILE)
    (run / "nonfinite.jsonl").write_bytes(b"\xff\n{}\n")
    rows = random_rows(12, 3)
    videos = [HOSTILE, "https://evil.example/v.mp4", "/dev/zero", "../../x", "/etc/passwd", "\ud800", str(tmp_path)]
    for place, row in enumerate(rows):
        row["path"] = videos[place % 7]
    dump = write_rows(tmp_path / "<i>.pkl", rows)
    summary = {"classes": [HOSTILE, "</style><script>", "$x_{"], "result": {"list": {"root": str(tmp_path), "path": HOSTILE}}}
    (tmp_path / "<i>.pkl.summary.json").write_text(json.dumps(summary))
    page = make_page(tmp_path / "r.html", run, dump)
    assert "<script" not in page.text.lower()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page.text)
    assert '<script>alert("x")</script>' in page.all_text()
    assert "No pictures of these videos." in page.all_text()
    # Whatever stands before a colon and two slashes is text: nothing on the page asks for anything.
    assert not re.search(r"url\(|@import", page.text)
    assert 'http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;;' in page.text


def test_videos_that_cannot_be_read_say_why(tmp_path):
    for name in ("good.mp4", "cut.mp4"):
        make_video(tmp_path / name, num_frames=40)
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    rows = random_rows(3, 2)
    for row, name in zip(rows, ("good.mp4", "cut.mp4", "missing.mp4"), strict=True):
        row["path"] = name
    dump = write_rows(tmp_path / "s.json", rows)
    page = make_page(tmp_path / "r.html", dump)
    assert "s.json.summary.json does not say which folder its list was of" in page.all_text()
    (tmp_path / "s.json.summary.json").write_text(json.dumps({"result": {"list": {"root": str(tmp_path)}}}))
    page = make_page(tmp_path / "r.html", dump)
    assert [alt for alt, picture in page.pictures if picture.format == "JPEG"] == [
        alt for alt, _ in page.pictures if alt.startswith("4 frames of good.mp4, ")
    ]
    assert page.all_text().count("no picture: ") == 2


@pytest.mark.slow
def test_a_page_has_a_bound(tmp_path, monkeypatch):
    dump = write_rows(tmp_path / "s.pkl", random_rows(900, 300))
    summary = {"classes": [f"{'long name ' * 30}{number}" for number in range(300)]}
    (tmp_path / "s.pkl.summary.json").write_text(json.dumps(summary))
    whole = make_page(tmp_path / "r.html", dump, "--top", 300)
    assert "Not on this page" not in whole.all_text()
    most = 150_000
    monkeypatch.setattr(html_report.HtmlReport.__init__, "__defaults__", (most,))
    page = make_page(tmp_path / "r.html", dump, "--top", 300)
    assert len(page.text.encode()) <= most < len(whole.text.encode()) < html_report.MOST_BYTES
    assert "For these there was no room" in page.all_text()
    assert "charts of s" in page.all_text()


def test_wrong_pages(tmp_path, whole_run, run_command):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metrics.jsonl").write_text("")
    dump = write_rows(tmp_path / "s.json", random_rows(5, 3))
    os.link(dump, tmp_path / "same.html")
    before = dump.read_bytes()
    for words, part in (
        ([dump, "--html", tmp_path / "none" / "r.html"], "its folder does not exist; make it first"),
        ([dump, "--html", tmp_path], "must end in .html"),
        ([whole_run, "--html", whole_run / "metrics.jsonl"], "must end in .html"),
        ([dump, "--html", tmp_path / "same.html"], "which is only read; give another file"),
        ([empty, "--html", tmp_path / "r.html"], "there is nothing to show"),
    ):
        done = run_command("analyze", *words)
        one_line(done, 2, part)
        assert not (tmp_path / "r.html").exists()
    assert dump.read_bytes() == before


def test_a_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    dump, target = write_rows(tmp_path / "s.json", random_rows(5, 3)), tmp_path / "r.html"
    target.write_text("old")

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("c2d_fast.commands.analyze_page.atomic_write", full)
    with pytest.raises(Exception, match=r"--html .*r.html: cannot be written \(No space left on device\)"):
        make_page(target, dump)
    assert target.read_text() == "old"
    monkeypatch.setattr("c2d_fast.commands.analyze_page.atomic_write", atomic_write)
    make_page(target, dump)


def look(browser, page, folder):
    """Opens a page in a browser. Returns what its console says, and how many requests the page makes of the network."""
    log = folder / "net.json"
    words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--log-net-log={log}"]
    words += ["--disable-background-networking", "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
    words += ["--window-size=390,900", f"--screenshot={folder / 'shot.png'}", f"file://{page}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    # The browser's own requests, for updates of itself, have no page that they come from.
    asked = [who for who in re.findall(r'"initiator":"([^"]*)"', log.read_text()) if who != "not an origin"]
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], len(asked)


@pytest.mark.slow
def test_a_browser_asks_for_nothing(whole_run, dump, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    asks = tmp_path / "asks.html"
    asks.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.log("said")</script>')
    console, asked = look(browser, asks, tmp_path)
    assert "said" in console[0]
    assert asked > 0, "otherwise what follows would show nothing"
    target = tmp_path / "r.html"
    make_page(target, whole_run, dump)
    assert look(browser, target, tmp_path) == ([], 0)
    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert shot.shape[1] == 390
    assert shot.std() > 10
