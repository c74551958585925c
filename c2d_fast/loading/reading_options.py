"""How a list is read on this machine: which decoder, and what the user leaves open."""

import dataclasses
import os
from dataclasses import dataclass

import numpy as np
import torch

from c2d_fast.errors import UserError
from c2d_fast.loading.decode import choose_decoder
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.frame_sampling import Sampling
from c2d_fast.loading.hybrid import choose_by_rates, measure_rates, measure_share
from c2d_fast.loading.loader_defaults import decode_batch_size, num_threads, num_workers, workers_in_memory
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.loading.plan import EvalPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import Manifest
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import Clip, Crop
from c2d_fast.remote.range_cache import open_cache
from c2d_fast.video.crops import SCALED_ABOVE, can_scale, why_no_opencv
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, WaitPolicy

DECODERS = ("auto", "nvdec", "dali", "ffmpeg", "hybrid")
_LOOKED_AT = 2**18  # videos at a time
_MOST_LOOKED_AT = 1024  # of the largest: more than there may be workers
_DECODED_BYTES = 512 * 2**20  # of a batch of videos; DALI and the workers' shared memory hold about five


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """What the user says of reading; 0 is left open."""

    device: torch.device
    decoder: str = "auto"
    """auto, nvdec, dali, ffmpeg or hybrid."""
    workers: int = 0
    decoder_threads: int = 0
    decode_batch: int = 0
    hybrid_share: float = 0.0
    whole_files: bool = False
    cache: tuple[str, int] = ("", 0)
    """Of range_cache.open_cache."""
    flags: frozenset[str] = frozenset()
    """Of the command, as in LoaderOptions."""
    wait_policy: WaitPolicy = DEFAULT_WAIT_POLICY


def fitting_decoder(manifest: Manifest, asked: ReadingOptions) -> tuple[str, str]:
    """Returns the decoder, once a clip of the list has been decoded with it, and the reason.

    Raises:
        UserError: the decoder asked for does not work here.
    """
    if asked.hybrid_share and asked.decoder != "hybrid":
        raise UserError(f"--hybrid-share {asked.hybrid_share:g}: is of --decoder hybrid, not {asked.decoder}; leave it out")
    on_gpu = asked.device.type == "cuda"
    decoder, reason = choose_decoder(asked.decoder, manifest, gpu=on_gpu, whole_files=asked.whole_files)
    if decoder == "ffmpeg":
        return decoder, reason
    name = "nvdec" if on_gpu and decoder != "dali" else "dali"
    problem = check_decoder(manifest.videos(), name, asked.device, whole_files=asked.whole_files)
    if not problem:
        return decoder, reason
    if asked.decoder == "auto":
        return "ffmpeg", f"{name} fails its check: {problem}"
    raise UserError(f"--decoder {asked.decoder}: {name} fails its check: {problem}; use --decoder auto or ffmpeg")


def complete(
    bad: BadVideos,
    asked: ReadingOptions,
    decoder: str,
    sampling: Clip | Sampling,
    *,
    batch_size: int,
    cpus: int,
    is_trial: bool = False,
) -> LoaderOptions:
    """Fills in what is left open, but for the share of hybrid decoding.

    Args:
        bad: the list's videos.
        asked: what the user says.
        decoder: from fitting_decoder.
        sampling: which frames are decoded of a video.
        batch_size: the model's; training clips are decoded in multiples of it.
        cpus: that this rank may use.
        is_trial: say nothing, since the decoder is only measured.
    """
    if decoder == "ffmpeg" and asked.device.type == "cpu" and (why := why_no_opencv()):
        print(f"note: {why}: the crops are cut by DALI's graph, which takes longer")
    videos = bad.manifest.videos()
    if asked.cache[0] and not videos.has_remote and not is_trial:
        print(f"note: --cache {asked.cache[0]}: is not used, all videos are on this machine's disks")
    largest, mean = _pixels(videos, _MOST_LOOKED_AT)
    workers = num_workers(decoder, cpus, has_table=bool(videos.packet_table))
    if decoder in ("ffmpeg", "hybrid") and (fitting := workers_in_memory(largest, workers)) < workers:
        workers = fitting
        if not asked.workers and not is_trial:
            print(f"note: {workers} workers: the frames of so large videos that more would decode at once take too much memory")
    clips = sampling.num_clips if not isinstance(sampling, Clip) else 1
    clip_bytes = int(clips * sampling.num_frames * 3 * mean)
    together = asked.decode_batch
    if not together and asked.device.type == "cuda":
        together = decode_batch_size(decoder, batch_size, clip_bytes)
    return LoaderOptions(
        device=asked.device,
        decoder=decoder,
        workers=asked.workers or workers,
        decoder_threads=asked.decoder_threads or num_threads(decoder, cpus, together or batch_size),
        whole_files=asked.whole_files,
        clear_cropping=not asked.whole_files,  # a whole file's stays, and there must be one kind only
        decode_batch=together,
        hybrid_share=asked.hybrid_share,
        cache=asked.cache,
        flags=asked.flags,
        wait_policy=asked.wait_policy,
    )


