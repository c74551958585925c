"""The packet table that `prepare transcode` leaves."""

import pytest
from media import make_video

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_store import PacketStore, store_path
from c2d_fast.formats.packet_table import open_table, rows_of
from c2d_fast.video.examine import examine
from c2d_fast.video.packets import DTYPE


def rows_by_video(manifest):
    found = read_manifest_file(manifest)
    table = open_table(table_path(manifest), found.identity())
    return {video: table.packets(i) for i, video in enumerate(found.videos)}


def test_the_packet_table_is_that_of_the_results_also_when_the_list_grows_or_the_table_is_lost(tmp_path, run_command):
    for name, count in (("a", 20), ("b", 9), ("c", 31)):
        make_video(tmp_path / f"{name}.mp4", num_frames=count)
    out, listing = tmp_path / "out", tmp_path / "l.txt"

    def transcode(names):
        listing.write_text("".join(f"{name}.mp4 0\n" for name in names))
        done = run_command("prepare", "transcode", "--list", listing, "--out", out)
        assert done.returncode == 0, done.stderr
        for video, rows in rows_by_video(out / "l.npz").items():
            assert (rows == rows_of(examine(out / "l" / video, "full", locate=True))).all(), video
        assert not list(out.glob("*journal-packets"))

    transcode("a")
    before = (out / "l/a.mp4").stat().st_ino
    transcode("abc")
    table_path(out / "l.npz").unlink()
    transcode("abc")
    table_path(out / "l.npz").unlink()
    transcode("cab")
    assert (out / "l/a.mp4").stat().st_ino == before, "nothing was encoded again"


def test_places_in_a_store_that_has_gone_are_not_believed(tmp_path):
    with PacketStore(tmp_path / "m.npz", None) as store:
        place = store.add(bytes(DTYPE.itemsize), b"x")
        assert store.restore(list(place)) == place
    with PacketStore(tmp_path / "m.npz", None) as again:
        assert again.restore(list(place)) == place
    store_path(tmp_path / "m.npz").unlink()
    with PacketStore(tmp_path / "m.npz", None) as other:
        other.add(bytes(10 * DTYPE.itemsize), b"")
        assert other.restore(list(place)) is None
    store_path(tmp_path / "n.npz").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        PacketStore(tmp_path / "n.npz", None)
    store_path(tmp_path / "o.npz").symlink_to("/dev/full")
    with pytest.raises(UserError, match="cannot be written"):
        PacketStore(tmp_path / "o.npz", None)
