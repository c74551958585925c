"""What is held while large videos are scored: of each frame what the crops need, not the frame."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media import make_video

from c2d_fast.lists.listing import read_list
from c2d_fast.loading.loader_defaults import workers_in_memory
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.reading_options import videos_at_a_time
from c2d_fast.loading.source import ClipSource
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, Crop
from c2d_fast.video import crops
from c2d_fast.video.crops import SCALED_ABOVE, cut_crop, cut_region
from c2d_fast.video.reader import decode_images

ROOT = Path(__file__).parents[2]
CLIP = Clip(num_frames=8, interval=2)
CROP = Crop(size=224, train_short_side=256, test_short_side=224, scales=(1.0, 0.8))


def videos_of(folder, size, num_frames=30):
    width, height = size
    if not (folder / "a.mp4").exists():
        make_video(folder / "a.mp4", width=width, height=height, num_frames=num_frames, g="5", preset="ultrafast")
    (folder / "list.txt").write_text("a.mp4 0\n")
    manifest = read_manifest(read_list(folder / "list.txt", None, 2), allow_missing=False, jobs=1)
    return BadVideos(manifest, (0.0, False), "").manifest.videos()


def source_of(plan, **more):
    return ClipSource(plan=plan, decoder="ffmpeg", device="cpu", decoder_threads=1, **more)


@pytest.mark.parametrize("size", [(340, 256), (256, 300)])
def test_what_is_kept_frame_by_frame_is_what_was_cut_out_of_all(tmp_path, size):
    pytest.importorskip("cv2")
    videos = videos_of(tmp_path, size)
    train = TrainPlan(videos=videos, clip=replace(CLIP, interval=9), crop=CROP, seed=3, batch_size=1)  # repeats frames
    test = EvalPlan(videos=videos, clip=CLIP, crop=CROP, batch_size=1, num_clips=10)
    for plan in (train, test):
        sample = plan.sample(0, 0)
        wanted, places = np.unique(sample.frames, return_inverse=True)
        whole = decode_images(Path(videos.file(0)), wanted, 1, source_of(plan).stored(0))
        images = [whole[place] for place in places]
        read = source_of(plan)._read(sample)
        region, boxes = cut_region(images, sample.boxes)
        assert (read.images == region).all()
        assert (read.boxes == boxes).all()
        is_scaled = min(size) == plan.short_side
        cut = [cut_crop(images, box, CROP.size, flip=sample.flip, is_scaled=is_scaled) for box in sample.boxes]
        read = source_of(plan, cuts_crops=True)._read(sample)
        assert (read.images == (cut[0] if plan is train else np.stack(cut))).all()


def test_large_frames_are_scaled_before_a_graph_cuts_them(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    plan = EvalPlan(videos=videos_of(tmp_path, (640, 480)), clip=CLIP, crop=CROP, batch_size=1, num_clips=10)
    sample = plan.sample(0, 0)
    as_decoded = source_of(plan)._read(sample)
    assert as_decoded.images.shape[1:3] >= (480, 639)  # few bytes: handed on as they are
    monkeypatch.setattr("c2d_fast.loading.crop_buffers.SCALED_ABOVE", as_decoded.images.nbytes - 1)
    scaled = source_of(plan)._read(sample)
    assert scaled.images.shape[1:] == (224, 299, 3)
    whole = decode_images(Path(plan.videos.file(0)), np.unique(sample.frames), 1, source_of(plan).stored(0))
    for ours, theirs in zip(scaled.images, whole, strict=True):
        assert (ours == cv2.resize(theirs, (299, 224), interpolation=cv2.INTER_LINEAR)).all()
    edges = scaled.boxes.reshape(-1, 2) * (299, 224)
    assert np.abs(edges - edges.round()).max() < 1e-3  # the published squares, pixel for pixel
    training = TrainPlan(videos=plan.videos, clip=CLIP, crop=CROP, seed=0, batch_size=1)
    assert max(source_of(training)._read(training.sample(0, 0)).images.shape[1:3]) > 299


READ = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/loading"]
from test_large_videos import CLIP, CROP, source_of, videos_of
from c2d_fast.loading.plan import EvalPlan
import cv2

plan = EvalPlan(videos=videos_of(Path(sys.argv[1]), (1920, 1080), 90), clip=CLIP, crop=CROP, batch_size=1, num_clips=10)
sample = plan.sample(0, 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read = source_of(plan, cuts_crops=sys.argv[2] == "crops")._read(sample)
print(json.dumps([len(sample.frames), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The folder of a large video: made here, since an encoder takes memory, too."""
    folder = tmp_path_factory.mktemp("large")
    videos_of(folder, (1920, 1080), 90)
    return folder


@pytest.mark.parametrize("what", ["crops", "region"])
def test_a_worker_holds_no_more_than_the_crops_need(large, what):
    pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, "-c", READ, large, what], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    frames, held_mb = json.loads(done.stdout.splitlines()[-1])
    assert frames > 50
    # All frames as RGB are 6.2 MB each, 350 MB; what is handed on is 25 MB at most, here twice, and a decoder's frames.
    assert held_mb < 200


def test_workers_and_batches_fit_their_budgets(tmp_path):
    videos = videos_of(tmp_path, (64, 48), 8)
    many = [3840 * 2160] * 100
    assert workers_in_memory(many, 16) == 16
    assert workers_in_memory([4 * pixels for pixels in many], 16) == 4
    assert workers_in_memory([4 * many[0], *[340 * 256] * 50], 16) == 16  # one of them is borne
    assert workers_in_memory([10**9], 4) == 1
    assert workers_in_memory([], 3) == 3
    large = replace(videos, num_frames=np.array([100]), width=np.array([3840]), height=np.array([2160]))
    assert videos_at_a_time(large, 80, 3 * 224**2) == 1
    crops_of_all = 80 * 3 * 3 * 224**2
    assert videos_at_a_time(large, 80, 3 * 224**2, decoder="ffmpeg", short_side=224) == 512 * 2**20 // crops_of_all
    assert videos_at_a_time(large, 80, 3 * 224**2, decoder="nvdec", short_side=224) == 1
    small = replace(large, width=np.array([340]), height=np.array([256]))
    assert 80 * 3 * 340 * 256 < SCALED_ABOVE == crops.SCALED_ABOVE
    assert videos_at_a_time(small, 80, decoder="ffmpeg", short_side=224) == videos_at_a_time(small, 80)
