"""Decoders against each other on a GPU: the same frames, by the numbers coded in their pixels, and nearly the same colours.

Tests of what NVDEC does run with DALI's CPU decoder in its place where there is no GPU, on codecs that it has.
"""

import dataclasses
import os
import time

import numpy as np
import pytest
import torch
from loaders import published_crop
from media import CODECS, WholeFrames, decode_all, make_video, read_numbers, spoil

from c2d_fast.lists.listing import read_list
from c2d_fast.loading.decode import choose_decoder
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.hybrid import measure_share
from c2d_fast.loading.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, load_pipe
from c2d_fast.training.blocking_sync import use_blocking_sync

# Decoders convert chroma differently (bilinear or nearest, rounding): mean difference in levels that is borne. The
# numbered frames have hard colour edges, where a chroma sample more or less shows most.
MEAN_TOLERANCE = 8.0
# NVDEC takes no HEVC below 144 pixels. The last two are coded wider than they are shown. None is coded higher: cleared and
# uncleared frames of one size would get each other's sessions (docs/decisions/0012), and these tests read files both ways.
SIZES = ((176, 144), (144, 176), (340, 256), (210, 160))
CROPPED = ((340, 256), (210, 162), (640, 360))
CLIP = Clip(num_frames=6, interval=3)
PIPE = load_pipe("dali_pipes/k400_8x8.py")
CROP = PIPE.recipe.crop

NVDEC = [("nvdec", codec) for codec in ("h264", "hevc", "mpeg4")]
ASKED = [("nvdec", codec) for codec in ("vp8", "vp9")]
STAND_INS = [("dali", codec) for codec in ("vp8", "vp9", "mjpeg")]


@pytest.fixture
def place(request, decoder):
    """Where the decoder works: the GPU, or the CPU for its stand-in."""
    return request.getfixturevalue("nvdec") if decoder == "nvdec" else torch.device("cpu")


def dataset(folder, codec, sizes=SIZES, **options):
    lines = []
    options |= {"auto-alt-ref": "0"} if codec == "vp8" else {}  # its hidden frames are packets: DALI would count them
    for i, (width, height) in enumerate(sizes):
        make_video(folder / f"{i}.{CODECS[codec][1]}", codec, (40, 50, 25, 9)[i % 4], width, height, hue=i, **options)
        lines.append(f"{i}.{CODECS[codec][1]} {i % 2}\n")
    (folder / "list.txt").write_text("".join(lines))
    manifest = read_manifest(read_list(folder / "list.txt", None, 2), allow_missing=False, jobs=4)
    return BadVideos(manifest, (0.0, False), "mend them")


def options(device, decoder, **changes):
    return LoaderOptions(device=device, decoder=decoder, workers=2, decoder_threads=4, **changes)


def whole_frames(bad, device, decoder, **changes):
    """One batch of validation clips in which each frame is scaled whole, so that its number can be read."""
    # A square that the whole frame is squeezed into: the box is the frame.
    plan = WholeFrames(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=len(SIZES))
    loader = EvalLoader(PIPE.eval_pipe, plan, options(device, decoder, **changes), bad, views_per_batch=len(SIZES))
    (batch,) = loader.views()
    assert batch.clip.device.type == device.type
    assert batch.clip.is_contiguous()
    assert read_numbers(batch.clip.cpu()) == plan.planned_numbers(), (decoder, changes)
    return batch.clip


@pytest.mark.parametrize(("decoder", "codec"), NVDEC + ASKED + STAND_INS)
def test_dali_and_ffmpeg_decode_the_same_frames(place, tmp_path, decoder, codec):
    bad = dataset(tmp_path, codec)
    assert choose_decoder(decoder, bad.manifest, gpu=place.type == "cuda")[0] == decoder
    by_dali, by_ffmpeg = (whole_frames(bad, place, name).float() for name in (decoder, "ffmpeg"))
    assert (by_dali - by_ffmpeg).abs().mean() < MEAN_TOLERANCE


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_videos_of_key_frames_only_are_decoded(nvdec, tmp_path, codec):
    """As prepare transcode writes them: x264 marks them as High Intra, on which DALI 2.4 fails if it is left."""
    options = {"x264-params": "keyint=1"} if codec == "h264" else {"x265-params": "keyint=1:log-level=none"}
    bad = dataset(tmp_path, codec, **options)
    assert check_decoder(bad.manifest.videos(), "nvdec", nvdec) == ""
    by_dali, by_ffmpeg = (whole_frames(bad, nvdec, name).float() for name in ("nvdec", "ffmpeg"))
    assert (by_dali - by_ffmpeg).abs().mean() < MEAN_TOLERANCE


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4"])
def test_auto_takes_nvdec(nvdec, tmp_path, codec):
    assert choose_decoder("auto", dataset(tmp_path, codec).manifest, gpu=True)[0] == "nvdec"


