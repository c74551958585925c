"""Whole runs from a web server and from a bucket end with the weights of local ones, to the bit."""

import json

import numpy as np
import pytest
from media import make_dataset
from runs import PIPE, batches, flags, last, metrics, same_weights, train
from scans import scan
from served import serve

from c2d_fast.browse import parse as parse_browse
from c2d_fast.commands.run_browse import run_browse
from c2d_fast.commands.run_test import run_test
from c2d_fast.test import parse as parse_test

CODECS = {"ffmpeg": "h264", "dali": "vp9"}
EPOCHS = 5  # of 4 steps


@pytest.fixture(scope="module")
def data(tmp_path_factory, run_command):
    """Two data sets, on the disk and on the servers: a list of each, and manifests that say where packets lie."""
    folder = tmp_path_factory.mktemp("served")
    for decoder, codec in CODECS.items():
        make_dataset(folder / decoder, codec, count=8, num_frames=(20, 31))
    with serve(folder) as served:
        yield served


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Gives the folder of a run over local videos that nothing has interrupted."""
    done = {}

    def run(decoder):
        if decoder not in done:
            done[decoder] = tmp_path_factory.mktemp("whole") / "run"
            with pytest.MonkeyPatch.context() as patch:
                words = flags(data.folder / decoder / "list.txt", done[decoder], "--decoder", decoder, epochs=EPOCHS)
                assert train(*words, monkeypatch=patch) == 0
        return done[decoder]

    return run


def check_same(out, whole):
    assert last(out)["progress"]["step"] == 4 * EPOCHS
    assert same_weights(last(out), last(whole))
    assert same_weights(last(out, "best.pt"), last(whole, "best.pt"))
    assert fed(out) == fed(whole)
    # Further figures say what came over the network.
    for line, local in zip(metrics(out), metrics(whole), strict=True):
        assert {name: line[name] for name in local} == local


def fed(out):
    """The batches of a run by their hashes and the videos' names, without where their list was."""
    return {place: ([name.rpartition(": ")[2] for name in names], sha256) for place, (names, sha256) in batches(out).items()}


@pytest.mark.parametrize(("kind", "decoder"), [("http", "ffmpeg"), pytest.param("s3", "dali", marks=pytest.mark.slow)])
def test_a_run_from_a_list_stopped_and_resumed(data, whole, tmp_path, monkeypatch, kind, decoder):
    out = tmp_path / "run"
    place = data.url(kind, f"{decoder}/list.txt")
    words = flags(place, out, "--decoder", decoder, "--stall-minutes", 0.5, epochs=EPOCHS)
    words += ["--data-root", place.removesuffix("/list.txt")]  # which no server has a word for, and nobody waits for
    assert train(*words, stop_after=3, monkeypatch=monkeypatch) == 143
    assert train(*words, "--resume", "auto", monkeypatch=monkeypatch) == 0
    check_same(out, whole(decoder))


@pytest.mark.parametrize(("kind", "decoder"), [("s3", "ffmpeg"), pytest.param("http", "dali", marks=pytest.mark.slow)])
def test_a_run_from_a_manifest_stopped_and_resumed_with_a_cache(data, whole, tmp_path, monkeypatch, run_command, kind, decoder):
    done = scan(run_command, data.url(kind, f"{decoder}/list.txt"), tmp_path / "list.npz")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    words = [*flags(tmp_path / "list.npz", out, "--decoder", decoder, epochs=EPOCHS), "--cache", tmp_path / "cache"]
    data.forget()
    assert train(*words, stop_after=7, monkeypatch=monkeypatch) == 143
    assert train(*words, "--resume", "auto", monkeypatch=monkeypatch) == 0
    check_same(out, whole(decoder))
    asked = data.requests(kind, "clip")
    assert asked
    assert all(request.if_match for request in asked if request.method == "GET")


@pytest.mark.parametrize(("kind", "decoder"), [("http", "ffmpeg"), pytest.param("s3", "dali", marks=pytest.mark.slow)])
def test_scores_and_browsed_clips(data, whole, tmp_path, kind, decoder):
    made = []
    for place in (str(data.folder), data.url(kind)):
        listed = [f"--list={place}/{decoder}/list.txt", f"--pipe={PIPE}", f"--decoder={decoder}", "--workers=1"]
        npz, dump = tmp_path / "clips.npz", tmp_path / "scores.json"
        run_browse(parse_browse([*listed, f"--npz={npz}", "--split=train", "--seed=5"]))
        checkpoint = whole(decoder) / "last.pt"
        run_test(parse_test([*listed, f"--checkpoint={checkpoint}", f"--dump={dump}", "--views=1x1"]))
        with np.load(npz) as file:
            made.append(({name: file[name].tolist() for name in ("clips", "path", "label")}, json.loads(dump.read_text())))
    assert made[0] == made[1]
