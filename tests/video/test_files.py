"""What is opened, and as what: playlists, FIFOs and their like are refused before anything in them is followed."""

import os
import socket
import threading
import time

import av
import pytest
from media import make_dataset, make_video
from runs import PIPE, flags, one_line, run

from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest import manifest as manifest_module
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.processes.children import LostItem
from c2d_fast.processes.watched_threads import heartbeat, run_in_threads
from c2d_fast.video.examine import examine
from c2d_fast.video.reader import DecodeError


def playlists(folder):
    """Makes files that name other files, among them a FIFO that would block whoever opens it; returns {name: its reason}."""
    folder.mkdir(parents=True, exist_ok=True)
    video, fifo = make_video(folder / "other.ts", num_frames=12), folder / "fifo.ts"
    os.mkfifo(fifo)
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    texts = {
        "hls.mp4": (hls.format(video), "playlist (HLS)"),
        "hls.m3u8": (hls.format(video), "playlist (HLS)"),
        "hls fifo.m3u8": (hls.format(fifo), "playlist (HLS)"),
        "hls relative.m3u8": (hls.format("other.ts"), "playlist (HLS)"),
        "concat.mp4": (f"ffconcat version 1.0\nfile '{video}'\n", "playlist (concat)"),
        "concat fifo.mkv": (f"ffconcat version 1.0\nfile '{fifo}'\n", "playlist (concat)"),
        "dash.mp4": (
            f'<?xml version="1.0"?>\n<!-- a list -->\n<MPD xmlns="urn:mpeg:dash"><BaseURL>{video}</BaseURL></MPD>',
            "playlist (DASH)",
        ),
        "smooth.mp4": ("<?xml version='1.0'?><SmoothStreamingMedia MajorVersion='2'/>", "playlist"),
        "pls.mp4": (f"[playlist]\nFile1={video}\n", "playlist"),
        "session.mp4": ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n", "session (SDP)"),
        "session.sdp": ("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n", "session (SDP)"),
        "frames%03d.jpg": ("", "in no container"),
        "text.txt": ("no video\n" * 100, "in no container"),
    }
    for name, (text, _) in texts.items():
        (folder / name).write_text(text)
    os.mkfifo(folder / "pipe.mp4")
    return {name: reason for name, (_, reason) in texts.items()} | {"pipe.mp4": "is a FIFO, not a regular file"}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    expected = playlists(folder)
    (folder / "list.txt").write_text("".join(f"{name} 0\n" for name in expected))
    return folder, expected


def test_what_is_no_file_or_names_others_is_refused_with_its_kind(refused):
    folder, expected = refused
    for name, part in expected.items():
        with pytest.raises(DecodeError) as error:
            examine(folder / name)
        assert part in str(error.value), name
        assert "\n" not in str(error.value)


def test_sockets_devices_and_folders_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        (tmp_path / "zero.mp4").symlink_to("/dev/zero")
        (tmp_path / "folder.mp4").mkdir()
        for name, kind in (("socket", "socket"), ("zero", "device"), ("folder", "folder")):
            with pytest.raises(DecodeError, match=f"is a {kind}, not a regular file"):
                examine(tmp_path / f"{name}.mp4")


def test_pictures_that_lie_in_another_file_are_not_fetched(tmp_path):
    other = make_video(tmp_path / "other.mp4", num_frames=12)
    content = make_video(tmp_path / "a.mp4", num_frames=12).read_bytes()
    at = content.index(b"dref")
    assert content[at + 12 : at + 24] == b"\0\0\0\x0curl \0\0\0\1"  # ISO 14496-12, 8.7.2: "in this file"
    for kind, body in ((b"url ", f"file://{other}".encode() + b"\0"), (b"alis", _alias(other))):
        entry = (12 + len(body)).to_bytes(4, "big") + kind + bytes(4) + body
        (tmp_path / f"{kind.decode().strip()}.mp4").write_bytes(
            _grow_boxes(content[: at + 12] + entry + content[at + 24 :], at, len(body))
        )
    drefs = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(tmp_path / "alis.mp4"), options=drefs) as container:  # the file is as it is meant to be
        assert len(list(container.decode(video=0))) == 12
    other.unlink()
    os.mkfifo(other)  # whoever opened it would wait
    assert examine(tmp_path / "url.mp4").facts.frames == 12  # of its own bytes
    with pytest.raises(DecodeError, match="no frame that decodes"):
        examine(tmp_path / "alis.mp4")


