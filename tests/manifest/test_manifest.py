import os

import pytest
from media import make_dataset, make_video

from c2d_fast.errors import UserError
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest import manifest as module
from c2d_fast.manifest.manifest import read_manifest


@pytest.fixture
def reads(monkeypatch):
    """Counts the files that are read through."""
    seen = []
    examine = module.examine
    monkeypatch.setattr(module, "examine", lambda path: seen.append(path.name) or examine(path))
    return seen


def same(one, other):
    assert one.broken == other.broken
    return all((getattr(one, n) == getattr(other, n)).all() for n in ("kept", "facts", "size", "mtime_ns"))


def read(listing, **kwargs):
    return read_manifest(listing, allow_missing=kwargs.get("allow_missing", False), jobs=2)


def test_reads_each_video_once_and_changed_ones_again(tmp_path, reads):
    listing = read_list(make_dataset(tmp_path, count=3, sizes=((160, 96), (96, 160))), None, 2)
    first = read(listing)
    assert first.facts["width"].tolist() == [160, 96, 160]
    assert len(reads) == 3
    assert same(read(listing), first)
    assert len(reads) == 3
    make_video(listing.file(1), num_frames=7, width=64, height=64)
    assert read(listing).facts["frames"][1] == 7
    assert reads[3:] == ["clip 1.mp4"]


def test_another_list_of_the_same_root_uses_the_same_cache(tmp_path, reads):
    path = make_dataset(tmp_path, count=3)
    read(read_list(path, None, 2))
    other = tmp_path / "other.txt"
    other.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert len(read(read_list(other, None, 2)).facts) == 2
    assert len(reads) == 3


def test_broken_videos_are_told_apart_and_tried_again(tmp_path, reads):
    listing = read_list(make_dataset(tmp_path, count=4), None, 2)
    good = listing.file(2).read_bytes()
    listing.file(2).write_bytes(b"no video")
    found = read(listing)
    assert found.kept.tolist() == [0, 1, 3]
    assert list(found.broken) == [2]
    assert list(found.videos().labels) == [0, 1, 1]
    assert found.location(2) == f"{listing.path}:4: some videos/clip 3.mp4"
    state = listing.file(2).stat()
    listing.file(2).write_bytes(good)
    os.utime(listing.file(2), ns=(state.st_atime_ns, state.st_mtime_ns))
    assert read(listing).kept.tolist() == [0, 1, 2, 3]


def test_missing_videos_are_named_with_list_and_line(tmp_path):
    listing = read_list(make_dataset(tmp_path, count=3), None, 2)
    listing.file(1).unlink()
    with pytest.raises(UserError, match=r"list.txt:2: some videos/clip 1.mp4: no such file"):
        read(listing)
    assert read(listing, allow_missing=True).broken == {1: "no such file"}


def test_a_damaged_or_unwritable_cache_costs_only_time(tmp_path, reads, monkeypatch, capsys):
    listing = read_list(make_dataset(tmp_path, count=2), None, 2)
    first = read(listing)
    module._Cache(listing.root).path.write_text('{"format": "c2d_fast.cache/4", "root"')
    assert same(read(listing), first)
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert same(read(listing), first)
    assert "cannot be written" in capsys.readouterr().out
