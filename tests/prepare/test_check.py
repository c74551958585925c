"""prepare check, as users run it: planted copies are found by what is in them, and nothing else is taken for one."""

import csv
import os
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from media import spoil
from odd_files import SITECUSTOMIZE, remux
from PIL import Image
from runs import one_line
from scans import scan

from c2d_fast.errors import UserError
from c2d_fast.formats import packet_table
from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_table import open_table
from c2d_fast.prepare import parse
from c2d_fast.prepare.check import EXIT_FOUND, run_check
from c2d_fast.prepare.frame_hash import _PACKAGES
from c2d_fast.prepare.near_pairs import distances, near_pairs
from c2d_fast.video.packets import DTYPE

pytest.importorskip("imagehash")
NO_DECODER = "import av\nav.open = None\nav.CodecContext = None\n"
ENCODERS = {".mp4": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}
FAST = {".mp4": {"preset": "veryfast"}, ".webm": {"deadline": "realtime", "cpu-used": "8"}}


def scene(seed, count=12):
    """A scene's frames, [H, W, 3]: soft shapes that pan."""
    points = np.random.default_rng(seed).integers(0, 256, (8, 14, 3), np.uint8)
    wide = np.asarray(Image.fromarray(points).resize((224, 96), Image.Resampling.BICUBIC))
    return [wide[:, 4 * k : 4 * k + 128] for k in range(count)]


