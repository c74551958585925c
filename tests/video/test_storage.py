"""A storage that is gone for a while costs time and no video; one file that is gone costs that file."""

import errno
import os
import threading
import time

import av
import pytest
import torch
from loaders import dataset, eval_loader, train_loader
from media import make_dataset, make_video

from c2d_fast.errors import EXIT_START_AGAIN, EndedError
from c2d_fast.lists.listing import read_list
from c2d_fast.loading import sample_problems
from c2d_fast.manifest import manifest as manifest_module
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.processes.children import LostItem
from c2d_fast.video import storage, storage_wait
from c2d_fast.video.reader import DecodeError
from c2d_fast.video.storage_wait import StorageWait, WaitPolicy, wait_for


def later(seconds, function):
    timer = threading.Timer(seconds, function)
    timer.start()
    return timer


def of_ffmpeg(number):
    with pytest.raises(av.FFmpegError) as caught:
        av.error.err_check(-number)
    return caught.value


def caused_by(cause):
    error = DecodeError("does not decode")
    error.__cause__ = cause
    return error


@pytest.fixture
def videos(tmp_path):
    return [make_video(tmp_path / "data" / f"{i}.mp4", num_frames=3) for i in range(3)]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_what_the_storage_says_is_not_held_against_a_video(videos, number):
    plain = storage.storage_problem(caused_by(OSError(number, os.strerror(number))), videos[0])
    assert plain == f"cannot be read ({os.strerror(number)})"
    assert storage.is_storage_error(plain)
    assert storage.is_storage_error(storage.storage_problem(caused_by(of_ffmpeg(number)), videos[0]))
    assert not storage.is_storage_error(
        storage.storage_problem(caused_by(of_ffmpeg(av.error.InvalidDataError(0, "").errno or 1)), videos[0])
    )


def test_what_ffmpeg_calls_an_input_error_is_the_video_s_where_others_open(videos):
    damaged = caused_by(of_ffmpeg(errno.EIO))
    assert storage.storage_problem(damaged, videos[0], lambda: [str(videos[1])]) == ""
    assert storage.is_storage_error(storage.storage_problem(damaged, videos[0], lambda: [str(videos[1]) + ".gone"]))
    assert storage.storage_problem(DecodeError("ends after 3 frames"), videos[0]) == ""
    videos[0].unlink()
    assert (
        storage.storage_problem(DecodeError("ends after 3 frames"), videos[0]) == "cannot be read (No such file or directory)"
    )


