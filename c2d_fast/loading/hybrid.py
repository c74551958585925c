"""How fast each decoder is with a list, measured on some of its clips: the share of hybrid decoding, and what auto takes."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.loading.decode import SmallFile, decode_files, time_files
from c2d_fast.loading.frame_sampling import Sampling
from c2d_fast.loading.pipelines import LoaderOptions, error_summary
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.loading.source import stored_of
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import Clip, Crop
from c2d_fast.remote.remote_path import Location
from c2d_fast.video.packets import Stored
from c2d_fast.video.reader import DecodeError, decode_images, read_clip

_CLIPS = 32
_LEAST, _MOST = 0.05, 0.95
_WORTH_SHARING = 0.25
"""Share of the slower decoder from which auto has both work: at 0.26 an H100 and 16 CPUs gave 6 % more clips than the CPUs."""


class Rates(NamedTuple):
    """What has been measured."""

    decoder: str
    """DALI's: nvdec, or dali without a GPU."""
    of_dali: float
    """Clips a second; 0 where it decodes none of those that were tried."""
    workers: int
    of_ffmpeg: float
    """Clips a second of so many workers."""

    @property
    def share(self) -> float:
        """Returns the share of the clips that is DALI's where both work."""
        return round(min(max(self.of_dali / (self.of_dali + self.of_ffmpeg), _LEAST), _MOST), 2)

    @property
    def text(self) -> str:
        """Returns both rates, for the user."""
        return f"{self.decoder} {self.of_dali:.0f} clips/s, {self.workers} FFmpeg workers {self.of_ffmpeg:.0f}"


class HybridShare(NamedTuple):
    """What has been measured."""

    of_dali: float
    """Share of the clips that DALI's decoder takes."""
    line: str
    """For the user."""


class _Clip(NamedTuple):
    path: Location
    stored: Stored
    frames: NDArray[np.int64]


def measure_share(videos: Videos, clip: Clip | Sampling, crop: Crop, options: LoaderOptions) -> HybridShare:
    """Decodes some clips of a list with each decoder alone, and shares the work by their rates. Arguments as measure_rates.

    Raises:
        UserError: none of the videos tried can be read, or DALI's decoder fails.
    """
    rates = measure_rates(videos, clip, crop, options)
    if not rates.of_dali:
        raise UserError(
            f"--decoder hybrid: no video of the list that was tried is decoded by {rates.decoder}; use --decoder ffmpeg"
        )
    share = rates.share
    taken = f"{rates.decoder} takes {100 * share:.0f} % of the clips, as --hybrid-share {share:g} would"
    return HybridShare(share, f"hybrid: {rates.text}; {taken}")


def measure_rates(videos: Videos, clip: Clip | Sampling, crop: Crop, options: LoaderOptions) -> Rates:
    """Decodes some clips of a list with each decoder alone.

    Args:
        videos: the list's.
        clip: which frames make a clip.
        crop: of the recipe.
        options: with hybrid as the decoder, and its workers and threads.
    """
    is_gpu = options.device.type == "cuda"
    clips = _drawn(videos, clip, crop, whole_files=options.whole_files)
    files = [file for one in clips if (file := _small_file(one, options.clear_cropping and is_gpu))]
    decoder, device_id = ("nvdec", options.device.index or 0) if is_gpu else ("dali", None)
    how: dict[str, Any] = {"decoder": decoder, "threads": options.decoder_threads, "device_id": device_id}
    dali_rate = _rate(files, how)
    if not dali_rate:  # a video may be broken, and take the others along
        dali_rate = _rate([file for file in files if not _problem(file, how)], how)
    # Threads stand for the workers: FFmpeg decodes without Python's lock.
    with ThreadPoolExecutor(options.workers) as pool:
        sum(pool.map(_decoded, clips[: options.workers]))
        started_s = time.perf_counter()
        ffmpeg_rate = sum(pool.map(_decoded, clips)) / (time.perf_counter() - started_s)
    return Rates(decoder, dali_rate, options.workers, ffmpeg_rate)


def choose_by_rates(rates: Rates, *, shares: bool) -> tuple[str, str]:
    """Chooses what auto takes of two decoders that both fit a list.

    Args:
        rates: of both.
        shares: whether both may work at once (hybrid). Scores name one decoder.

    Returns:
        nvdec (without a GPU: dali), ffmpeg or hybrid, and the reason, for the user.
    """
    if shares and rates.of_dali and _WORTH_SHARING <= rates.share <= 1 - _WORTH_SHARING:
        return "hybrid", rates.text
    return (rates.decoder if rates.of_dali > rates.of_ffmpeg else "ffmpeg"), rates.text


def _drawn(videos: Videos, clip: Clip | Sampling, crop: Crop, *, whole_files: bool) -> list[_Clip]:
    """Draws training clips of videos from all over a list."""
    plan = TrainPlan(videos=videos, clip=clip, crop=crop, seed=0, batch_size=1)
    there = np.flatnonzero(videos.num_frames > 0)  # a resumed run keeps the places of those that are gone
    chosen = there[np.linspace(0, len(there) - 1, min(_CLIPS, len(there))).astype(int)]
    samples = [plan.draw(0, index) for index in chosen.tolist()]
    stored = [stored_of(videos, one.index, whole_files=whole_files) for one in samples]
    return [_Clip(videos.location(s.index), how, s.frames) for s, how in zip(samples, stored, strict=True)]


def _small_file(clip: _Clip, clear_cropping: bool) -> SmallFile | None:
    try:
        return read_clip(clip.path, clip.frames, clip.stored, clear_cropping=clear_cropping)
    except DecodeError:  # a broken video is named when the run comes to it
        return None


def _rate(files: list[SmallFile], how: dict[str, Any]) -> float:
    """Returns how many of the files DALI decodes a second, together; 0 where it fails."""
    try:
        return len(files) / time_files(files, **how) if files else 0.0
    except RuntimeError:
        return 0.0


def _problem(file: SmallFile, how: dict[str, Any]) -> str:
    try:
        decode_files([file], **how)
    except RuntimeError as error:
        return error_summary(error)
    return ""


def _decoded(clip: _Clip) -> int:
    try:
        decode_images(clip.path, np.unique(clip.frames), 1, clip.stored)
    except DecodeError:
        return 0
    return 1
