"""What a loader reads from a web server and from a bucket: what it reads of local files, and no more than it needs."""

from collections import Counter

import numpy as np
import pytest
from clip_loaders import SMALL, digests, paths_of
from media import make_dataset
from scans import scan
from served import serve

from c2d_fast import ClipLoader, Dense
from c2d_fast.loading.source import stored_of
from c2d_fast.remote.ranges import BRIDGED_BYTES
from c2d_fast.video.packets import table_rows

CODECS = {"ffmpeg": "h264", "dali": "vp9"}
PAIRS = [(kind, decoder) for kind in ("http", "s3") for decoder in CODECS]
CLIP = Dense(4, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for decoder, codec in CODECS.items():
        make_dataset(folder / decoder, codec, count=4, num_frames=(20, 31))
    make_dataset(folder / "intra", "mjpeg", count=3, num_frames=(300,))
    with serve(folder) as served:
        yield served


def read(videos, decoder, **more):
    with ClipLoader(videos, **{**SMALL, "clip": CLIP, "batch_size": 2, "decoder": decoder, "seed": 3, **more}) as loader:
        return [digests(loader), digests(loader)]


@pytest.mark.parametrize(("kind", "decoder"), PAIRS)
def test_batches_are_those_of_local_files(data, kind, decoder):
    local = read(data.folder / decoder / "list.txt", decoder)
    assert read(data.url(kind, f"{decoder}/list.txt"), decoder) == local
    paths, labels = paths_of(data.folder / decoder / "list.txt")
    urls = [data.url(kind, path.removeprefix(f"{data.folder}/")) for path in paths]
    assert read(urls, decoder, labels=labels) == local


@pytest.fixture(scope="module")
def all_intra(data, tmp_path_factory, run_command):
    """Gives the manifest of three all-intra videos of 300 frames behind a kind of URL, as it was scanned there."""
    made = {}

    def scanned(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "intra.npz"
            done = scan(run_command, data.url(kind, "intra/list.txt"), made[kind], "--depth", "packets")
            assert done.returncode == 0, done.stderr
        return made[kind]

    return scanned


def needed_parts(loader, epoch):
    """What an epoch's clips need by the packet table: requests of (file, first byte, last byte), and bytes without gaps."""
    plan, parts, size = loader.plan, Counter(), 0
    for slot in range(len(plan.videos)):
        sample = plan.sample(epoch, slot)  # a step is an epoch here
        packets = np.concatenate(table_rows(stored_of(plan.videos, sample.index), np.unique(sample.frames)))
        starts, ends = packets["position"], packets["position"] + packets["size"]
        gaps = starts[1:] - ends[:-1]
        assert (gaps >= 0).all()
        far = gaps > BRIDGED_BYTES
        name, size = plan.videos.file(sample.index).rpartition("/")[2], size + int(packets["size"].sum() + gaps[~far].sum())
        parts.update(zip(len(starts) * [name], starts[np.r_[True, far]], ends[np.r_[far, True]] - 1, strict=False))
    return parts, size


@pytest.mark.parametrize("kind", ["http", pytest.param("s3", marks=pytest.mark.slow)])
@pytest.mark.parametrize("clip", [Dense(8, 8), Dense(4, 90)], ids=["gaps bridged", "gaps left out"])
def test_a_clip_costs_no_more_than_its_packets(data, all_intra, kind, clip):
    videos = list((data.folder / "intra").rglob("*.avi"))
    with ClipLoader(all_intra(kind), **{**SMALL, "clip": clip, "batch_size": len(videos), "decoder": "ffmpeg"}) as loader:
        (first, size), later = needed_parts(loader, 0), [needed_parts(loader, epoch)[0] for epoch in range(1, 20)]
        data.forget()
        assert len(list(loader)) == 1
    requests = data.requests(kind, "clip")
    asked = Counter()
    for request in requests:
        start, end = map(int, request.range.removeprefix("bytes=").split("-"))
        asked[part := (request.path.rpartition("/")[2], start, end)] += 1
        assert request.if_match.startswith('"')
        # What was asked for ahead may have been cut off when the loader was closed.
        assert (request.status, request.body_bytes) == (206, end + 1 - start) or part not in first
    # Workers read ahead, into the next epochs: nothing is asked for that no clip needs, and nothing twice.
    assert first <= asked <= sum(later, first)
    assert sum(end + 1 - start for _, start, end in first.elements()) <= 1.1 * size
    assert len(first) == len(videos) * (clip.num_frames if clip.interval == 90 else 1)
    assert 5 * size <= sum(path.stat().st_size for path in videos)