def choose_options(
    bad: BadVideos,
    device: str | torch.device | None,
    decoder: str,
    workers: int,
    sampling: Sampling,
    crop: Crop,
    batch_size: int,
    cache: tuple[str | os.PathLike[str] | None, float | None],
) -> LoaderOptions:
    """Chooses how a list is read by a process that is not one of the commands, and says so in a line.

    Args:
        bad: the list's videos.
        device: where batches are made; None: the current CUDA GPU, or the CPU where there is none.
        decoder: auto, nvdec, dali, ffmpeg or hybrid.
        workers: processes that read; 0: by the machine.
        sampling: which frames make a clip.
        crop: what of them is seen.
        batch_size: the model's.
        cache: the folder that keeps parts of remote videos and its size, as range_cache.open_cache takes them.

    Raises:
        UserError: the decoder or the device asked for does not work here.
    """
    if decoder not in DECODERS:
        raise UserError(f"--decoder {decoder}: must be one of {', '.join(DECODERS)}")
    asked = ReadingOptions(device=_device(device), decoder=decoder, workers=workers, cache=open_cache(*cache))
    decoder, reason = fitting_decoder(bad.manifest, asked)
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # the ranks of one machine share its CPUs
    cpus = max(len(os.sched_getaffinity(0)) // local_world, 1)
    if (asked.decoder, decoder) == ("auto", "nvdec"):
        hybrid = complete(bad, asked, "hybrid", sampling, batch_size=batch_size, cpus=cpus, is_trial=True)
        rates = measure_rates(bad.manifest.videos(), sampling, crop, hybrid)
        decoder, reason = choose_by_rates(rates, shares=False)
    print(f"decoder for {bad.manifest.listing.path}: {decoder} ({reason})")
    options = complete(bad, asked, decoder, sampling, batch_size=batch_size, cpus=cpus)
    if decoder != "hybrid":
        return options
    measured = measure_share(bad.manifest.videos(), sampling, crop, options)
    print(measured.line)
    return dataclasses.replace(options, hybrid_share=measured.of_dali)


def _device(given: str | torch.device | None) -> torch.device:
    if given is None:
        given = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(given)
    except RuntimeError as error:
        raise UserError(f"device={str(given)!r}: must be cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={str(given)!r}: must be cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={str(given)!r}: there is no CUDA GPU here; take cpu")
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device


def videos_at_a_time(
    videos: Videos, frames_wanted: int, crop_pixels: int = 0, *, decoder: str = "", short_side: int = 0
) -> int:
    """Returns how many of the videos may be decoded together.

    Args:
        videos: the list's.
        frames_wanted: that the views of a video need; all are held, whole or as crops.
        crop_pixels: of all the crops of a frame.
        decoder: with ffmpeg the workers scale the frames of large videos before any is held.
        short_side: that these are scaled to, in pixels.
    """
    most = 1.0
    for first in range(0, len(videos), _LOOKED_AT):
        part = slice(first, first + _LOOKED_AT)
        frames = np.minimum(videos.num_frames[part].astype(np.int64), frames_wanted)
        width, height = videos.width[part].astype(np.int64), videos.height[part]
        pixels = width * height
        if decoder == "ffmpeg" and short_side and can_scale():
            scaled = pixels * (short_side / np.minimum(width, height)) ** 2
            pixels = np.where(3 * frames * pixels > SCALED_ABOVE, np.minimum(pixels, scaled), pixels)
        most = max(most, (frames * np.maximum(pixels, crop_pixels) * 3).max())
    return max(int(_DECODED_BYTES // most), 1)


def _pixels(videos: Videos, count: int) -> tuple[list[int], float]:
    """Returns the pixels of a frame of the largest so many of the videos, and the mean of all."""
    largest, total = np.zeros(0, np.int64), 0
    for first in range(0, len(videos), _LOOKED_AT):
        part = slice(first, first + _LOOKED_AT)
        pixels = videos.width[part].astype(np.int64) * videos.height[part]
        total += int(pixels.sum())
        largest = np.sort(np.concatenate([largest, pixels]))[-count:]
    return largest.tolist(), total / len(videos)


def scored_at_a_time(plan: EvalPlan, decoder: str) -> int:
    """Returns how many videos may be decoded together that are scored by a plan's clips and crops: not more than a rank has."""
    frames, pixels = plan.num_clips * plan.sampling.num_frames, plan.num_crops * plan.crop.size**2
    of_rank = -(-len(plan.videos) // plan.world)
    return min(videos_at_a_time(plan.videos, frames, pixels, decoder=decoder, short_side=plan.short_side), of_rank)