def test_what_is_no_file_is_no_fault_of_the_storage(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert storage.read_error(tmp_path / "pipe.mp4") is None
    assert storage.read_error(tmp_path) is None


def test_the_nearest_files_are_asked():
    files = ["/a/disk1/x/1.mp4", "/a/disk1/x/2.mp4", "/a/disk1/y/1.mp4", "/a/disk2/x/1.mp4", "/b/1.mp4"]
    assert storage.nearby_files("/a/disk1/x/1.mp4", files) == ["/a/disk1/x/2.mp4"]
    assert storage.nearby_files("/a/disk1/y/1.mp4", files) == ["/a/disk1/x/1.mp4", "/a/disk1/x/2.mp4"]
    assert storage.nearby_files("/a/disk2/x/1.mp4", files) == files[:3]
    assert storage.nearby_files("/b/1.mp4", files) == files[:4]
    assert storage.nearby_files("/a/1.mp4", [f"/a/{i}.mp4" for i in range(1000)])[-1] == "/a/750.mp4"
    assert storage.nearby_files("/a/1.mp4", ["/a/1.mp4"]) == []


def test_a_folder_that_is_gone_is_waited_for(tmp_path, videos, capsys):
    files = list(map(str, videos))
    os.rename(tmp_path / "data", tmp_path / "away")
    later(1.0, lambda: os.rename(tmp_path / "away", tmp_path / "data"))
    wait, heartbeats = StorageWait(WaitPolicy(60.0)), []
    wait._heartbeat = lambda: heartbeats.append(1)
    assert wait_for({files[0]: "x", files[1]: "x"}, lambda: files, wait) == {}
    wait.finish()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"waiting for storage: {files[0]}: cannot be read (No such file or directory)"
    assert said[1].startswith("storage is back after ")
    assert len(said) == 2
    assert len(heartbeats) > 2


def test_one_file_that_is_gone_is_not_waited_for_long(videos, monkeypatch, capsys):
    monkeypatch.setattr(storage_wait, "_ALONE_S", 0.3)
    files = list(map(str, videos))
    videos[0].unlink()
    left = wait_for({files[0]: "x", files[1]: "x"}, lambda: files, StorageWait(WaitPolicy(60.0)))
    assert left == {files[0]: "cannot be read (No such file or directory)"}
    assert capsys.readouterr().out == ""


def test_the_end_of_patience(videos):
    files = list(map(str, videos))
    for video in videos:
        video.unlink()
    with pytest.raises(
        EndedError, match=r"0.mp4: cannot be read \(No such file.* for 0.5 s by now; no video is quar.*: do it"
    ) as caught:
        wait_for({files[0]: "x"}, lambda: files, StorageWait(WaitPolicy(0.5, "do it")))
    assert caught.value.exit_code == EXIT_START_AGAIN


@pytest.mark.parametrize("decoder", ["ffmpeg", pytest.param("dali", marks=pytest.mark.slow)])
def test_batches_are_the_same_after_the_storage_was_gone(tmp_path, decoder, capsys):
    bad = dataset(tmp_path / "data", codec="h264" if decoder == "ffmpeg" else "vp9", count=6)
    for make, read in (
        (lambda: train_loader(bad, decoder)[0], lambda loader: loader.epoch(0)),
        (lambda: eval_loader(bad, decoder)[0], lambda loader: loader.views()),
    ):
        expected = [batch.clip.clone() for batch in read(make())]
        (tmp_path / "data").rename(tmp_path / "away")
        heartbeats = []

        def heartbeat(doing, heartbeats=heartbeats):
            heartbeats.append(doing)
            if len(heartbeats) == 5:
                (tmp_path / "away").rename(tmp_path / "data")

        loader = make()
        loader.set_heartbeat(heartbeat)
        found = [batch.clip.clone() for batch in read(loader)]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert set(heartbeats) == {"while it waited for the storage"}
    assert bad.found == []
    told = capsys.readouterr().out
    assert told.count("waiting for storage: ") == told.count("storage is back after ") == 2


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_files_that_cannot_be_read_for_a_moment_are_examined_later(tmp_path, monkeypatch, number):
    listing = read_list(make_dataset(tmp_path, count=3), None, 2)
    expected = read_manifest(listing, allow_missing=False, jobs=2)
    manifest_module._Cache(listing.root).path.unlink()
    examine, until_s = manifest_module.examine, time.monotonic() + 1.5

    def failing(path):
        if time.monotonic() < until_s:
            raise caused_by(OSError(number, os.strerror(number)))
        return examine(path)

    monkeypatch.setattr(manifest_module, "examine", failing)
    found = read_manifest(listing, allow_missing=False, jobs=2)
    assert found.broken == {}
    assert (found.facts == expected.facts).all()


def test_a_file_that_was_read_wrongly_once_is_no_broken_one(tmp_path, monkeypatch):
    listing = read_list(make_dataset(tmp_path, count=2), None, 2)
    examine, tried = manifest_module.examine, []

    def once(path):
        tried.append(path)
        if tried.count(path) == 1:
            raise DecodeError("does not decode (Invalid data found when processing input)")
        return examine(path)

    monkeypatch.setattr(manifest_module, "examine", once)
    assert read_manifest(listing, allow_missing=False, jobs=2).broken == {}


def test_a_signal_of_a_mapped_file_that_is_gone_is_held_against_no_video(monkeypatch):
    items = [("source", 0, slot) for slot in range(3)]
    ends = [
        LostItem("ends the decoder with signal SIGBUS"),
        LostItem("ends the decoder with signal SIGSEGV"),
        "does not decode (x)",
    ]
    monkeypatch.setattr(sample_problems, "run_in_children", lambda *args, **kwargs: zip(items, ends, strict=True))
    texts, lost = sample_problems.find_unreadable("source", [item[1:] for item in items], jobs=1)
    assert texts == {(0, 2): "does not decode (x)"}
    assert lost == {(0, 1): "ends the decoder with signal SIGSEGV"}
