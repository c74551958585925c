"""prepare scan, as users run it: real processes over real files, good and broken, and what training makes of the manifest."""

import contextlib
import csv
import dataclasses
import os

import av
import numpy as np
import pytest
import tiny_pipe
from media import known, make_dataset, make_video, read_number
from odd_files import SITECUSTOMIZE, make_odd_files, remux
from scans import scan, write_list

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_table import open_table
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.prepare.show import frames_to_decode
from c2d_fast.video.examine import examine
from c2d_fast.video.orientation import apply_orientation
from c2d_fast.video.reader import decode_frames


def states(folder):
    found = {name: (folder / name).lstat() for name in os.listdir(folder)}
    return {name: (state.st_ino, state.st_mode, state.st_size, state.st_mtime_ns) for name, state in found.items()}


@pytest.fixture(scope="module")
def odd(tmp_path_factory, run_command):
    """A folder of odd files, what is expected of each, and a full scan of it."""
    folder = tmp_path_factory.mktemp("odd") / "videos"
    expected = make_odd_files(folder)
    (folder.parent / "site").mkdir()
    (folder.parent / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = write_list(folder, expected)
    before = states(folder)
    env = {"PYTHONPATH": str(folder.parent / "site")}
    done = scan(run_command, path, folder.parent / "odd.npz", "--time-limit", 3, "--packets", env=env)
    assert done.returncode == 0, done.stderr
    assert states(folder) == before, "a scan only reads"
    return folder, expected, done


def test_every_good_file_is_good_and_every_bad_one_named_with_its_reason(odd):
    folder, expected, done = odd
    assert len(expected) >= 60
    manifest = read_manifest_file(folder.parent / "odd.npz")
    found = dict(zip(manifest.videos, manifest.reasons, strict=True))
    assert {name: reason for name, reason in found.items() if bool(reason) != bool(expected[name])} == {}
    for name, reason in expected.items():
        assert (reason or "") in found[name], name
    assert f"{sum(not reason for reason in expected.values())} can be used" in done.stdout
    assert done.stderr == ""
    assert not list(folder.parent.glob("odd.npz.journal*"))


def test_the_facts_are_those_of_a_plain_decode(odd):
    folder, expected, _ = odd
    manifest = read_manifest_file(folder.parent / "odd.npz")
    facts = dict(zip(manifest.videos, manifest.facts, strict=True))
    table = open_table(table_path(folder.parent / "odd.npz"), manifest.identity())
    for name in (name for name, reason in expected.items() if not reason):
        with av.open(str(folder / name)) as container:
            frames = list(container.decode(video=0))
        assert facts[name]["frames"] == len(frames), name
        shown = apply_orientation(frames[0].to_ndarray(format="rgb24"), int(facts[name]["orientation"]))
        assert (facts[name]["height"], facts[name]["width"]) == shown.shape[:2]
        assert facts[name]["pix_fmt"].decode() == frames[0].format.name
        wanted = np.array([len(frames) - 1, 0, len(frames) // 2])
        stored = known(facts[name])
        place = manifest.videos.index(name)
        with_table = dataclasses.replace(stored, rows=table.packets(place), extradata=table.extradata(place))
        for how in (stored, with_table):
            read = decode_frames(folder / name, wanted, stored=how)
            for row, number in zip(read, wanted, strict=True):
                stored_picture = frames[number].to_ndarray(format="rgb24")
                assert (row == apply_orientation(stored_picture, int(facts[name]["orientation"]))).all(), name
    assert facts["plain 2.mp4"]["longest_gop"] == 1
    assert facts["plain 1.mp4"]["closed_gops"]
    assert not facts["open gop.mp4"]["closed_gops"]
    assert not facts["variable.mp4"]["constant_rate"]
    assert facts["plain 0.mp4"]["constant_rate"]
    assert abs(facts["rotated.mp4"]["rotation"]) == 90
    assert facts["with sound.mp4"]["audio"]
    assert facts["yuvj420p.mp4"]["full_range"]
    assert facts["plain 3.mp4"]["disposable"] > 0


def test_training_and_testing_over_the_manifest_end(odd, tmp_path, run_command):
    folder, expected, _ = odd
    manifest = folder.parent / "odd.npz"
    bad = sum(bool(reason) for reason in expected.values())
    flags = ["--pipe", tiny_pipe.__file__, "--num-classes", 2, "--batch-size", 4]
    out = tmp_path / "run"
    done = run_command("train", *flags, "--train-list", manifest, "--out", out, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert f"{bad} of {len(expected)} videos left out" in done.stdout
    assert "reading" not in done.stdout, "nothing is looked up that the manifest knows"
    test = ["test", *flags, "--list", manifest, "--checkpoint", out / "last.pt", "--views", "1x1"]
    refused = run_command(*test)
    assert refused.returncode == 2
    assert f"{bad} of the {len(expected)} videos" in refused.stderr
    scored = run_command(*test, "--allow-missing")
    assert scored.returncode == 0, scored.stderr
    assert f"{len(expected) - bad} of {len(expected)} videos" in scored.stdout


def test_the_packet_table_leads_to_the_packets(odd):
    folder, _, _ = odd
    path = folder.parent / "odd.npz"
    manifest = read_manifest_file(path)
    table = open_table(table_path(path), manifest.identity())
    located = 0
    for i, name in enumerate(manifest.videos):
        rows = table.packets(i)
        assert len(rows) == manifest.facts["packets"][i]
        if manifest.reasons[i]:
            assert len(rows) == 0
            continue
        content = (folder / name).read_bytes()
        with av.open(str(folder / name)) as container:
            stream = container.streams.video[0]
            assert table.extradata(i) == (stream.codec_context.extradata or b"")
            for row, packet in zip(rows, (p for p in container.demux(stream) if p.size), strict=True):
                assert (row["size"], row["key"]) == (packet.size, packet.is_keyframe)
                if row["position"] >= 0:
                    located += 1
                    assert content[row["position"] : row["position"] + row["size"]] == bytes(packet)
        if name.endswith((".mp4", ".avi", ".mkv", ".webm")):
            assert (rows["position"] >= 0).all(), name
        if manifest.facts["in_order"][i]:
            assert sorted(rows["shown"].tolist()) == list(range(manifest.facts["frames"][i]))
    assert located > 1000
    with pytest.raises(UserError, match="another manifest"):
        open_table(table_path(path), "0" * 64)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_packets_that_no_other_depends_on_can_be_left_out(tmp_path, codec):
    path = make_video(tmp_path / "a.mp4", codec, g="12")
    examined = examine(path)
    drop = {number for number, packet in enumerate(examined.packets) if not packet.is_reference}
    assert len(drop) == examined.facts.disposable > 5
    with av.open(str(remux(path, tmp_path / "b.mkv", drop))) as container:
        left = {read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)}
    order = np.argsort(np.argsort([packet.pts for packet in examined.packets]))
    assert left == {int(order[number]) for number in range(len(order)) if number not in drop}


def test_depths_see_what_they_say(tmp_path, run_command):
    make_video(tmp_path / "good.mp4")
    path = make_video(tmp_path / "damaged.mp4", g="10", bf="0", crf="10", sc_threshold="0")
    with av.open(str(path)) as container:
        packet = max((p for p in container.demux(video=0) if p.size and not p.is_keyframe), key=lambda p: p.size)
    content = bytearray(path.read_bytes())
    start, length = packet.pos + packet.size // 2, packet.size // 3
    content[start : start + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(content)
    listing = write_list(tmp_path, ["good.mp4", "damaged.mp4"])
    for depth, broken in (("packets", False), ("keyframes", False), ("full", True), ("packets", True)):
        done = scan(run_command, listing, tmp_path / "m.npz", "--depth", depth)
        assert done.returncode == 0, done.stderr
        assert read_manifest_file(tmp_path / "m.npz").reasons[0] == ""
        # What has been decoded in full stays known when less is asked for.
        assert bool(read_manifest_file(tmp_path / "m.npz").reasons[1]) == broken


def test_the_manifest_stands_for_its_list(tmp_path, run_command):
    for name in ("b class", "a class"):
        make_video(tmp_path / "data" / name / "x.mp4")
    assert scan(run_command, tmp_path / "data", tmp_path / "m.npz").returncode == 0
    folder = read_list(tmp_path / "data", None, 2)
    listing = read_list(tmp_path / "m.npz", None, 2)
    same = ("videos", "labels", "sha256", "classes")
    assert [getattr(listing, name) for name in same] == [getattr(folder, name) for name in same]
    assert read_list(tmp_path / "m.npz", None, 2, classes=("b class", "a class")).labels == (1, 0)
    with pytest.raises(UserError, match="2 class names"):
        read_list(tmp_path / "m.npz", None, 3)
    videos = read_manifest(listing, allow_missing=False, jobs=1).videos()
    assert [os.path.isfile(file) for file in map(videos.file, range(2))] == [True, True]
    elsewhere = tmp_path / "moved"
    (tmp_path / "data").rename(elsewhere)
    moved = read_manifest(read_list(tmp_path / "m.npz", elsewhere, 2), allow_missing=False, jobs=1).videos()
    assert [os.path.isfile(file) for file in map(moved.file, range(2))] == [True, True]
    assert (moved.mtime_ns == -1).all()
    assert (videos.mtime_ns > 0).all()


@pytest.mark.parametrize("change", ["size", "time", "gone"])
def test_a_file_changed_since_the_scan_is_named(tmp_path, run_command, change):
    path = make_dataset(tmp_path, count=4)
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    victim = tmp_path / "some videos/clip 1.mp4"
    if change == "size":
        make_video(victim, num_frames=50)
    elif change == "time":
        os.utime(victim)
    else:
        victim.unlink()
    flags = ["--pipe", tiny_pipe.__file__, "--num-classes", 2, "--batch-size", 4, "--epochs", 1]
    done = run_command("train", *flags, "--out", tmp_path / "run", "--train-list", tmp_path / "m.npz")
    assert done.returncode == 2
    assert "clip 1.mp4" in done.stderr
    assert ("No such file" if change == "gone" else "has changed since it was examined") in done.stderr
    if change != "size":
        return
    borne = run_command("train", *flags, "--out", tmp_path / "other", "--train-list", tmp_path / "m.npz", "--max-bad-videos", 1)
    assert borne.returncode == 0, borne.stderr
    assert "broken video:" in borne.stdout


def test_show_prints_what_was_found(odd, tmp_path, run_command):
    folder, expected, _ = odd
    shown = run_command("prepare", "show", folder.parent / "odd.npz", "--csv", tmp_path / "t.csv")
    assert shown.returncode == 0, shown.stderr
    for name in (name for name, reason in expected.items() if reason):
        assert f"  {name}: " in shown.stdout
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(expected)
    assert [bool(row["reason"]) for row in rows] == [bool(reason) for reason in expected.values()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: unreadable files cannot be made")
def test_an_unreadable_file_is_named(tmp_path, run_command):
    path = make_dataset(tmp_path, count=2)
    (tmp_path / "some videos/clip 1.mp4").chmod(0)
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    assert "Permission denied" in read_manifest_file(tmp_path / "m.npz").reasons[1]


def test_damaged_manifests_are_refused_in_one_line(tmp_path, run_command):
    path = make_dataset(tmp_path, count=3)
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    content = (tmp_path / "m.npz").read_bytes()
    other = tmp_path / "n.npz"
    for cut in (10, 100, len(content) // 2, len(content) - 5):
        other.write_bytes(content[:cut])
        with pytest.raises(UserError, match=r"n\.npz"):
            read_list(other, None, 2)
    for at in range(50, len(content), len(content) // 25):
        other.write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        with contextlib.suppress(UserError):
            read_list(other, tmp_path, None)
    for path, part in ((tmp_path / "list.txt", "is not a manifest"), (tmp_path / "none.npz", "No such file")):
        done = run_command("prepare", "show", path)
        assert done.returncode == 2
        assert part in done.stderr
        assert len(done.stderr.splitlines()) == 1
    np.savez(other, format=np.array([object()], dtype=object))
    with pytest.raises(UserError):
        read_list(other, None, 2)


def test_frames_to_decode_counts_what_the_decoder_decodes():
    assert frames_to_decode(300, 1, 8, 8) == 8
    assert frames_to_decode(57, 300, 8, 8) == 57
    assert frames_to_decode(300, 300, 8, 8) == pytest.approx(57 + 243 / 2)
    assert frames_to_decode(300, 8, 8, 8) == pytest.approx(8 * 4.5, abs=0.5)
