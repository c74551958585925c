"""Decoders against each other on a GPU: the same frames, by the numbers coded in their pixels, and nearly the same colours."""

import dataclasses

import pytest
import torch
from media import CODECS, WholeFrames, make_video, read_numbers, spoil

from c2d_fast.bad_videos import BadVideos
from c2d_fast.decode import choose_decoder
from c2d_fast.listing import read_list
from c2d_fast.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.manifest import read_manifest
from c2d_fast.plan import TrainPlan
from c2d_fast.recipe import Clip, load_pipe

# Decoders convert chroma differently (bilinear or nearest, rounding): mean difference in levels that is borne. The
# numbered frames have hard colour edges, where a chroma sample more or less shows most.
MEAN_TOLERANCE = 8.0
SIZES = ((176, 144), (144, 176), (208, 160), (176, 144))  # NVDEC takes no HEVC below 144 pixels
CLIP = Clip(num_frames=6, interval=3)
PIPE = load_pipe("dali_pipes/k400_8x8.py")
CROP = PIPE.recipe.crop


def dataset(folder, codec, sizes=SIZES):
    lines = []
    for i, (width, height) in enumerate(sizes):
        make_video(folder / f"{i}.{CODECS[codec][1]}", codec, (40, 50, 25, 9)[i % 4], width, height, hue=i)
        lines.append(f"{i}.{CODECS[codec][1]} {i % 2}\n")
    (folder / "list.txt").write_text("".join(lines))
    manifest = read_manifest(read_list(folder / "list.txt", None, 2), allow_missing=False, jobs=4)
    return BadVideos(manifest, (0.0, False), "mend them")


def options(device, decoder):
    return LoaderOptions(device=device, decoder=decoder, workers=2, decoder_threads=4)


def whole_frames(bad, device, decoder):
    """One batch of validation clips in which each frame is scaled whole, so that its number can be read."""
    # A square that the whole frame is squeezed into: the box is the frame.
    plan = WholeFrames(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=len(SIZES))
    graph = PIPE.eval_pipe
    loader = EvalLoader(graph, plan, options(device, decoder), bad, views_per_batch=len(SIZES))
    (batch,) = loader.views()
    assert batch.clip.device.type == device.type
    assert batch.clip.is_contiguous()
    return batch, plan


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4"])
def test_nvdec_and_ffmpeg_decode_the_same_frames(nvdec, tmp_path, codec):
    bad = dataset(tmp_path, codec)
    assert choose_decoder("auto", bad.manifest, gpu=True)[0] == "nvdec"
    clips = {}
    for decoder in ("nvdec", "ffmpeg"):
        batch, plan = whole_frames(bad, nvdec, decoder)
        assert read_numbers(batch.clip.cpu()) == plan.planned_numbers(), decoder
        clips[decoder] = batch.clip.float()
    assert (clips["nvdec"] - clips["ffmpeg"]).abs().mean() < MEAN_TOLERANCE


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4", "vp9", "mjpeg"])
def test_nvdec_decodes_cut_packets_to_the_frames_of_whole_files(nvdec, tmp_path, codec):
    bad = dataset(tmp_path, codec)
    plan = WholeFrames(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=len(SIZES))
    clips = {}
    for whole in (True, False):
        how = dataclasses.replace(options(nvdec, "nvdec"), whole_files=whole)
        (batch,) = EvalLoader(PIPE.eval_pipe, plan, how, bad, views_per_batch=len(SIZES)).views()
        assert read_numbers(batch.clip.cpu()) == plan.planned_numbers(), whole
        clips[whole] = batch.clip
    assert torch.equal(clips[True], clips[False])


def test_all_three_decode_the_same_vp9_frames(nvdec, tmp_path):
    bad = dataset(tmp_path, "vp9")
    clips = {}
    for decoder in ("nvdec", "dali", "ffmpeg"):
        batch, plan = whole_frames(bad, nvdec, decoder)
        assert read_numbers(batch.clip.cpu()) == plan.planned_numbers(), decoder
        clips[decoder] = batch.clip.float()
    for decoder in ("nvdec", "dali"):
        assert (clips[decoder] - clips["ffmpeg"]).abs().mean() < MEAN_TOLERANCE, decoder


@pytest.mark.parametrize("decoder", ["dali", "ffmpeg"])
def test_gpu_augmentation_is_that_of_the_cpu(cuda, tmp_path, decoder):
    bad = dataset(tmp_path, "vp9")
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    graph = PIPE.train_pipe
    batches = {}
    for device in (cuda, torch.device("cpu")):
        loader = TrainLoader(graph, plan, options(device, decoder), bad)
        batches[device.type] = [b for epoch in range(3) for b in loader.epoch(epoch)]
    for gpu, cpu in zip(batches["cuda"], batches["cpu"], strict=True):
        assert gpu.label.tolist() == cpu.label.tolist()
        assert gpu.index.tolist() == cpu.index.tolist()
        assert (gpu.clip.cpu().float() - cpu.clip.float()).abs().max() <= 2


@pytest.mark.parametrize("decoder", ["nvdec", "ffmpeg"])
def test_batches_stay_what_they_were_while_the_loader_goes_on(request, cuda, tmp_path, decoder):
    """DALI reuses its buffers: a batch must not change under work that is still queued on the GPU."""
    device = request.getfixturevalue("nvdec") if decoder == "nvdec" else cuda
    bad = dataset(tmp_path, "h264")
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    graph = PIPE.train_pipe
    busy = torch.randn(4096, 4096, device=device)

    def sums(keep_busy):
        loader = TrainLoader(graph, plan, options(device, decoder), bad)
        results = []
        for epoch in range(10):
            for batch in loader.epoch(epoch):
                if keep_busy:  # the sum below waits in the queue while the loader makes the next batches
                    for _ in range(20):
                        torch.mm(busy, busy)
                results.append(batch.clip.long().sum())
        return torch.stack(results).tolist()

    assert sums(True) == sums(False)


@pytest.mark.parametrize("damage", ["gone", "spoilt", "half"])
def test_a_video_that_breaks_is_replaced_with_nvdec_too(nvdec, tmp_path, damage):
    bad = dataset(tmp_path, "h264")
    bad.limit = (1.0, False)
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    victim = plan.index(1, 1)
    expected = TrainLoader(
        PIPE.train_pipe, dataclasses.replace(plan, quarantined=frozenset({victim})), options(nvdec, "nvdec"), bad
    ).epoch(0)
    expected = [batch.clip.clone() for batch in expected]
    file = bad.manifest.listing.file(victim)
    if damage == "gone":
        file.unlink()
    else:
        spoil(file, 0 if damage == "spoilt" else 1000)
    batches = [batch.clip for batch in TrainLoader(PIPE.train_pipe, plan, options(nvdec, "nvdec"), bad).epoch(0)]
    assert all(torch.equal(clip, other) for clip, other in zip(batches, expected, strict=True))
    assert len(bad.found) == 1
