"""What a loader reads from a web server and from a bucket: the bytes of local files, and no more than it needs."""

import pytest
from clip_loaders import SMALL, digests, paths_of
from media import make_dataset
from served import serve

from c2d_fast import ClipLoader, Dense

CODECS = {"ffmpeg": "h264", "dali": "vp9"}
PAIRS = [(kind, decoder) for kind in ("http", "s3") for decoder in CODECS]
CLIP = Dense(4, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for decoder, codec in CODECS.items():
        make_dataset(folder / decoder, codec, count=4, num_frames=(20, 31))
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