def encode(path, images, scale=1.0, **options):
    """Writes a video; the name says as what."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            ENCODERS[path.suffix], rate=12, options={"g": "6", **FAST.get(path.suffix, {}), **options}
        )
        stream.width, stream.height = int(scale * images[0].shape[1]), int(scale * images[0].shape[0])
        stream.pix_fmt = "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        container.mux(stream.encode())
    return path


def make_list(run_command, folder, names, jobs=2):
    """Scans files of a folder, labelled one after the other; returns the manifest."""
    listed = folder.with_suffix(".txt")
    listed.write_text("".join(f"{name} {label}\n" for label, name in enumerate(names)))
    out = folder.with_suffix(".npz")
    done = scan(run_command, listed, out, "--data-root", folder, "--jobs", jobs, "--quiet")
    assert done.returncode == 0, done.stderr
    return out


def check(run_command, train, val, *more, **kwargs):
    lists = ["--train", train] + (["--val", val] if val else [])
    done = run_command("prepare", "check", *lists, "--csv", train.with_suffix(".csv"), "--jobs", 1, *more, **kwargs)
    with train.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return done, {(row["kind"], row["path_a"], row["path_b"]): row for row in rows}


@pytest.fixture(scope="module")
def planted(tmp_path_factory, run_command):
    """Two lists with copies of every kind: their manifests."""
    folder = tmp_path_factory.mktemp("planted")
    train, val = folder / "train", folder / "val"
    names = ["a.mp4", "b.mp4", "c.webm", "d.avi", "e.mp4", "f.mp4"]
    for seed, name in enumerate(names):
        encode(train / name, scene(seed))
    shutil.copy(train / "f.mp4", train / "f again.mp4")
    val.mkdir()
    shutil.copy(train / "a.mp4", val / "renamed.mp4")
    remux(train / "b.mp4", val / "remuxed.mkv")
    remux(train / "c.webm", val / "remuxed.mp4")
    remux(train / "d.avi", val / "other.mkv")
    encode(val / "worse.mp4", scene(4), crf="36", g="12")
    encode(val / "small.webm", scene(5)[::2], scale=0.5)
    encode(val / "new.mp4", scene(90))
    for number, grey in enumerate((16, 16, 40)):  # alike to the eye, and not copies of each other
        rng = np.random.default_rng(number)
        images = [np.clip(grey + rng.normal(0, 1.5, (96, 128, 3)), 0, 255).astype(np.uint8) for _ in range(12)]
        encode((train, val, val)[number] / f"flat {number}.mp4", images)
    lists = make_list(run_command, train, [*names, "f again.mp4", "flat 0.mp4", "a.mp4"])
    listed = ["renamed.mp4", "remuxed.mkv", "remuxed.mp4", "other.mkv", "worse.mp4", "small.webm", "new.mp4"]
    return lists, make_list(run_command, val, [*listed, "flat 1.mp4", "flat 2.mp4"])


EXACT = {
    ("exact", "a.mp4", "renamed.mp4"),
    ("exact", "b.mp4", "remuxed.mkv"),
    ("exact", "c.webm", "remuxed.mp4"),
    ("exact", "d.avi", "other.mkv"),
    ("exact", "f.mp4", "f again.mp4"),
    ("file", "a.mp4", "a.mp4"),
}
NEAR = {("near", "e.mp4", "worse.mp4"), ("near", "f.mp4", "small.webm")}


def test_copies_in_other_containers_are_found_without_a_decoder_or_a_library(planted, tmp_path, run_command):
    (tmp_path / "sitecustomize.py").write_text(NO_DECODER)
    (tmp_path / "imagehash.py").write_text("raise ImportError('blocked')\n")
    kept = ["--hashes", tmp_path / "h"]
    done, pairs = check(run_command, *planted, "--no-near", *kept, env={"PYTHONPATH": str(tmp_path)})
    one_line(done, EXIT_FOUND, "4 of the 9 videos of val.npz have a copy in train.npz")
    assert set(pairs) == EXACT
    row = pairs["exact", "b.mp4", "remuxed.mkv"]
    assert (row["list_a"], row["row_a"], row["label_a"]) == ("train", "2", "1")
    assert (row["list_b"], row["row_b"], row["label_b"], row["same_label"]) == ("val", "2", "1", "1")
    assert pairs["exact", "f.mp4", "f again.mp4"]["same_label"] == "0"
    assert "2 of these pairs have different labels" in done.stdout
    assert "exact: train.npz row 2: b.mp4 = val.npz row 2: remuxed.mkv" in done.stdout


def test_near_copies_are_found_shown_and_left_out(planted, tmp_path, run_command):
    outs = ["--png", tmp_path / "pairs.png", "--write-train", tmp_path / "clean.txt", "--hashes", tmp_path / "h"]
    done, pairs = check(run_command, *planted, *outs)
    one_line(done, EXIT_FOUND, "6 of the 9 videos of val.npz have a copy in train.npz")
    assert set(pairs) == EXACT | NEAR
    assert all(0 <= float(row["distance"]) <= 7 for row in pairs.values())
    assert "3 videos have fewer than 3 of 5 frames with contrast" in done.stdout
    with Image.open(tmp_path / "pairs.png") as picture:
        strips = np.asarray(picture.convert("RGB"))
    assert strips.shape[0] > 100 * len(pairs)
    assert len(np.unique(strips.reshape(-1, 3), axis=0)) > 1000, "frames are drawn, and not only their places"
    # f again.mp4 goes with f.mp4, which is left out for a near copy.
    assert (tmp_path / "clean.txt").read_text() == "flat 0.mp4 7\n"
    # Another run reads nothing: the files are spoiled.
    videos, lines = planted[0].with_suffix(""), (tmp_path / "h").read_bytes()
    sound = {path: path.read_bytes() for path in videos.iterdir()}
    for path, content in sound.items():
        state = path.stat()
        spoil(path)
        sound[path] = (content, state.st_mtime_ns)
    try:
        again, same = check(run_command, *planted, "--hashes", tmp_path / "h")
    finally:
        for path, (content, mtime_ns) in sound.items():
            path.write_bytes(content)
            os.utime(path, ns=(mtime_ns, mtime_ns))
    assert (again.returncode, same) == (EXIT_FOUND, pairs)
    assert (tmp_path / "h").read_bytes() == lines


def test_equal_sizes_are_no_copy(tmp_path, run_command):
    # Frames of one colour: packets of other bytes, and of the same sizes.
    for name, colour in (("red.avi", (200, 30, 30)), ("blue.avi", (30, 30, 200)), ("blue too.avi", (30, 30, 200))):
        encode(tmp_path / "train" / name, [np.full((96, 128, 3), colour, np.uint8)] * 3)
    train = make_list(run_command, tmp_path / "train", ["red.avi", "blue.avi", "blue too.avi"])
    manifest = read_manifest_file(train)
    (red, _), (blue, _), _ = open_table(table_path(train), manifest.identity()).each()
    assert (red["size"] == blue["size"]).all()
    done, pairs = check(run_command, train, None, "--no-near")
    assert (done.returncode, done.stderr) == (0, ""), "copies within a list are no wrong score"
    assert set(pairs) == {("exact", "blue.avi", "blue too.avi")}


def test_broken_videos_are_named_and_the_others_compared(tmp_path, run_command):
    # MPEG-4 is opened as a container: that is what SITECUSTOMIZE takes for a decoder that crashes.
    for name, seed in (("spins.avi", 0), ("crashes.avi", 1), ("x.mp4", 2), ("changed.mp4", 3)):
        encode(tmp_path / "train" / name, scene(seed))
    (tmp_path / "train" / "no video.mp4").write_text("no video\n" * 100)
    encode(tmp_path / "val" / "y.mp4", scene(2), crf="30")
    train = make_list(run_command, tmp_path / "train", ["spins.avi", "crashes.avi", "x.mp4", "changed.mp4", "no video.mp4"])
    val = make_list(run_command, tmp_path / "val", ["y.mp4"])
    encode(tmp_path / "train" / "changed.mp4", scene(3, 11))
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    done, pairs = check(run_command, train, val, "--time-limit", 1, env={"PYTHONPATH": str(tmp_path)})
    one_line(done, EXIT_FOUND, "1 of the 1 videos of val.npz")
    assert set(pairs) == {("near", "x.mp4", "y.mp4")}
    assert "1 of them are broken, and not compared" in done.stdout
    assert "3 videos cannot be read, and are compared packet by packet only:" in done.stdout
    for name, reason in (("spins.avi", "hangs"), ("crashes.avi", "SIGABRT"), ("changed.mp4", "has changed since")):
        assert re.search(rf"train\.npz row \d: {name} .*{reason}", done.stdout), name


def test_copies_behind_a_url_are_found(planted, tmp_path, run_command, http_server):
    server = http_server(planted[1].with_suffix(""))
    shutil.copy(planted[1].with_suffix(".txt"), tmp_path / "val.txt")
    done = scan(run_command, tmp_path / "val.txt", tmp_path / "val.npz", "--data-root", server.url, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    done, pairs = check(run_command, planted[0], tmp_path / "val.npz", "--hashes", tmp_path / "h")
    one_line(done, EXIT_FOUND, "6 of the 9 videos")
    assert set(pairs) == EXACT | NEAR


def test_what_can_be_mended_is_said_in_one_line(planted, tmp_path, run_command):
    train, val = planted
    shutil.copy(train, tmp_path / "alone.npz")
    shutil.copy(train, tmp_path / "odd.npz")
    shutil.copy(table_path(val), table_path(tmp_path / "odd.npz"))
    for words, part in (
        (["--train", train.with_suffix(".txt")], "is a plain list"),
        (["--train", tmp_path / "alone.npz"], "has no packet table beside it, alone.packets.npz"),
        (["--train", tmp_path / "odd.npz"], "belongs to another manifest"),
        (["--train", train, "--val", train], "is --train, too"),
        (["--train", train, "--threshold", "16"], "must be 15 bits of 64 at most"),
        (["--train", train, "--write-train", tmp_path / "x"], "give --val"),
        (["--train", train, "--csv", train], "which is only read"),
        (["--train", train, "--png", tmp_path / "no" / "x.png"], "its folder does not exist"),
    ):
        with pytest.raises(UserError, match=re.escape(part)):
            run_check(parse(["check", "--hashes", str(tmp_path / "h"), *map(str, words)]))
    for name in (_PACKAGES[0],):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError(\"No module named '{name}'\")\n")
    lists = ["--train", train, "--val", val, "--hashes", tmp_path / "h"]
    done = run_command("prepare", "check", *lists, env={"PYTHONPATH": str(tmp_path)})
    one_line(done, 2, "error: prepare check: ", "imagehash (", "; pip install 'c2d-fast[check]', or give --no-near\n")


@pytest.mark.parametrize(("videos", "packets"), [(2**14, 2**20), (3, 2000), (1, 1), (50, 1500)])
def test_a_table_is_gone_through_as_it_is_read(tmp_path, monkeypatch, videos, packets):
    monkeypatch.setattr(packet_table, "_VIDEOS_AT_ONCE", videos)
    monkeypatch.setattr(packet_table, "_PACKETS_AT_ONCE", packets)
    rng, counts = np.random.default_rng(0), np.array([1000, 0, 2000, 1, 700, 0, 0, 4000, 1500])
    written = []
    for number, count in enumerate(counts.tolist()):
        rows = np.zeros(count, DTYPE)
        rows["size"], rows["shown"] = rng.integers(1, 2**20, count), np.arange(count)
        written.append((rows.tobytes(), rng.bytes(number)))
    packet_table.write_table(tmp_path / "t.npz", "x", written, counts)
    table = packet_table.open_table(tmp_path / "t.npz", "x")
    assert [(rows.tobytes(), extradata) for rows, extradata in table.each()] == written
    content = bytearray((tmp_path / "t.npz").read_bytes())
    content[content.find(written[7][0]) + 30_000] ^= 1
    (tmp_path / "t.npz").write_bytes(content)
    damaged = [found is None for found in packet_table.open_table(tmp_path / "t.npz", "x").each()]
    assert damaged == [number == 7 for number in range(9)]


@pytest.mark.parametrize("threshold", [0, 3, 7, 9])
def test_the_search_finds_all_that_comparing_all_would(threshold):
    rng = np.random.default_rng(threshold)
    hashes = rng.integers(0, 2**64, (300, 5), np.uint64)
    for i in range(150):  # as far from their copies as may just be found, or just not
        hashes[150 + i] = hashes[i]
        for frame in range(5):
            for bit in rng.choice(64, rng.integers(0, 2 * threshold + 2), replace=False).tolist():
                hashes[150 + i, frame] ^= np.uint64(1 << bit)
    has_hash = rng.random((300, 5)) < 0.8
    first, second = np.triu_indices(300, 1)
    expected = distances(hashes, has_hash, first, second)
    pairs, found = near_pairs(hashes, has_hash, threshold)
    keep = expected <= threshold
    assert 0 < keep.sum() < 150
    assert pairs.tolist() == np.stack([first[keep], second[keep]], 1).tolist()
    assert (found == expected[keep]).all()


def test_the_extra_is_named_in_the_packages_metadata():
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert re.search(r"\ncheck =\n    ImageHash>=4\.3\n", setup)
    assert re.search(r"c2d-fast\[bench,check,", setup)