def _alias(path):
    """Returns a Macintosh alias record whose absolute path is that of a file (QuickTime's data references)."""
    head = bytearray(150)
    head[4:6] = len(head).to_bytes(2, "big")
    text = str(path).encode()
    tags = b"\0\x02" + len(text).to_bytes(2, "big") + text + b"\0" * (len(text) % 2) + b"\xff\xff\0\0"
    return bytes(head) + tags


def _grow_boxes(content, at, grown):
    """Adds to the lengths of all boxes that hold the byte at `at`; those of a file whose index is at its end."""
    content = bytearray(content)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = content.rindex(name, 0, at + 4) - 4
        length = int.from_bytes(content[place : place + 4], "big")
        content[place : place + 4] = (length + grown).to_bytes(4, "big")
    return bytes(content)


def test_every_command_names_the_file_and_the_reason(refused, tmp_path, run_command, whole_run):
    folder, expected = refused
    model = ["--pipe", PIPE, "--checkpoint", whole_run / "best.pt"]
    for name in ("hls fifo.m3u8", "concat.mp4", "pipe.mp4"):
        one_line(run_command("predict", folder / name, *model), 2, str(folder / name), expected[name])
    done = run_command("prepare", "scan", "--list", folder / "list.txt", "--out", tmp_path / "m.npz", "--depth", "packets")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest_file(tmp_path / "m.npz")
    for name, reason in zip(manifest.videos, manifest.reasons, strict=True):
        assert expected[name] in reason
        assert f"  {name}: {reason}" in done.stdout
    done = run_command("prepare", "transcode", "--list", folder / "list.txt", "--out", tmp_path / "out")
    one_line(done, 2, "hls.mp4", "is a playlist (HLS)")
    one_line(run(*flags(folder / "list.txt", tmp_path / "run")), 2, "hls.mp4", "is a playlist (HLS)", "none is left")


def test_a_start_gives_up_a_file_that_hangs(tmp_path, monkeypatch, capsys):
    listing = read_list(make_dataset(tmp_path, count=4, num_frames=(8,)), None, 2)
    release, original = threading.Event(), manifest_module.examine

    def examine_or_hang(path):
        if "clip 1" in path.name:
            release.wait(60)
        return original(path)

    monkeypatch.setattr(manifest_module, "examine", examine_or_hang)
    monkeypatch.setattr(manifest_module, "_TIME_LIMIT_S", 1.0)
    found = read_manifest(listing, allow_missing=False, jobs=1)
    release.set()
    assert found.broken == {1: "hangs: gets no further for 1 s"}
    assert found.kept.tolist() == [0, 2, 3]


def test_threads_that_hang_are_replaced_and_those_that_get_on_are_not():
    release = threading.Event()

    def work(number):
        if number == 2:
            release.wait(60)
        for _ in range(5 if number == 3 else 0):  # slow, but it gets on
            time.sleep(0.3)
            heartbeat()
        return number * number

    found = dict(run_in_threads(work, range(6), jobs=2, time_limit_s=0.9))
    release.set()
    assert isinstance(found.pop(2), LostItem)
    assert found == {n: n * n for n in (0, 1, 3, 4, 5)}
    with pytest.raises(KeyError):
        list(run_in_threads({}.__getitem__, range(6), jobs=2, time_limit_s=60))
    assert list(run_in_threads(work, [], jobs=2, time_limit_s=60)) == []
