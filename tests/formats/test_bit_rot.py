"""A bit that flips in a manifest or a packet table moves no frame and blames no video."""

import dataclasses
import io
import shutil
import zipfile

import av
import numpy as np
import pytest
from flips import flipped
from media import decode_all, make_dataset, make_video
from runs import batches, flags, run

from c2d_fast.errors import UserError
from c2d_fast.formats.archive_members import check_members
from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_table import _MEMBERS, TableError, open_table, rows_of, write_table
from c2d_fast.lists.listing import read_list
from c2d_fast.loading import source
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.processes import worker_notes
from c2d_fast.recipe import Clip, Crop
from c2d_fast.video.packets import DTYPE

FILES = {"a.mp4": ("h264", {"g": "12", "bf": "2"}), "b.mp4": ("hevc", {}), "c.webm": ("vp9", {}), "d.avi": ("mjpeg", {})}
NUM_FRAMES = 70
FLIPS = 400


@pytest.fixture(scope="module")
def sound(tmp_path_factory, run_command):
    """A folder with four videos of four codecs, their manifest and their table, and all frames of each."""
    folder = tmp_path_factory.mktemp("sound")
    for name, (codec, options) in FILES.items():
        make_video(folder / name, codec, NUM_FRAMES, 96, 64, **options)
    (folder / "list.txt").write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate(FILES)))
    done = run_command("prepare", "scan", "--list", folder / "list.txt", "--out", folder / "m.npz")
    assert done.returncode == 0, done.stderr
    return folder, [decode_all(folder / name) for name in FILES]


@pytest.fixture
def copied(sound, tmp_path, monkeypatch):
    """A manifest and a table of the same videos that may be damaged."""
    folder, frames = sound
    monkeypatch.setattr(worker_notes, "_told", set())
    for path in (folder / "m.npz", table_path(folder / "m.npz")):
        shutil.copy(path, tmp_path)
    return tmp_path / "m.npz", frames


def part(table, name):
    """The bits of an array of a table, as they lie in the file."""
    member = check_members(table, _MEMBERS, stored=True)[name]
    return range(8 * member.first_byte, 8 * (member.first_byte + member.shape[0] * member.dtype.itemsize))


def readers(path):
    """Sources as workers have them, of FFmpeg and of small files."""
    source._open_table.cache_clear()
    videos = read_manifest(read_list(path, None, 2), allow_missing=False, jobs=1).videos()
    plan = TrainPlan(videos=videos, clip=Clip(num_frames=5, interval=4), crop=Crop(), seed=0, batch_size=1)
    return [source.ClipSource(plan=plan, decoder=name, device="gpu", decoder_threads=1) for name in ("ffmpeg", "dali")]


def images(file, numbers):
    with av.open(io.BytesIO(file.tobytes())) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])[numbers]


def check_frames(path, frames, known):
    """Every video is read with the frames of full decoding; what has been read alike is not decoded again."""
    by_ffmpeg, by_file = readers(path)
    for video, expected in enumerate(frames):
        stored = by_ffmpeg.stored(video)
        key = (video, None if stored.rows is None else stored.rows.tobytes(), stored.extradata)
        if key in known:
            continue
        known.add(key)
        sample = dataclasses.replace(by_ffmpeg.plan.draw(0, video), boxes=np.array([[0, 0, 1, 1]], np.float32))
        assert (by_ffmpeg._read(sample).images == expected[sample.frames]).all()
        read = by_file._read(sample)
        assert (images(read.file, read.frames) == expected[sample.frames]).all()


