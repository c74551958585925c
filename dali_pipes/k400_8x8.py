"""C2D ResNet-50, 8 frames x interval 8, with temporal pool.

Source: MMAction2 model zoo, C2D, Kinetics-400 (after "Non-local Neural Networks").
Published with 10 clips x 3 crops: top-1 73.89 %, top-5 91.21 %. Trained there on 8 GPUs x 32 clips for 100 epochs.

    python -m c2d_fast.train --pipe dali_pipes/k400_8x8.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from nvidia.dali import fn, pipeline_def, types

from c2d_fast.decode import read_clips, read_crops
from c2d_fast.recipe import Clip, Crop, Model, Published, Recipe, Training

RECIPE = Recipe(
    name="k400_8x8",
    model=Model(depth=50, temporal_pool=True, dropout=0.5, num_classes=400),
    clip=Clip(num_frames=8, interval=8),
    crop=Crop(size=224, train_short_side=256, test_short_side=224, scales=(1.0, 0.875, 0.75, 0.66)),
    training=Training(lr=0.01, lr_batch=256, clips_per_gpu=32, epochs=100, milestones=(40, 80), weights="imagenet"),
    published=Published(top1=73.89, top5=91.21, gmac_per_clip=19.29, parameters=24_327_632),
)


@pipeline_def
def train_pipe(source):
    if source.crops_on_cpu:
        return read_crops(source)  # u8 FHWC, crop size, flipped: the same crops, by the workers that decode
    clip, start, end, flip, index, problem = read_clips(source)  # u8 FHWC, the crop's box of the scaled frame: start 0, end 1
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
    if source.crops_on_cpu:
        return read_crops(source)  # u8 [crop, F, H, W, C]
    clip, start, end, _, index, problem = read_clips(source)  # u8 FHWC, as stored, or the part that the crops need
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
