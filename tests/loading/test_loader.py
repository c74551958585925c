"""The real thing: DALI pipelines with worker processes over files made by PyAV."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_pipe
import torch
from loaders import CLIP, CROP, GRAPH_CROPS, PIPE, dataset, eval_loader, options, published_crop, reference_crop, train_loader
from media import WholeFrames, decode_all, make_dataset, read_numbers

from c2d_fast.lists.listing import read_list
from c2d_fast.loading import sampler
from c2d_fast.loading.loader import EvalLoader, TrainLoader
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.reading_options import videos_at_a_time
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.model.c2d import C2D
from c2d_fast.model.precision import Precision
from c2d_fast.training.evaluate import evaluate


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """H.264 videos of several sizes and lengths; the shortest loops."""
    sizes = ((160, 96), (96, 160), (136, 104))
    return dataset(tmp_path_factory.mktemp("mixed"), count=6, sizes=sizes, num_frames=(40, 7, 23))


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("vp9"), codec="vp9", count=4, sizes=((160, 96), (96, 160)))


@pytest.mark.parametrize("workers", [1, 2])
def test_training_batches_hold_the_planned_frames_crops_and_flips(mixed, workers):
    loader, plan = train_loader(mixed, workers=workers)
    flips = set()
    for epoch in (0, 1):
        batches = list(loader.epoch(epoch))
        assert len(batches) == loader.steps_per_epoch == 3
        for step, batch in enumerate(batches):
            assert batch.clip.shape == (2, 4, CROP.size, CROP.size, 3)
            assert batch.clip.dtype == torch.uint8
            assert batch.clip.is_contiguous()
            assert batch.valid.all()
            for slot in range(2):
                sample = plan.sample(epoch * 3 + step, slot)
                assert batch.index[slot] == sample.index
                assert batch.label[slot] == plan.videos.labels[sample.index]
                frames = decode_all(plan.videos.file(sample.index))[sample.frames]
                expected = published_crop(frames, sample.boxes[0], CROP.train_short_side, CROP.size, sample.flip)
                assert (batch.clip[slot].numpy() == expected).all()
                flips.add(sample.flip)
    assert flips == {True, False}


@pytest.mark.parametrize("epoch", [0, 2])
def test_any_step_can_be_the_first(mixed, epoch):
    loader, _ = train_loader(mixed)
    whole = [batch.clip.clone() for batch in loader.epoch(epoch)]
    later = [batch.clip for batch in train_loader(mixed)[0].epoch(epoch, first_step=1)]
    assert len(later) == len(whole) - 1
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], later, strict=True))


@pytest.mark.parametrize(("codec", "decoder"), [("h264", "ffmpeg"), ("vp9", "ffmpeg"), ("vp9", "dali"), ("mjpeg", "dali")])
def test_reading_only_what_a_clip_needs_changes_no_batch(tmp_path, codec, decoder, run_command):
    """Whole files, parts found by reading through them, and parts that a packet table leads to."""
    make_dataset(tmp_path, codec=codec, count=4, sizes=((160, 96), (96, 160)), num_frames=(40, 9))
    scanned = run_command("prepare", "scan", "--list", tmp_path / "list.txt", "--out", tmp_path / "list.npz")
    assert scanned.returncode == 0, scanned.stderr
    found = {}
    for name, source, whole in (("whole", "txt", True), ("parts", "txt", False), ("table", "npz", False)):
        listing = read_list(tmp_path / f"list.{source}", None, 2)
        bad = BadVideos(read_manifest(listing, allow_missing=False, jobs=2), (0.0, False), "mend them")
        assert bool(bad.manifest.packet_table) == (name == "table")
        plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=1, batch_size=2)
        loader = TrainLoader(PIPE.train_pipe, plan, replace(options(decoder), whole_files=whole), bad)
        found[name] = torch.stack([batch.clip.clone() for batch in loader.epoch(0)])
    assert torch.equal(found["whole"], found["parts"])
    assert torch.equal(found["whole"], found["table"])


def test_a_pipe_file_that_cuts_the_crops_itself_gets_what_they_need(mixed):
    """A graph that does not ask the workers for crops works as before, on the part of the frames that they need."""
    loader, plan = train_loader(mixed)
    graph = TrainLoader(GRAPH_CROPS.train_pipe, plan, options(), mixed)
    for workers, dali in zip(loader.epoch(0), graph.epoch(0), strict=True):
        assert torch.equal(workers.index, dali.index)
        # Each of OpenCV's two roundings is 1/8 level low, on the average; DALI's are not.
        assert (workers.clip.int() - dali.clip.int()).abs().max() <= 2
        assert (workers.clip.float() - dali.clip.float()).abs().mean() < 0.1


def test_the_model_reads_the_loader_s_bytes_channels_last_without_a_copy(mixed):
    from c2d_fast.recipe import Model

    batch = next(train_loader(mixed)[0].epoch(0))
    images = batch.clip.flatten(0, 1).permute(0, 3, 1, 2)
    assert images.data_ptr() == batch.clip.data_ptr()
    size = CROP.size
    assert images.stride() == (3 * size * size, 1, 3 * size, 3)
    assert images.is_contiguous(memory_format=torch.channels_last)
    model = C2D(Model(depth=18, temporal_pool=True, dropout=0.0, num_classes=2))
    seen = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        note = lambda _, inputs, output, name=name: seen.update({name: (inputs[0].stride(1), output.stride(1))})  # noqa: E731
        model.get_submodule(name).register_forward_hook(note)
    model(batch.clip)
    assert set(seen.values()) == {(1, 1)}, seen
    assert all(p.stride(1) == 1 for p in model.parameters() if p.dim() == 4)


def test_dali_and_ffmpeg_give_the_same_frames(vp9):
    loaders = {decoder: list(train_loader(vp9, decoder)[0].epoch(0)) for decoder in ("dali", "ffmpeg")}
    for dali, ffmpeg in zip(loaders["dali"], loaders["ffmpeg"], strict=True):
        assert torch.equal(dali.index, ffmpeg.index)
        # They convert chroma differently at edges; a frame further would differ by whole black and white columns.
        assert (dali.clip.float() - ffmpeg.clip.float()).abs().mean() < 2


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_validation_views(mixed, vp9, codec):
    bad = mixed if codec == "h264" else vp9
    loader, plan = eval_loader(bad, "ffmpeg" if codec == "h264" else "dali")
    for _ in range(2):  # a second round is the same
        batches = list(loader.views())
        valid = torch.cat([batch.valid for batch in batches])
        index = torch.cat([batch.index for batch in batches])[valid]
        assert index.tolist() == list(range(loader.num_videos))
        assert all(len(batch.clip) == 4 for batch in batches)
        clips = torch.cat([batch.clip for batch in batches])[valid]
        for i in range(loader.num_videos):
            sample = plan.sample(i // 4, i % 4)
            frames = decode_all(plan.videos.file(i))[sample.frames[plan.positions(i)[0]]]
            limit = 1.01 if codec == "h264" else 60
            difference = np.abs(clips[i].numpy() - reference_crop(frames, sample.boxes[0], CROP.size))
            assert difference.max() < limit
            assert difference.mean() < 2


def test_test_views_are_crop_major_and_those_of_separate_decodes(mixed):
    loader, plan = eval_loader(mixed, num_clips=10, views_per_batch=16, batch_size=2)
    batches = list(loader.views())
    valid = torch.cat([batch.valid for batch in batches])
    index, clips = (torch.cat([getattr(batch, name) for batch in batches])[valid] for name in ("index", "clip"))
    assert index.tolist() == [i for i in range(6) for _ in range(30)]
    for i in (0, 1):
        sample = plan.sample(i // 2, i % 2)
        everything = decode_all(plan.videos.file(i))
        for view in range(30):
            crop, clip = divmod(view, 10)
            frames = everything[sample.frames[plan.positions(i)[clip]]]
            expected = reference_crop(frames, sample.boxes[crop], CROP.size)
            assert np.abs(clips[i * 30 + view].numpy() - expected).max() < 1.01


class OneViewEach(EvalPlan):
    """A plan over thirty copies of one video, of which each is decoded for one view alone."""

    def sample(self, step, slot):
        view = self.index(step, slot)
        crop, clip = divmod(view, 10)
        sample = EvalPlan(videos=self.videos, clip=CLIP, crop=CROP, batch_size=1, num_clips=10).sample(view, 0)
        frames = sampler.test_frames(int(self.videos.num_frames[view]), CLIP.num_frames, CLIP.interval, 10)[clip]
        return type(sample)(sample.index, frames, sample.boxes[crop : crop + 1], False)

    def positions(self, index):
        return np.arange(CLIP.num_frames)[None]


@pytest.mark.parametrize("temporal_pool", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_one_decode_gives_the_views_and_scores_of_thirty(tmp_path, mixed, temporal_pool):
    loader, plan = eval_loader(mixed, num_clips=10, views_per_batch=16, batch_size=2)
    batches = list(loader.views())
    views = torch.cat([batch.clip[batch.valid] for batch in batches])
    torch.manual_seed(0)
    model = C2D(replace(PIPE.recipe.model, depth=tiny_pipe.DEPTH, temporal_pool=temporal_pool)).eval()
    torch.nn.init.normal_(model.fc.weight, std=1.0 if temporal_pool else 0.1)  # so that scores differ
    options_ = {"num_classes": 8, "average_probabilities": temporal_pool, "precision": Precision("fp32")}
    scores = evaluate(model, loader, **options_).scores
    assert scores.std(0).max() > 0.005
    for video in (0, 1):  # the second is shorter than a clip
        listing = tmp_path / f"{video}.txt"
        listing.write_text(f"{plan.videos.file(video)} 0\n" * 30)
        copies = BadVideos(read_manifest(read_list(listing, None, 2), allow_missing=False, jobs=2), (0.0, False), "mend them")
        separate = OneViewEach(videos=copies.manifest.videos(), clip=CLIP, crop=CROP, batch_size=6)
        alone = [batch.clip for batch in EvalLoader(PIPE.eval_pipe, separate, options(), copies, views_per_batch=1).views()]
        assert len(alone) == 30
        assert torch.equal(torch.cat(alone), views[30 * video : 30 * video + 30])
        with torch.inference_mode():
            logits = torch.cat([model(clip) for clip in alone])
        expected = logits.softmax(1).mean(0) if temporal_pool else logits.mean(0).softmax(0)
        assert (scores[video] - expected).abs().max() < 1e-5


def test_videos_that_are_decoded_together_fit_their_budget(mixed):
    videos = mixed.manifest.videos()
    frames, width, height = np.array([300, 40]), np.array([340, 340]), np.array([256, 256])
    long_and_short = replace(videos, num_frames=frames, width=width, height=height)
    one = 80 * 340 * 256 * 3
    assert videos_at_a_time(long_and_short, 80) == 512 * 2**20 // one
    assert videos_at_a_time(replace(long_and_short, num_frames=frames // 300 + 40), 80) == 512 * 2**20 // (41 * 340 * 256 * 3)
    assert videos_at_a_time(replace(long_and_short, width=width * 1000), 80) == 1  # one is decoded whole, however large
    crops = 3 * 224 * 224
    assert videos_at_a_time(long_and_short, 80, crops) == 512 * 2**20 // (80 * crops * 3)


@pytest.mark.parametrize(
    ("codec", "decoder"),
    [("h264", "ffmpeg"), ("hevc", "ffmpeg"), ("mpeg4", "ffmpeg"), ("vp9", "ffmpeg"), ("vp9", "dali"), ("mjpeg", "dali")],
)
def test_the_batch_shows_the_planned_frame_numbers(tmp_path, codec, decoder):
    """No reference in between: the numbers are read from the pixels that the model is fed."""
    bad = dataset(tmp_path, codec=codec, count=3, sizes=((160, 96), (96, 160)), num_frames=(40, 25, 9))
    plan = WholeFrames(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=3)
    loader = EvalLoader(PIPE.eval_pipe, plan, options(decoder), bad, views_per_batch=3)
    (batch,) = loader.views()
    assert read_numbers(batch.clip) == plan.planned_numbers()
