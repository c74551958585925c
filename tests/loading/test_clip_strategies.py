"""Strategies through whole loaders: the frames and crops of plain code, once decoded for several clips."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clip_loaders import SMALL
from loaders import published_crop
from media import make_dataset

from c2d_fast import ClipLoader, Crop, Dense, Multi, Uniform
from c2d_fast.loading import sampler, source
from c2d_fast.loading.sample_info import SingleSample
from c2d_fast.loading.source import ClipSource
from c2d_fast.video.reader import decode_images

STRATEGIES = {
    "dense": Dense(4, 3),
    "uniform": Uniform(5),
    "multi": Multi(2, Dense(4, 3)),
    "multi uniform": Multi(5, Uniform(3)),
}


def whole_video(path):
    """All frames in order, uint8 [n, H, W, 3]: by decord where it is installed, else as PyAV's documentation does it."""
    if find_spec("decord"):
        import decord

        reader = decord.VideoReader(str(path), num_threads=1)
        return reader.get_batch(range(len(reader))).asnumpy()
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def expected_clips(loader, epoch, index):
    """The clips of a video made the slow way: (frames, pixels) of each, from frames that are decoded one after the other."""
    plan, path = loader.plan, Path(loader.plan.videos.file(index))
    n, crop = int(plan.videos.num_frames[index]), plan.crop
    whole = whole_video(path)
    assert len(whole) == n
    for number in range(plan.clips_per_video):
        rng = sampler.generator(plan.seed, epoch, index, number)
        frames = plan.sampling.draw(n, rng)
        draws = sampler.train_draws(*plan.scaled_size(index), crop.size, crop.scales)
        box = sampler.relative_box(draws[int(rng.integers(len(draws)))], *plan.scaled_size(index))
        yield published_crop(whole[frames], box, crop.train_short_side, crop.size, flip=bool(rng.random() < 0.5))


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_give_the_frames_and_crops_of_plain_code(ten_videos, name):
    pytest.importorskip("cv2")
    clip = STRATEGIES[name]
    with ClipLoader(ten_videos, clip=clip, batch_size=2 * clip.num_clips, seed=3, **SMALL) as loader:
        loader.set_epoch(1)
        batches = list(loader)
        for batch in batches:
            videos = batch.index.tolist()[:: clip.num_clips]
            assert batch.index.tolist() == np.repeat(videos, clip.num_clips).tolist()
            expected = [crop for index in videos for crop in expected_clips(loader, 1, index)]
            assert (batch.clip.numpy() == np.stack(expected)).all()
    assert len(batches) == 5


def test_a_decoder_with_an_order_of_its_own_changes_nothing(ten_videos, monkeypatch):
    loader = ClipLoader(ten_videos, clip=Multi(2, Dense(4, 3)), batch_size=4, **SMALL)
    read = replace(ClipSource(plan=loader.plan, decoder="ffmpeg", device="cpu", decoder_threads=1), cuts_crops=True)
    expected = read(SingleSample())[:2]

    def backwards(path, wanted, threads, stored, transform=lambda image: image):
        images = decode_images(path, wanted, threads, stored, lambda image: image.copy())
        return [transform(image) for image in images[::-1]][::-1]

    monkeypatch.setattr(source, "decode_images", backwards)
    found = read(SingleSample())[:2]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("decoder", ["ffmpeg", "dali"])
def test_the_first_of_several_clips_is_the_one_that_a_run_with_one_has(tmp_path, decoder):
    listed = make_dataset(tmp_path, codec="vp9", count=4)
    how = {"seed": 5, "decoder": decoder} | SMALL
    one = [*ClipLoader(listed, clip=Dense(4, 3), batch_size=2, **how)]
    three = [*ClipLoader(listed, clip=Multi(3, Dense(4, 3)), batch_size=6, **how)]
    for single, several in zip(one, three, strict=True):
        assert torch.equal(single.index, several.index[::3])
        assert torch.equal(single.clip, several.clip[::3])
        assert not torch.equal(several.clip[::3], several.clip[1::3])


def test_several_clips_of_a_decode_by_dali_and_by_ffmpeg_are_the_same_frames(tmp_path):
    listed = make_dataset(tmp_path, codec="vp9", count=4)
    for kind in ("multi_scale", "short_side_jitter"):
        how = SMALL | {"crop": Crop(size=32, train_short_side=40, test_short_side=32, short_sides=(36, 44), kind=kind)}
        by = {
            d: list(ClipLoader(listed, clip=Multi(2, Uniform(4)), batch_size=4, decoder=d, **how)) for d in ("dali", "ffmpeg")
        }
        for dali, ffmpeg in zip(by["dali"], by["ffmpeg"], strict=True):
            assert torch.equal(dali.index, ffmpeg.index)
            assert (dali.clip.float() - ffmpeg.clip.float()).abs().mean() < 2


def test_a_decode_is_done_once_for_several_clips(ten_videos):
    from c2d_fast.processes import worker_counts

    counts = {}
    for clips in (1, 4):
        before = worker_counts.total()
        with ClipLoader(ten_videos, clip=Multi(clips, Uniform(8)), batch_size=8, **SMALL) as loader:
            list(loader)
        counts[clips] = worker_counts.total() - before
    assert counts[4] > 0
    assert counts[4] < 2.2 * counts[1], "one decode of a video gives four clips"


def test_views_of_an_evaluation(ten_videos):
    crop = Crop(size=32, train_short_side=40, test_short_side=32, views="centre")
    for views, count in (("centre", 2), ("three", 6), ("published", 6)):
        how = SMALL | {"crop": Crop(size=32, train_short_side=40, test_short_side=32, views=views)}
        with ClipLoader(ten_videos, train=False, clip=Multi(2, Dense(4, 3)), batch_size=7, **how) as loader:
            batches = list(loader)
            assert len(batches) == len(loader) == -(-10 * count // 7)
            assert torch.cat([batch.index for batch in batches]).tolist() == np.repeat(np.arange(10), count).tolist()
    assert crop.views == "centre"
