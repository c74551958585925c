"""The share of hybrid decoding that each decoder can take, measured on clips of the list."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2d_fast.decode import time_files
from c2d_fast.errors import UserError
from c2d_fast.packets import Stored
from c2d_fast.pipelines import LoaderOptions, last_line
from c2d_fast.plan import TrainPlan, Videos
from c2d_fast.recipe import Clip, Crop
from c2d_fast.source import stored_of
from c2d_fast.video import DecodeError, decode_images, read_clip

_CLIPS = 32
_LEAST, _MOST = 0.05, 0.95


class Share(NamedTuple):
    """What has been measured."""

    of_dali: float
    """Share of the clips that DALI's decoder takes."""
    line: str
    """For the user."""


class _Clip(NamedTuple):
    path: Path
    stored: Stored
    frames: NDArray[np.int64]


def measure_share(videos: Videos, clip: Clip, crop: Crop, options: LoaderOptions) -> Share:
    """Decodes some clips of a list with each decoder alone, and shares the work by their rates.

    Args:
        videos: the list's.
        clip: which frames make a clip.
        crop: of the recipe.
        options: with hybrid as the decoder, and its workers and threads.

    Raises:
        UserError: none of the videos tried can be read, or DALI's decoder fails.
    """
    is_gpu = options.device.type == "cuda"
    clips = _drawn(videos, clip, crop)
    files = [file for one in clips if (file := _small_file(one, options.clear_cropping and is_gpu))]
    if not files:
        raise UserError("--decoder hybrid: no video of the list that was tried can be read; mend them")
    decoder, device_id = ("nvdec", options.device.index or 0) if is_gpu else ("dali", None)
    try:
        dali_rate = len(files) / time_files(files, decoder, threads=options.decoder_threads, device_id=device_id)
    except RuntimeError as error:
        raise UserError(f"--decoder hybrid: {decoder} fails ({last_line(error)}); use --decoder ffmpeg") from error
    # Threads stand for the workers: FFmpeg decodes without Python's lock.
    with ThreadPoolExecutor(options.workers) as pool:
        sum(pool.map(_decoded, clips[: options.workers]))
        started_s = time.perf_counter()
        ffmpeg_rate = sum(pool.map(_decoded, clips)) / (time.perf_counter() - started_s)
    share = round(min(max(dali_rate / (dali_rate + ffmpeg_rate), _LEAST), _MOST), 2)
    rates = f"{decoder} {dali_rate:.0f} clips/s, {options.workers} FFmpeg workers {ffmpeg_rate:.0f}"
    return Share(share, f"hybrid: {rates}; {decoder} takes {100 * share:.0f} % of the clips, as --hybrid-share {share:g} would")


def _drawn(videos: Videos, clip: Clip, crop: Crop) -> list[_Clip]:
    """Draws training clips of videos from all over a list."""
    plan = TrainPlan(videos=videos, clip=clip, crop=crop, seed=0, batch_size=1)
    places = np.linspace(0, len(videos) - 1, min(_CLIPS, len(videos))).astype(int)
    samples = [plan.draw(0, index) for index in places.tolist()]
    return [_Clip(Path(videos.file(one.index)), stored_of(videos, one.index), one.frames) for one in samples]


def _small_file(clip: _Clip, clear_cropping: bool) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
    try:
        return read_clip(clip.path, clip.frames, clip.stored, clear_cropping=clear_cropping)
    except DecodeError:  # a broken video is named when the run comes to it
        return None


def _decoded(clip: _Clip) -> int:
    try:
        decode_images(clip.path, np.unique(clip.frames), 1, clip.stored)
    except DecodeError:
        return 0
    return 1
