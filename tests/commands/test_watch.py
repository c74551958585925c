"""predict --watch: a folder that grows."""

import json
import os
import shutil
import signal
import sys
import time

import fork_server
import pytest
from fork_server import environment
from media import make_video, spoil
from runs import PIPE, end, one_line


def start(*words):
    words = [sys.executable, "-m", "c2d_fast.predict", "--pipe", PIPE, *words]
    return fork_server.start(list(map(str, words)), environment(), start_new_session=True)


def wait_for(process, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def result_of(video):
    path = video.with_name(video.name + ".predictions.json")
    return json.loads(path.read_text()) if path.exists() else None


def test_each_video_is_scored_once_also_after_a_kill(whole_run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    words = ["--checkpoint", whole_run / "best.pt", "--watch", folder, "--workers", 1]
    first = make_video(folder / "a.mp4", num_frames=20)
    (folder / "notes.txt").write_text("no video")
    process = start(*words)
    try:
        wait_for(process, lambda: result_of(first))
        assert len(result_of(first)["predictions"]) == 2
        (folder / "b").mkdir()
        second = folder / "b" / "second.mp4"
        make_video(tmp_path / "whole.mp4", num_frames=20, hue=1)
        content = (tmp_path / "whole.mp4").read_bytes()
        second.write_bytes(content[: len(content) // 2])  # it is still being copied
        time.sleep(0.5)
        second.write_bytes(content)
        broken = folder / "c.mp4"
        spoil(shutil.copy(first, broken))
        wait_for(process, lambda: result_of(second) and "predictions" in result_of(second) and result_of(broken))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        scored = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.predictions.json")}
        assert len(scored) == 3
        process = start(*words)
        third = make_video(folder / "z.mp4", num_frames=20)
        wait_for(process, lambda: result_of(third))
        again = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.predictions.json")}
        assert {name: again[name] for name in scored} == scored
        make_video(first, num_frames=30)  # another one in its place is scored
        wait_for(process, lambda: result_of(first)["size"] == first.stat().st_size)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        end(process)
    assert not list(folder.rglob("*.partial"))


def test_what_does_not_fit_is_said_in_a_line(whole_run, tmp_path):
    def predict(*words):
        words = [sys.executable, "-m", "c2d_fast.predict", "--pipe", PIPE, "--checkpoint", whole_run / "best.pt", *words]
        return fork_server.run(list(map(str, words)), environment(), 60)

    one_line(predict(), 2, "no VIDEO is given; name files or folders, --watch DIR or --stream")
    one_line(predict("--watch", tmp_path / "none"), 2, "none: is no folder")
    one_line(predict("a.mp4", "--watch", tmp_path), 2, "takes no videos")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(whole_run, tmp_path):
    tmp_path.chmod(0o500)
    words = [
        sys.executable,
        "-m",
        "c2d_fast.predict",
        "--pipe",
        PIPE,
        "--checkpoint",
        whole_run / "best.pt",
        "--watch",
        tmp_path,
    ]
    one_line(fork_server.run(list(map(str, words)), environment(), 60), 2, "is not writable")