@pytest.mark.parametrize(("decoder", "codec"), [pair for pair in NVDEC + ASKED + STAND_INS if pair[1] != "mpeg4"])
def test_cut_packets_decode_to_the_frames_of_whole_files(place, tmp_path, decoder, codec):
    bad = dataset(tmp_path, codec)
    assert torch.equal(*(whole_frames(bad, place, decoder, whole_files=whole) for whole in (True, False)))


@pytest.mark.parametrize(("decoder", "codec"), NVDEC + ASKED + STAND_INS)
def test_the_check_finds_no_fault(place, tmp_path, decoder, codec):
    videos = dataset(tmp_path, codec).manifest.videos()
    started_s = time.perf_counter()
    assert check_decoder(videos, decoder, place) == ""
    print(f"check of {codec} by {decoder}: {time.perf_counter() - started_s:.2f} s")


@pytest.mark.parametrize(("decoder", "codec"), [("nvdec", "h264"), ("dali", "vp9")])
def test_decoders_share_a_batch(place, tmp_path, decoder, codec):
    bad = dataset(tmp_path, codec)
    by_dali, by_ffmpeg = (whole_frames(bad, place, name) for name in (decoder, "ffmpeg"))
    plan = WholeFrames(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=len(SIZES))
    lots = [plan.lot(0, slot) for slot in range(len(SIZES))]
    share = sorted(lots)[2]  # two samples each
    shared = whole_frames(bad, place, "hybrid", hybrid_share=share)
    for clip, lot, one, other in zip(shared, lots, by_dali, by_ffmpeg, strict=True):
        # Without a GPU the workers cut the crops of a run that is FFmpeg's alone, which differs by rounding.
        assert torch.equal(clip, one) if lot < share else (clip.float() - other.float()).abs().max() <= 2
    measured = measure_share(bad.manifest.videos(), CLIP, CROP, options(place, "hybrid"))
    assert 0.05 <= measured.of_dali <= 0.95


def test_waits_sleep(cuda):
    """A process that spins while it waits takes a CPU from the loader."""
    assert use_blocking_sync(0)
    busy = torch.randn(8192, 8192, device=cuda)
    torch.mm(busy, busy)
    torch.cuda.synchronize()
    started_s, cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(100):
        torch.mm(busy, busy)
    event = torch.cuda.Event(blocking=True)
    event.record()
    event.synchronize()
    waited_s = time.perf_counter() - started_s
    assert time.thread_time() - cpu_s < 0.5 * waited_s


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
        assert gpu.clip.is_cuda
        assert (gpu.clip.cpu().float() - cpu.clip.float()).abs().max() <= 2


@pytest.mark.parametrize("sizes", [SIZES, ((340, 256), (256, 340)) * 2, ((1280, 720), (180, 320)) * 2])
def test_training_crops_are_the_published_ones(cuda, tmp_path, sizes):
    pytest.importorskip("cv2")
    bad = dataset(tmp_path, "h264", sizes)
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    loader = TrainLoader(PIPE.train_pipe, plan, options(cuda, "ffmpeg"), bad)
    for epoch in range(2):
        for step, batch in enumerate(loader.epoch(epoch)):
            for slot, clip in enumerate(batch.clip.cpu().numpy()):
                sample = plan.sample(epoch * plan.steps_per_epoch + step, slot)
                frames = decode_all(plan.videos.file(sample.index))[sample.frames]
                expected = published_crop(frames, sample.boxes[0], CROP.train_short_side, CROP.size, sample.flip)
                difference = np.abs(clip.astype(int) - expected)
                assert difference.mean() < 0.3
                assert difference.max() <= 2


