"""prepare scan and prepare transcode of lists behind URLs: each byte asked for once, the results those of local files."""

from urllib.parse import quote

import numpy as np
import obstore
import pytest
from media import make_video
from runs import flags, last, same_weights, train
from scans import scan
from served import serve
from transcodes import transcode

from c2d_fast.formats.manifest_file import MISSING, read_manifest_file, table_path
from c2d_fast.formats.packet_table import open_table
from c2d_fast.remote.remote_path import version_of

NAMES = ("a b/50% #1?.mp4", "ä/é ü.mp4", "a b/plain.mp4", "ä/x%20y+z&=;.mp4")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for i, name in enumerate(NAMES):
        make_video(folder / "set" / name, num_frames=10 + 3 * i, width=64, height=48)
    (folder / "set" / "list.txt").write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate(NAMES)))
    with serve(folder) as served:
        yield served


def pieces(requests):
    """Bytes of each file that were answered, sorted: name -> [(first, last)]."""
    found = {}
    for request in requests:
        if request.method == "GET" and request.path.endswith(".mp4"):
            start, _, end = request.range.removeprefix("bytes=").partition("-")
            found.setdefault(request.path.rpartition("/")[2], []).append((int(start), int(end)))
    return {name: sorted(parts) for name, parts in found.items()}


def table_of(path):
    manifest = read_manifest_file(path)
    table = open_table(table_path(path), manifest.identity())
    return [table.read(i, int(size)) for i, size in enumerate(manifest.size) if not manifest.reasons[i]]


