"""A small C2D that trains on a CPU in minutes: ResNet-18, 2 frames of 56 pixels, on generated videos of eight classes.

Data: `python -m c2d_fast.prepare demo` (made by itself when no data flags are given).

    python -m c2d_fast.train --pipe dali_pipes/demo.py
"""

from nvidia.dali import fn, pipeline_def, types

from c2d_fast.decode import read_clips
from c2d_fast.recipe import Clip, Crop, Model, Recipe, Training

RECIPE = Recipe(
    name="demo",
    model=Model(depth=18, temporal_pool=True, dropout=0.2, num_classes=8),
    clip=Clip(num_frames=2, interval=8),
    crop=Crop(size=56, train_short_side=64, test_short_side=56, scales=(1.0, 0.875)),
    training=Training(lr=0.003, lr_batch=8, clips_per_gpu=8, epochs=25, milestones=(19, 23), weights="none"),
    generated_data=True,
)


@pipeline_def
def train_pipe(source):
    clip, start, end, flip, index, problem = read_clips(source)  # u8 FHWC, as stored
    clip = fn.resize(
        clip,
        roi_start=start[0],
        roi_end=end[0],
        roi_relative=True,
        size=[source.crop_size, source.crop_size],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )  # u8 FHWC, crop size
    clip = fn.flip(clip, horizontal=flip)  # u8 FHWC
    return clip, index, problem


@pipeline_def
def eval_pipe(source):
    clip, start, end, _, index, problem = read_clips(source)  # u8 FHWC, as stored
    crops = [
        fn.resize(
            clip,
            roi_start=start[crop],
            roi_end=end[crop],
            roi_relative=True,
            size=[source.crop_size, source.crop_size],
            interp_type=types.INTERP_LINEAR,
            antialias=False,
        )
        for crop in range(source.num_crops)
    ]  # u8 FHWC, crop size, each
    crops = fn.stack(*crops)  # u8 [crop, F, H, W, C]
    return crops, index, problem
