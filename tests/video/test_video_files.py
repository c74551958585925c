"""Which files of a folder are taken for videos, what becomes of the others, and what a class without any is."""

import os

import av
import pytest
from media import make_video, numbered_frame

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import ManifestFile, read_manifest_file
from c2d_fast.lists.listing import read_list
from c2d_fast.prepare import parse
from c2d_fast.prepare.scan import run_scan
from c2d_fast.video.examine import examine
from c2d_fast.video.video_files import _OTHER_SUFFIXES, VIDEO_SUFFIXES, SkippedFiles, filter_videos

# suffix -> FFmpeg's encoder and container
FORMS = {
    ".gif": ("gif", "gif", "rgb8"),
    ".asf": ("mpeg4", "asf", "yuv420p"),
    ".mxf": ("mpeg2video", "mxf", "yuv422p"),
    ".3g2": ("mpeg4", "3g2", "yuv420p"),
    ".m2v": ("mpeg2video", "mpeg2video", "yuv420p"),
    ".divx": ("mpeg4", "avi", "yuv420p"),
    ".f4v": ("libx264", "f4v", "yuv420p"),
    ".qt": ("libx264", "mov", "yuv420p"),
    ".rm": ("mpeg1video", "mpeg", "yuv420p"),
    ".dv": ("mjpeg", "avi", "yuvj420p"),
    "": ("libx264", "mp4", "yuv420p"),
    ".unheard-of": ("libvpx", "webm", "yuv420p"),
    ".v2.final": ("libx264", "matroska", "yuv420p"),
    ".dat": ("mpeg1video", "mpeg", "yuv420p"),
    ".part 1": ("flv", "flv", "yuv420p"),
}