@pytest.mark.parametrize("kind", ["http", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_scan_asks_for_each_byte_once_and_finds_what_a_local_one_does(data, tmp_path, run_command, kind):
    for name, listed in (("here", data.folder / "set" / "list.txt"), ("there", data.url(kind, "set/list.txt"))):
        data.forget()
        done = scan(run_command, listed, tmp_path / f"{name}.npz", "--jobs", 2)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    sizes = {name.rpartition("/")[2]: (data.folder / "set" / name).stat().st_size for name in NAMES}
    assert pieces(data.requests(kind)) == {name: [(0, size - 1)] for name, size in sizes.items()}
    here, there = (read_manifest_file(tmp_path / f"{name}.npz") for name in ("here", "there"))
    assert there.root == data.url(kind, "set")
    assert there.videos == here.videos == NAMES
    assert there.size.tolist() == here.size.tolist()
    assert there.facts.tolist() == here.facts.tolist()
    assert all(etag.startswith('"') for etag in there.etags)
    assert there.mtime_ns.tolist() == [version_of(etag) for etag in there.etags]
    for a, b in zip(table_of(tmp_path / "here.npz"), table_of(tmp_path / "there.npz"), strict=True):
        assert np.array_equal(a[0], b[0])
        assert a[1] == b[1]
    data.forget()
    done = scan(run_command, data.url(kind, "set/list.txt"), tmp_path / "there.npz")
    assert "4 videos are known and have not changed: 0 are read" in done.stdout
    assert pieces(data.requests(kind)) == {}


@pytest.mark.parametrize("kind", [pytest.param("http", marks=pytest.mark.slow), "s3"])
def test_changed_broken_and_missing_files(data, tmp_path, run_command, kind):
    """A web server's folder is the tests' own; of the bucket another place."""
    folder = data.folder / f"changing {kind}"
    for i in range(3):
        make_video(folder / f"{i}.mp4", num_frames=10, width=64, height=48)
    (folder / "3.mp4").write_bytes(b"no video" * 500)
    (folder / "list.txt").write_text("".join(f"{i}.mp4 0\n" for i in range(5)))
    data.s3.upload(data.folder)
    done = scan(run_command, data.url(kind, f"changing {kind}/list.txt"), tmp_path / "m.npz")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first = read_manifest_file(tmp_path / "m.npz")
    assert first.reasons[:3] == ("", "", "")
    assert first.reasons[3]
    assert first.reasons[4] == MISSING
    assert first.etags[4] == ""
    assert "3.mp4" in done.stdout
    assert "4.mp4" in done.stdout
    make_video(folder / "1.mp4", num_frames=17, width=64, height=48)
    data.s3.upload(folder.parent)
    data.forget()
    done = scan(run_command, data.url(kind, f"changing {kind}/list.txt"), tmp_path / "m.npz")
    assert list(pieces(data.requests(kind))) == ["1.mp4"]
    second = read_manifest_file(tmp_path / "m.npz")
    assert second.facts["frames"].tolist() == [10, 17, 10, 0, 0]
    assert second.etags[0] == first.etags[0]
    assert second.etags[1] != first.etags[1]


def shapes(data, folder):
    """Lists of other shapes over the same videos: name -> the list, the flags, the videos as their manifest has them."""
    (folder / "ids.csv").write_text("".join(f"v{i} 9 {i}\n" for i in range(2)))
    urls = [data.url("http", quote(f"set/{NAMES[0]}")), data.url("s3", f"set/{NAMES[1]}")]
    (folder / "urls.txt").write_text("".join(f"{url} {i}\n" for i, url in enumerate(urls)))
    decoded = data.url("http", f"set/{NAMES[0]}"), urls[1]
    table = "label,youtube_id,time_start,time_end,split\nplay ball,abc,1,11,train\nrun,d-f,0,10,train\n"
    (folder / "kinetics.csv").write_text(table)
    found = "play_ball/abc_000001_000011.webm", "run/d-f_000000_000010.mp4"
    return {
        "class folders": (data.url("s3", "classes"), [], ("one/a.mp4", "one/b #2.mp4", "two é/c.mp4")),
        "Kinetics": (folder / "kinetics.csv", ["--data-root", data.url("s3", "kinetics")], found),
        "ids": (folder / "ids.csv", ["--data-root", data.url("s3", "ids")], ("v0.avi", "v1.mp4")),
        "ids on a web server": (folder / "ids.csv", ["--data-root", data.url("http", "ids"), "--video-name", "{id}.mp4"],
                                ("v0.mp4", "v1.mp4")),
        "URLs": (folder / "urls.txt", [], decoded),
    }  # fmt: skip


def test_lists_of_all_shapes(data, tmp_path, run_command):
    video = make_video(data.folder / "classes" / "one" / "a.mp4", num_frames=9, width=64, height=48)
    for name in (
        "classes/one/b #2.mp4",
        "classes/two é/c.mp4",
        "kinetics/play_ball/abc_000001_000011.webm",
        "kinetics/run/d-f_000000_000010.mp4",
        "ids/v0.avi",
        "ids/v0.mp4",
        "ids/v1.mp4",
    ):
        (data.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (data.folder / name).write_bytes(video.read_bytes())
    (data.folder / "ids" / "v0.mp4").rename(data.folder / "v0.mp4")
    data.s3.upload(data.folder)
    (data.folder / "v0.mp4").rename(data.folder / "ids" / "v0.mp4")
    for name, (path, more, videos) in shapes(data, tmp_path).items():
        out = tmp_path / f"{name}.npz"
        done = scan(run_command, path, out, "--jobs", 2, *more)
        assert (done.returncode, done.stderr) == (0, ""), (name, done.stderr, done.stdout)
        manifest = read_manifest_file(out)
        assert manifest.videos == videos, name
        assert set(manifest.reasons) == {""}, name
        assert all(manifest.etags), name


def test_a_manifest_behind_a_url_is_trained_from(data, tmp_path, run_command, monkeypatch):
    done = scan(run_command, data.url("s3", "set/list.txt"), tmp_path / "m.npz")
    assert done.returncode == 0, done.stderr
    (tmp_path / "up").mkdir()
    for path in (tmp_path / "m.npz", tmp_path / "m.packets.npz"):
        path.rename(tmp_path / "up" / path.name)
    data.s3.upload(tmp_path / "up")
    outs = [tmp_path / name for name in ("here", "there")]
    data.forget()
    for out, listed in zip(outs, (data.folder / "set" / "list.txt", data.url("s3", "m.npz")), strict=True):
        assert train(*flags(listed, out, epochs=1), monkeypatch=monkeypatch) == 0
    assert same_weights(*map(last, outs))
    asked = data.requests("s3", ".mp4")
    assert {request.method for request in asked} == {"GET"}  # the manifest knows the files' states
    assert all(request.if_match for request in asked)


def test_results_of_transcoding_there_are_those_of_here(data, tmp_path, run_command, monkeypatch):
    source = data.url("http", "set/list.txt")
    more = ["--preset", "ultrafast", "--short-side", 32]
    done = transcode(run_command, data.folder / "set" / "list.txt", tmp_path / "out", *more)
    assert done.returncode == 0, done.stderr
    there = data.url("s3", "made")
    done = transcode(run_command, source, there, *more)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    store = data.s3.store()
    held = {meta["path"].removeprefix("made/"): meta for page in obstore.list(store, "made/") for meta in page}
    here = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    videos = [name for name in here if name.endswith(".mp4")]
    assert len(videos) == len(NAMES)
    assert set(held) == {*videos, "list.txt", "list.npz", "list.packets.npz"}  # nothing half-written, no journal
    for name in [*videos, "list.txt"]:
        assert bytes(obstore.get(store, f"made/{name}").bytes()) == here[name].read_bytes()
    done = transcode(run_command, source, there, *more)
    assert "4 of 4 videos are done and have not changed: 0 are to do" in done.stdout
    outs = [tmp_path / "run here", tmp_path / "run there"]
    for out, listed in zip(outs, (tmp_path / "out" / "list.npz", f"{there}/list.npz"), strict=True):
        assert train(*flags(listed, out, epochs=1), monkeypatch=monkeypatch) == 0
    assert same_weights(*map(last, outs))


@pytest.mark.slow
def test_parts_that_are_made_there_are_joined_there(data, tmp_path, run_command):
    source, there = data.url("http", "set/list.txt"), data.url("s3", "parts")
    more = ["--preset", "ultrafast", "--short-side", 32]
    assert transcode(run_command, source, there, *more).returncode == 0
    store = data.s3.store()

    def made(name):
        return bytes(obstore.get(store, f"parts/{name}").bytes())

    whole = {name: made(name) for name in ("list.txt", "list.npz", "list.packets.npz")}
    obstore.delete(store, [f"parts/{name}" for name in whole])
    for number in (1, 2):  # on machines that share nothing but the server
        done = transcode(
            run_command, source, there, *more, "--part", f"{number}/2", env={"XDG_CACHE_HOME": str(tmp_path / str(number))}
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    merge = ["prepare", "merge", "--out", f"{there}/list.npz"]
    done = run_command(*merge, env={"XDG_CACHE_HOME": str(tmp_path / "3")})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    manifests = [tmp_path / f"{name}.npz" for name in ("one", "other")]
    for path, content in zip(manifests, (whole["list.npz"], made("list.npz")), strict=True):
        path.write_bytes(content)
    assert made("list.txt") == whole["list.txt"]
    one, other = map(read_manifest_file, manifests)
    assert (one.videos, one.reasons, one.etags) == (other.videos, other.reasons, other.etags)
    assert one.facts.tolist() == other.facts.tolist()
    obstore.delete(store, ["parts/list.part-2-of-2.npz"])
    done = run_command(*merge)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "of its 2 parts 2 is missing" in done.stderr
