"""What obstore does not know is read by fsspec: seen with fsspec's file system in memory, in this process."""

import numpy as np
import pytest

from c2d_fast.errors import UserError
from c2d_fast.lists.listing import read_list
from c2d_fast.remote import ranges, stores, transfers
from c2d_fast.remote.remote_errors import ChangedError, RemoteError
from c2d_fast.remote.remote_path import FileState, RemotePath, user_location
from c2d_fast.video.file_states import file_states
from c2d_fast.video.reader import decode_frames
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY

fsspec = pytest.importorskip("fsspec")
ROOT = "memory://bucket/a set"


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def put(memory, name, data):
    memory.pipe_file(f"/bucket/a set/{name}", data)
    return user_location(f"{ROOT}/{name}")


def test_parts_states_and_lists(memory):
    data = bytes(range(256)) * 40
    path = transfers.with_state(put(memory, "some class/a b.bin", data))
    assert path.state.size == len(data)
    assert [bytes(part) for part in ranges.read_parts(path, [(0, 10), (300, 9_000)])] == [data[:10], data[300:9_000]]
    assert bytes(transfers.read_bytes(path)) == data
    assert [name for name, _ in transfers.list_files(user_location(ROOT))] == ["some class/a b.bin"]


def test_what_is_not_there_or_has_changed(memory):
    path = transfers.with_state(put(memory, "a.bin", b"12345"))
    with pytest.raises(ChangedError):
        ranges.read_parts(RemotePath(path.url, FileState(6, -1)), [(0, 5)])
    with pytest.raises(RemoteError, match="no such object"):
        transfers.file_state(user_location(f"{ROOT}/b.bin"))


def test_frames_and_class_folders(memory, ten_videos):
    names = []
    for place in sorted(ten_videos.parent.rglob("*.mp4"))[:2]:
        names.append(f"class {len(names)}/{place.name}")
        put(memory, names[-1], place.read_bytes())
    listing = read_list(ROOT, None, None)
    assert listing.videos == tuple(names)
    assert all(file_states([listing.file(0), listing.file(1)], DEFAULT_WAIT_POLICY))
    frames = np.array([3, 0, 7])
    there = sorted(ten_videos.parent.rglob("*.mp4"))[1]
    assert np.array_equal(decode_frames(listing.file(1), frames), decode_frames(there, frames))


def test_uploads_and_deletions(memory, tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    path = user_location(f"{ROOT}/x")
    transfers.upload(tmp_path / "x", path)
    assert bytes(transfers.read_bytes(path)) == b"abc"
    transfers.delete(path)
    transfers.delete(path)
    assert not transfers.exists(path)


def test_a_scheme_that_nobody_knows():
    with pytest.raises(UserError, match=r"^nosuch://host: no URL that can be read here: "):
        stores.store_of(user_location("nosuch://host/x"))
