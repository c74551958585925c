"""Loaders over small videos, and their crops made the slow way, for the tests that compare."""

from pathlib import Path

import numpy as np
import torch
from media import make_dataset
from torch.nn import functional as F

from c2d_fast.lists.listing import read_list
from c2d_fast.loading import sampler
from c2d_fast.loading.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, load_pipe

CLIP = Clip(num_frames=4, interval=3)
PIPE = load_pipe("dali_pipes/demo.py")
GRAPH_CROPS = load_pipe(Path(__file__).parent / "graph_crops.py")
CROP = PIPE.recipe.crop


def options(decoder="ffmpeg", workers=1):
    return LoaderOptions(device=torch.device("cpu"), decoder=decoder, workers=workers, decoder_threads=2)


def dataset(folder, **kwargs):
    listing = read_list(make_dataset(folder, **kwargs), None, 2)
    return BadVideos(read_manifest(listing, allow_missing=False, jobs=2), (100.0, True), "mend them")


def train_loader(bad, decoder="ffmpeg", workers=1, **kwargs):
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=1, batch_size=2, **kwargs)
    return TrainLoader(PIPE.train_pipe, plan, options(decoder, workers), bad), plan


def eval_loader(bad, decoder="ffmpeg", num_clips=1, views_per_batch=4, batch_size=4):
    plan = EvalPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=batch_size, num_clips=num_clips)
    return EvalLoader(PIPE.eval_pipe, plan, options(decoder), bad, views_per_batch=views_per_batch), plan


def reference_crop(frames, box, size, flip=False):
    """Resizes a region (in parts) of whole frames the slow way: bilinear at half-pixel centres, float64, uint8 [F, H, W, C]."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    centres = (torch.arange(size) + 0.5) / size
    x, y = (x0 + centres * (x1 - x0)) * 2 - 1, (y0 + centres * (y1 - y0)) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).double().expand(len(frames), size, size, 2)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).double()
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (sampled.flip(3) if flip else sampled).permute(0, 2, 3, 1).numpy()


def published_crop(frames, box, short_side, size, flip=False):
    """Makes a training crop as MMAction2 does, whole frames [F, H, W, C] and every step: scale, cut, resize, flip; uint8."""
    import cv2  # machines with a GPU may lack it

    scaled = sampler.scaled_size(frames.shape[2], frames.shape[1], short_side)
    x0, y0, x1, y1 = np.rint(box * np.array([*scaled, *scaled])).astype(int)
    images = [cv2.resize(frame, scaled, interpolation=cv2.INTER_LINEAR) for frame in frames]
    images = [cv2.resize(image[y0:y1, x0:x1], (size, size), interpolation=cv2.INTER_LINEAR) for image in images]
    return np.stack([image[:, ::-1] if flip else image for image in images])