@pytest.mark.parametrize("together", [0, 3, 4])
@pytest.mark.parametrize("decoder", ["nvdec", "ffmpeg"])
def test_batches_stay_what_they_were_while_the_loader_goes_on(request, cuda, tmp_path, decoder, together):
    """DALI reuses its buffers: a batch must not change under work that is still queued on the GPU."""
    device = request.getfixturevalue("nvdec") if decoder == "nvdec" else cuda
    bad = dataset(tmp_path, "h264")
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    graph = PIPE.train_pipe
    busy = torch.randn(4096, 4096, device=device)

    def sums(keep_busy):
        loader = TrainLoader(graph, plan, options(device, decoder, decode_batch=together), bad)
        results = []
        for epoch in range(10):
            for batch in loader.epoch(epoch):
                if keep_busy:  # the sum below waits in the queue while the loader makes the next batches
                    for _ in range(20):
                        torch.mm(busy, busy)
                results.append(batch.clip.long().sum())
        return torch.stack(results).tolist()

    assert sums(True) == sums(False)


@pytest.mark.parametrize(
    ("decoder", "codec", "damage"),
    [
        *(("nvdec", "h264", damage) for damage in ("gone", "spoilt", "half")),
        *(("dali", "vp9", damage) for damage in ("gone", "spoilt")),  # which FFmpeg decodes half of without a word
    ],
)
def test_a_video_that_breaks_is_replaced_with_dali_too(place, tmp_path, decoder, codec, damage):
    bad = dataset(tmp_path, codec)
    bad.limit = (1.0, False)
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=2)
    victim = plan.index(1, 1)
    how = options(place, decoder)
    sound = TrainLoader(PIPE.train_pipe, dataclasses.replace(plan, quarantined=frozenset({victim})), how, bad).epoch(0)
    expected = [batch.clip.clone() for batch in sound]
    file = bad.manifest.listing.file(victim)
    if damage == "gone":
        file.unlink()
    else:
        spoil(file, 0 if damage == "spoilt" else 1000)
    batches = [batch.clip for batch in TrainLoader(PIPE.train_pipe, plan, how, bad).epoch(0)]
    assert all(torch.equal(clip, other) for clip, other in zip(batches, expected, strict=True))
    assert len(bad.found) == 1


@pytest.mark.parametrize(
    ("decoder", "codec", "size"),
    [
        *((decoder, codec, size) for decoder, codec in NVDEC[:2] for size in CROPPED),
        ("dali", "vp9", CROPPED[1]),
        *(pytest.param("dali", "vp9", size, marks=pytest.mark.slow) for size in (CROPPED[0], CROPPED[2])),
    ],
    ids=lambda value: value if isinstance(value, str) else "{}x{}".format(*value),
)
def test_clearing_the_cropping_changes_nothing_that_is_shown(place, tmp_path, run_command, decoder, codec, size):
    """Each decoder in a process of its own: DALI would give a session that was made for one kind of frames to the other."""
    dataset(tmp_path, codec, sizes=(size,) * 4)
    done = run_command("prepare", "scan", "--list", tmp_path / "list.txt", "--out", tmp_path / "list.npz")
    assert done.returncode == 0, done.stderr
    clips = {}
    env = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")} if place.type == "cuda" else {}
    ways = {"by table": ("list.npz",), "by container": ("list.txt",), "kept": ("list.npz", "--whole-files")}
    for name, (videos, *more) in ways.items():
        out = tmp_path / f"{name}.npz"
        flags = ["--pipe", "dali_pipes/k400_8x8.py", "--split", "val", "--num-classes", 2, "--decoder", decoder, "--npz", out]
        done = run_command("browse", "--list", tmp_path / videos, "--data-root", tmp_path, *flags, *more, env=env)
        assert done.returncode == 0, done.stderr
        clips[name] = np.load(out)["clips"].astype(np.float32)
    assert np.array_equal(clips["by table"], clips["by container"])
    # What chroma is interpolated from beyond the edge may differ.
    assert np.abs(clips["by table"] - clips["kept"]).mean() < 0.1