def test_no_bit_of_a_table_moves_a_frame(copied, capsys):
    path, frames = copied
    table = table_path(path)
    content = table.read_bytes()
    rng, known = np.random.default_rng(0), set()
    bits = rng.integers(0, 8 * len(content), FLIPS // 2).tolist() + rng.choice(part(table, "packets"), FLIPS // 2).tolist()
    outcomes = []
    for bit in bits:
        table.write_bytes(flipped(content, bit))
        worker_notes._told.clear()
        check_frames(path, frames, known)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 1, lines
        if lines:
            assert str(table) in lines[0]
            assert "prepare scan --packets" in lines[0]
        outcomes.append(lines[0].split(":")[0] if lines else "")
    assert len(known) == 2 * len(frames), "read as the table says, or without it"
    assert outcomes.count("warning") > FLIPS // 3, "found as a video is read"
    assert outcomes.count("note") > FLIPS // 20, "found as the table is opened"
    assert 0 < outcomes.count("") < FLIPS // 6, "bits that mean nothing: times, attributes"


@pytest.mark.parametrize("name", ["starts", "extradata_starts", "checksums", "extradata"])
def test_bits_that_flip_once_the_table_is_open_are_found(copied, capsys, name):
    """The index was sound when the table was opened: what is read of it later is compared all the same."""
    path, frames = copied
    table, known = table_path(path), set()
    content = table.read_bytes()
    for bit in np.random.default_rng(1).choice(part(table, name), 40).tolist():
        by_ffmpeg, _ = readers(path)
        whole = [by_ffmpeg.stored(video) for video in range(len(frames))]
        with table.open("r+b") as file:
            file.write(flipped(content, bit))
        worker_notes._told.clear()
        for video, before in enumerate(whole):
            stored = by_ffmpeg.stored(video)
            assert stored.rows is None or (stored.rows.tobytes(), stored.extradata) == (before.rows.tobytes(), before.extradata)
            known.add((video, stored.rows is None))
        assert len(capsys.readouterr().out.splitlines()) == 1, "one line, however many videos are concerned"
        with table.open("r+b") as file:
            file.write(content)
    assert any(is_lost for _, is_lost in known)


def test_no_bit_of_a_manifest_changes_what_is_read_of_it(copied):
    path, _ = copied
    content, expected = path.read_bytes(), read_manifest_file(path)
    refused = 0
    for bit in np.random.default_rng(2).integers(0, 8 * len(content), FLIPS).tolist():
        path.write_bytes(flipped(content, bit))
        said = ""
        try:
            read_list(path, None, 2)
            found = read_manifest_file(path)
        except UserError as error:
            said = str(error)
        refused += bool(said)
        assert said.count("\n") == 0
        assert not said or str(path) in said
        assert said or all(np.array_equal(value, getattr(expected, name)) for name, value in vars(found).items())
    assert refused > FLIPS / 2


def change(name, place, value):
    def changed(rows):
        rows[name][place] = value

    return changed


def swap_positions(rows):
    rows["position"][[1, 2]] = rows["position"][[2, 1]]


def write_again(path, changes):
    """Writes a manifest's table with changed rows, and checksums that are right."""
    manifest = read_manifest_file(path)
    table = open_table(table_path(path), manifest.identity())
    parts = []
    for video in range(len(manifest.videos)):
        rows, extradata = table.read(video)
        rows = rows.copy()
        if video in changes:
            changes[video](rows)
        parts.append((rows.tobytes(), extradata))
    write_table(table_path(path), manifest.identity(), parts, manifest.facts["packets"])


def test_rows_without_a_beginning_are_not_followed(copied):
    path, frames = copied

    def no_entries(rows):
        rows["entry"] = False

    write_again(path, dict.fromkeys(range(len(frames)), no_entries))
    check_frames(path, frames, set())


WRONG = {
    "a frame twice": change("shown", 3, 5),
    "a frame past the end": change("shown", 3, NUM_FRAMES),
    "a frame before the first": change("shown", 3, -7),
    "outside the file": change("position", 6, 10**9),
    "outside the file by far": change("position", 6, 2**63 - 1),
    "over its end": change("size", NUM_FRAMES - 1, 2**30),
    "an empty packet": change("size", 2, 0),
    "less than nothing": change("size", 2, -5),
    "back in its group": swap_positions,
    "no beginning": change("entry", 0, False),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_no_scan_writes_are_not_followed_though_their_checksum_is_right(copied, capsys, name):
    path, frames = copied
    write_again(path, {0: WRONG[name]})
    check_frames(path, frames, set())
    (line,) = capsys.readouterr().out.splitlines()
    assert "a.mp4 cannot be: " in line
    assert readers(path)[0].stored(1).rows is not None


def test_a_table_of_another_number_of_videos_or_packets_is_not_opened(copied, capsys):
    path, frames = copied
    manifest = read_manifest_file(path)
    table = open_table(table_path(path), manifest.identity())
    parts = [(rows.tobytes(), extradata) for rows, extradata in map(table.read, range(len(frames)))]
    size = DTYPE.itemsize
    for some in (parts[:3], [*parts, parts[0]], [(parts[0][0][size:], parts[0][1]), *parts[1:]]):
        write_table(table_path(path), manifest.identity(), some, np.array([len(rows) // size for rows, _ in some]))
        check_frames(path, frames, set())
        (line,) = capsys.readouterr().out.splitlines()
        assert "whose arrays do not fit each other, or its manifest" in line
    with pytest.raises(TableError):
        table.read(len(frames))


def test_packets_that_do_not_follow_each_other_in_the_file_have_no_positions(sound):
    from c2d_fast.video.examine import examine

    examined = examine(sound[0] / "a.mp4", "full", locate=True)
    assert (rows_of(examined)["position"] >= 0).all()
    entries, packets = examined.entries(), list(examined.packets)
    at = int(entries[1]) + 2
    packets[at], packets[at + 1] = (
        packets[at]._replace(position=packets[at + 1].position),
        packets[at + 1]._replace(position=packets[at].position),
    )
    rows = rows_of(dataclasses.replace(examined, packets=packets))
    assert np.flatnonzero(rows["position"] < 0).tolist() == list(range(entries[1], entries[2]))


def test_a_run_goes_on_over_a_damaged_table_with_the_same_batches(tmp_path, run_command):
    data = make_dataset(tmp_path, count=8, num_frames=(40,))
    manifest = tmp_path / "m.npz"
    assert run_command("prepare", "scan", "--list", data, "--out", manifest).returncode == 0
    assert run(*flags(manifest, tmp_path / "sound", epochs=1)).returncode == 0
    table = table_path(manifest)
    content = bytearray(table.read_bytes())
    rows = part(table, "packets")
    for video in range(1, 8):  # of nearly all videos: all workers meet them
        content[rows.start // 8 + (40 * video + 3) * DTYPE.itemsize] ^= 16  # a position
    table.write_bytes(content)
    done = run(*flags(manifest, tmp_path / "damaged", epochs=1))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "m.packets.npz" in line]
    assert len(lines) == 1, done.stdout
    assert lines[0].startswith(f"warning: {table}: is damaged: what it says of ")
    assert not (tmp_path / "damaged" / "quarantine.jsonl").exists()
    assert "broken video" not in done.stdout
    assert batches(tmp_path / "damaged") == batches(tmp_path / "sound")


def scan(run_command, folder, manifest):
    done = run_command("prepare", "scan", "--list", folder / "list.txt", "--data-root", folder, "--out", manifest)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_scan_makes_a_damaged_table_anew(sound, copied, run_command):
    path, _ = copied
    table = table_path(path)
    whole, content = path.read_bytes(), table.read_bytes()
    rows, index = part(table, "packets"), part(table, "starts")
    shown = run_command("prepare", "show", path)
    assert f"packet table {table}: sound" in shown.stdout
    table.write_bytes(flipped(content, rows[8 * DTYPE.itemsize * (NUM_FRAMES + 5)]))
    shown = run_command("prepare", "show", path)
    assert shown.returncode == 0
    assert f"warning: {table}: is damaged: what it says of b.mp4 does not match its checksum (1 videos in all)" in shown.stdout
    said = scan(run_command, sound[0], path)
    assert f"note: {table}: is damaged: what it says of b.mp4 does not match its checksum" in said
    assert "3 of 4 videos are known and have not changed: 1 are read" in said
    assert (path.read_bytes(), table.read_bytes()) == (whole, content)
    table.write_bytes(flipped(content, index[70]))
    assert f"note: {table}: is not a packet table that can be read" in scan(run_command, sound[0], path)
    assert (path.read_bytes(), table.read_bytes()) == (whole, content)


def test_a_scan_makes_a_damaged_manifest_anew(sound, copied, run_command):
    path, _ = copied
    whole, content = path.read_bytes(), table_path(path).read_bytes()
    with zipfile.ZipFile(path) as archive:
        facts = archive.getinfo("facts.npy").header_offset + 120
    for bit in (8 * facts, 5, 8 * len(whole) - 170):  # an array, the mark of an archive, its end
        path.write_bytes(flipped(whole, bit))
        shown = run_command("prepare", "show", path)
        assert shown.returncode == 2
        assert len(shown.stderr.splitlines()) == 1
        assert f"note: {path}: is not a manifest" in scan(run_command, sound[0], path)
        assert (path.read_bytes(), table_path(path).read_bytes()) == (whole, content)
