"""The peers of the loaders' benchmark: their processes, their frames, and what is said of them."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import make_video, numbered_frame

ROOT = Path(__file__).parents[2]
SIDE = 64


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The benchmarks' modules can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def clip(path, frames, flip=False):
    return {"file": str(path), "frames": frames, "scaled": (160, 96), "box": (10, 4, 100, 90), "flip": flip}


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGSTOP, "gave no answer for 3 s"), (signal.SIGKILL, "its process has ended (-9)")]
)
def test_a_peer_that_stops_or_dies_costs_a_line(here, number, why):
    from peers import Peer

    peer = Peer("pyav", limit_s=3)
    assert peer.missing == ""
    os.kill(peer._process.pid, number)
    # More than a pipe holds: one who is stopped does not take it.
    assert peer.measure({"clips": ["x" * 2**20]}) is None
    assert (peer.missing, peer.measure({})) == (why, None)
    peer.close()


def uneven(path):
    """A video whose second half is shown at a quarter of the speed."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height = 160, 96
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = number + 3 * max(number - 20, 0), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frame_mappings_are_what_decoding_gives(tmp_path):
    from frame_mappings import FrameMappings

    uneven(tmp_path / "uneven.mp4")
    make_video(tmp_path / "even.mp4")
    mappings = FrameMappings(tmp_path)
    for path in (tmp_path / "uneven.mp4", tmp_path / "even.mp4"):
        file = mappings.file(str(path))
        assert mappings.file(str(path)) == file
        frames = json.loads(Path(file).read_text())["frames"]
        with av.open(str(path)) as container:
            decoded = [(frame.pts, int(frame.key_frame)) for frame in container.decode(video=0)]
        assert [(frame["pts"], frame["key_frame"]) for frame in frames] == decoded
        assert all(frame["duration"] > 0 for frame in frames)


@pytest.mark.slow
def test_frames_that_were_not_asked_for_are_counted(tmp_path):
    from frame_mappings import frame_mappings
    from peers import Peer
    from same_frames import Reference

    uneven(tmp_path / "uneven.mp4")
    (tmp_path / "mappings.json").write_text(frame_mappings(str(tmp_path / "uneven.mp4")))
    asked = clip(tmp_path / "uneven.mp4", list(range(3, 40, 4))) | {"mappings": str(tmp_path / "mappings.json")}
    reference = Reference([asked], SIDE)

    def differ(name):
        peer = Peer(name, limit_s=60)
        images = peer.images({"clips": [asked], "side": SIDE})
        peer.close()
        if images is None:
            pytest.skip(peer.missing)
        found = reference.compare(images)
        assert found["frames_checked"] == 10
        return found["frames_differ"]

    assert differ("mappings") == 0
    assert differ("approximate") > 3  # it takes them to be equally far apart


def test_decord2_is_taken_from_its_own_folder_only(tmp_path):
    from libraries import DECORD2, LIBRARIES, Library

    assert LIBRARIES["decord2"].folder == DECORD2
    with pytest.raises(ImportError, match=r"there is no .*nowhere: see docs/benchmarks.md"):
        Library("decord2", print, ("decord",), folder=tmp_path / "nowhere").load()
    if not DECORD2.is_dir():
        pytest.skip(f"there is no {DECORD2}")
    code = "from libraries import LIBRARIES; LIBRARIES['decord2'].load(); import decord; print(decord.__file__)"
    env = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=True)
    assert Path(done.stdout.strip()).is_relative_to(DECORD2)


@pytest.mark.parametrize("flip", [False, True])
def test_crops_on_a_device_are_those_of_the_other_peers(flip):
    """On the CPU; a GPU's decoder has not been tried."""
    import torch
    from gpu_peers import cut_on_device
    from peers import cut

    images = np.stack([numbered_frame(number) for number in (3, 9)])
    asked = clip("x", [3, 9], flip) | {"scaled": (200, 120)}
    ours = cut_on_device(torch.from_numpy(images), asked, SIDE)
    assert (ours.dtype, ours.shape) == (torch.uint8, (2, SIDE, SIDE, 3))
    assert np.abs(ours.numpy().astype(int) - cut(images, asked, SIDE)).max() <= 2


def test_threads_make_batches_in_order_and_stop_when_nobody_wants_more():
    import torch
    from gpu_peers import batches_by_threads

    made = []
    batches = batches_by_threads(lambda i: made.append(i) or torch.tensor([i]), 11, 2, threads=3)
    assert torch.equal(torch.cat(list(batches)).flatten(), torch.arange(10))
    made.clear()
    batches = batches_by_threads(lambda i: made.append(i) or torch.tensor([i]), 1000, 2, threads=3)
    next(batches)
    batches.close()
    assert len(made) <= 7


def row(name, rate, index="none", form="stored", **more):
    facts = {"name": name, "form": form, "index": index, "ours": name.startswith("c2d-fast")}
    return facts | {"clips_per_s": rate, "low": rate - 1.0, "high": rate + 1.0} | more


def test_peers_are_compared_with_what_has_as_much_as_they_and_a_faster_one_is_named():
    from in_words import in_words
    from tables import in_groups, other_frames

    rows = [
        row("c2d-fast", 40.0, "packet table"),
        row("torchcodec, frame mappings", 50.0, "frame mappings"),
        row("decord in a DataLoader (as MMAction2)", 10.0),
        row("torchcodec, approximate seeking", 20.5, frames_checked=64, frames_differ=5),
        row("c2d-fast without a packet table", 20.0, "manifest (facts)"),
        row("c2d-fast, files read whole", 19.0, "manifest (facts)"),
    ]
    assert in_words({"loaders": rows}) == (
        "Without an index, files as downloaded: **faster than c2d-fast** is torchcodec with approximate seeking (1.02 times "
        "its clips, within the spread of the rounds); c2d-fast reads 2.00 times the clips of decord. "
        "With an index, files as downloaded: **faster than c2d-fast** is torchcodec with frame mappings (1.25 times its clips)."
    )
    assert [one["clips_per_s"] for one in in_groups(rows)] == [20.0, 19.0, 10.0, 20.5, 40.0, 50.0]
    assert [other_frames(one) for one in rows[2:4]] == ["", ", 5 of 64 frames are others"]
