"""A pipe file whose graph cuts out the crops, also without a GPU: as a user's own may."""

from nvidia.dali import fn, pipeline_def, types

from c2d_fast.loading.decode import read_clips
from dali_pipes.demo import RECIPE, eval_pipe


@pipeline_def
def train_pipe(source):
    clip, start, end, flip, index, problem = read_clips(source)
    clip = fn.resize(
        clip,
        roi_start=start[0],
        roi_end=end[0],
        roi_relative=True,
        size=[source.crop_size, source.crop_size],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )
    return fn.flip(clip, horizontal=flip), index, problem


__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
