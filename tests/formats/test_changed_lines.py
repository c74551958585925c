"""Journals, caches and stores that have changed since they were written: what they say is found out anew."""

import pytest
from flips import flipped
from media import make_dataset

from c2d_fast.errors import UserError
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.packet_store import PacketStore, store_path
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import _Cache, read_manifest
from c2d_fast.video.packets import DTYPE


def test_packets_that_change_while_a_table_is_being_made_are_not_believed(tmp_path):
    with PacketStore(tmp_path / "m.npz", None) as store:
        place = store.add(bytes(DTYPE.itemsize), b"configuration")
    content = store_path(tmp_path / "m.npz").read_bytes()
    for bit in range(8 * place.position, 8 * len(content), 5):
        store_path(tmp_path / "m.npz").write_bytes(flipped(content, bit))
        with PacketStore(tmp_path / "m.npz", None) as again:
            assert again.restore(list(place)) is None
            with pytest.raises(UserError, match="has changed since it was read; the same command again"):
                list(again._videos([place]))


def test_lines_of_a_journal_that_have_changed_are_done_again(tmp_path):
    header, entries = {"format": "a"}, [["video", 12, [1.5, True]], ["another", 7], ["third", None]]
    with Journal(tmp_path / "j", header, "a test") as journal:
        for entry in entries:
            journal.add(entry)
    content = (tmp_path / "j").read_bytes()
    first = content.index(b"\n") + 1
    for bit in range(8 * len(content)):
        (tmp_path / "j").write_bytes(flipped(content, bit))
        with Journal(tmp_path / "j", header, "a test") as journal:
            found = journal.entries
        assert len(found) in ((0,) if bit < 8 * first else (1, 2))
        assert all(entry in entries for entry in found)
    (tmp_path / "j").write_bytes(b'{"format": "a"}\n["video", 12]\n')  # of an earlier version
    with Journal(tmp_path / "j", header, "a test") as journal:
        assert journal.entries == [["video", 12]]


def test_a_cache_of_facts_that_has_changed_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    listing = read_list(make_dataset(tmp_path, count=2), None, 2)
    read_manifest(listing, allow_missing=False, jobs=1)
    path = _Cache(listing.root).path
    content, expected = path.read_bytes(), _Cache(listing.root)._videos
    assert len(expected) == 2
    for bit in range(0, 8 * len(content), 3):
        path.write_bytes(flipped(content, bit))
        assert _Cache(listing.root)._videos in ({}, expected)