def write(path, encoder, container, pix_fmt, frames=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, pix_fmt
        for number in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        output.mux(stream.encode())
    return path


def test_whatever_opens_as_a_video_belongs(tmp_path):
    for suffix, form in FORMS.items():
        write(tmp_path / f"class of {suffix.strip('.') or 'none'}" / f"clip{suffix}", *form)
    listing = read_list(tmp_path, None, None)
    assert len(listing) == listing.num_classes == len(FORMS)
    assert {os.path.splitext(video)[1] for video in listing.videos} == {os.path.splitext(f"x{s}")[1] for s in FORMS}
    for i in range(len(listing)):
        assert examine(listing.file(i)).facts.frames == 12, listing.videos[i]


def test_what_is_left_out_is_counted_and_named(tmp_path, capsys):
    make_video(tmp_path / "a" / "x.mp4", num_frames=3)
    write(tmp_path / "b" / "sub" / "y", "libx264", "mp4", "yuv420p")
    (tmp_path / "b" / "broken.MP4").write_text("taken, and found to be broken later")
    for name in ("a/.DS_Store", "a/._x.mp4", "b/.thumbs/z.mp4", "a/notes.TXT", "b/x.json", "b/cover.jpg", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no video")
    write(tmp_path / "a" / "still", "mjpeg", "mjpeg", "yuvj420p", frames=1)
    (tmp_path / "b" / "list of others").write_text("#EXTM3U\n")
    os.mkfifo(tmp_path / "b" / "pipe")
    listing = read_list(tmp_path, None, 2)
    assert listing.videos == ("a/x.mp4", "b/broken.MP4", "b/sub/y")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert line.startswith(
        f"note: left out of {tmp_path}: 10 files (3 hidden, 3 of other kinds by their suffix, 4 that hold no"
    )
    assert "first README (does not decode" in line
    assert "a/.DS_Store" in line


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, capsys):
    make_video(tmp_path / "a" / "x.mp4", num_frames=3)
    read_list(tmp_path, None, 1)
    assert capsys.readouterr().out.count("\n") <= 1


def test_known_suffixes_are_not_opened(tmp_path):
    names = [f"a/{suffix}x{suffix}".replace("/.", "/") for suffix in sorted(VIDEO_SUFFIXES | _OTHER_SUFFIXES)]
    skipped = SkippedFiles()
    videos = filter_videos(names, tmp_path / "nowhere", skipped)
    assert len(videos) == len(VIDEO_SUFFIXES)
    assert skipped.counts == {"of other kinds by their suffix": len(_OTHER_SUFFIXES)}
    assert not VIDEO_SUFFIXES & _OTHER_SUFFIXES


@pytest.mark.parametrize("content", [(), ("notes.txt", "clip"), (".hidden.mp4",)])
def test_a_class_without_a_video_is_an_error(tmp_path, run_command, content):
    make_video(tmp_path / "v" / "full" / "x.mp4", num_frames=3)
    (tmp_path / "v" / "hollow").mkdir()
    for name in content:
        (tmp_path / "v" / "hollow" / name).write_text("no video")
    with pytest.raises(UserError, match=r"class 'hollow' has no video; put videos into its folder, or remove it"):
        read_list(tmp_path / "v", None, 2)
    if content:
        return
    (tmp_path / "v" / "void").mkdir()
    done = run_command("prepare", "list", "--train", tmp_path / "v", "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "class 'hollow' has no video (2 of the 3 folders have none); put videos" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "_", "__ "])
def test_names_that_are_none_are_refused(tmp_path, name):
    make_video(tmp_path / "v" / "good" / "x.mp4", num_frames=3)
    (tmp_path / "v" / name).mkdir()
    (tmp_path / "v" / name / "x.mp4").touch()
    with pytest.raises(UserError, match="can be no class") as error:
        read_list(tmp_path / "v", None, None)
    assert "\n" not in str(error.value)
    table = tmp_path / "t.csv"
    table.write_text(f'label,youtube_id,time_start,time_end\n"{name}",a,0,10\n', errors="surrogateescape")
    with pytest.raises(UserError, match=r"can be no class|is not UTF-8"):
        read_list(table, None, None)


def test_names_come_back_from_a_scan_as_they_went_in(tmp_path):
    classes = ("a\u00a0b", "zero\u200dwidth", "naïve", "esc\x1b[2J\u202e", "two\nlines\x85", " lead", "trail ")
    files = ("a.mp4", "x\ny.mp4", "tab\t.mp4", os.fsdecode(b"\xff.mp4"), "\x01.mp4", " .mp4", "é.mp4")
    for name, file in zip(classes, files, strict=True):
        (tmp_path / "v" / name).mkdir(parents=True)
        (tmp_path / "v" / name / file).touch()
    run_scan(parse(["scan", "--list", str(tmp_path / "v"), "--out", str(tmp_path / "m.npz"), "--jobs", "1"]))
    manifest = read_manifest_file(tmp_path / "m.npz")
    assert set(manifest.videos) == {f"{name}/{file}" for name, file in zip(classes, files, strict=True)}
    assert [manifest.classes[label] for label in manifest.labels] == [video.split("/")[0] for video in manifest.videos]
    listing = read_list(tmp_path / "m.npz", None, len(classes))
    assert listing.videos == manifest.videos
    assert listing.classes == manifest.classes


@pytest.mark.parametrize("column", ["videos", "classes"])
def test_a_manifest_does_not_shift_names(tmp_path, column):
    import numpy as np

    from c2d_fast.video.facts import DTYPE

    zeros = np.zeros(2, np.int64)
    columns = {"labels": zeros, "size": zeros, "mtime_ns": zeros, "depth": zeros.astype(np.uint8), "facts": np.ones(2, DTYPE)}
    names = {"videos": ("a.mp4", "b.mp4"), "classes": ("a", "b")} | {column: ("a\0b", "c")}
    made = ManifestFile(list_path="l", list_sha256="0", root="/", reasons=("", "a\0b"), **names, **columns)
    with pytest.raises(UserError, match=r"'a\\x00b': holds a NUL character"):
        made.write(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())
