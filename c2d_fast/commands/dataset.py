"""From the data flags to videos that can be read, and to how they are read."""

import argparse
import dataclasses
import os

import numpy as np
import torch

from c2d_fast.errors import UserError, restart_hint
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.decode import choose_decoder
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.hybrid import measure_share
from c2d_fast.loading.loader import LoaderOptions
from c2d_fast.loading.loader_defaults import decode_batch_size, num_threads, num_workers, workers_in_memory
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import Manifest, read_manifest
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import Recipe
from c2d_fast.training.blocking_sync import use_blocking_sync
from c2d_fast.training.distributed import Group
from c2d_fast.video.crops import SCALED_ABOVE, can_scale, why_no_opencv
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, WaitPolicy

_NO_BAD, _ANY_BAD = (0.0, False), (100.0, True)
_DECODED_BYTES = 512 * 2**20  # of a batch of videos; DALI and the workers' shared memory hold about five


def training_videos(
    listing: Listing, args: argparse.Namespace, limit: tuple[float, bool], *, is_resumed: bool = False
) -> BadVideos:
    """Reads the manifest of a training list; broken videos are left out, up to the limit of --max-bad-videos.

    Where a run goes on, missing ones are waited for first, and then likewise.
    """
    allow_missing, wait_policy = args.allow_missing, wait_policy_of(args)
    manifest = read_manifest(listing, allow_missing=allow_missing, jobs=_jobs(), wait_policy=wait_policy, is_resumed=is_resumed)
    bad = BadVideos(manifest, limit, "mend or remove them, or raise --max-bad-videos")
    bad.add_from_manifest(count_missing=is_resumed and not allow_missing)
    return bad


def wait_policy_of(args: argparse.Namespace) -> WaitPolicy:
    """Returns how long a command waits for a storage: training as long as for anything else (--stall-minutes)."""
    stall_minutes = getattr(args, "stall_minutes", None)
    return WaitPolicy(60 * stall_minutes, restart_hint(vars(args).keys())) if stall_minutes else DEFAULT_WAIT_POLICY


def scored_videos(listing: Listing, args: argparse.Namespace, *, is_resumed: bool = False) -> BadVideos:
    """Reads the manifest of a list that is scored: any broken video is an error unless --allow-missing."""
    allow_missing, wait_policy = args.allow_missing, wait_policy_of(args)
    manifest = read_manifest(listing, allow_missing=allow_missing, jobs=_jobs(), wait_policy=wait_policy, is_resumed=is_resumed)
    limit = _ANY_BAD if args.allow_missing else _NO_BAD
    bad = BadVideos(manifest, limit, "mend or remove them, or score the others with --allow-missing", check_at_end=True)
    bad.add_from_manifest(count_missing=True)
    return bad


def loader_options(
    bad: BadVideos,
    args: argparse.Namespace,
    device: torch.device,
    recipe: Recipe,
    *,
    batch_size: int,
    group: Group | None = None,
    known_share: float | None = None,
) -> LoaderOptions:
    """Chooses the decoder for a list, looks whether it works here, says so in one line, and fills in what the flags leave open.

    Args:
        bad: the list's videos.
        args: of the command.
        device: of this rank.
        recipe: its clip is what hybrid decoding is measured with.
        batch_size: the model's; training clips are decoded in multiples of it.
        group: of ranks, which all take the same decoder.
        known_share: of hybrid decoding, where a run that goes on has one.

    Raises:
        UserError: the decoder asked for does not work here, on any rank.
    """
    group = group or Group()
    decoder, reason = group.run_on_all(lambda: _decoder(bad.manifest, args, device))
    failed = next((text for name, text in group.all_gather_object((decoder, reason)) if name == "ffmpeg"), "")
    if failed and decoder != "ffmpeg":
        decoder, reason = "ffmpeg", f"another rank: {failed}"
    print(f"decoder for {bad.manifest.listing.path}: {decoder} ({reason})")
    if decoder == "ffmpeg" and device.type == "cpu" and (why := why_no_opencv()):
        print(f"note: {why}: the crops are cut by DALI's graph, which takes longer")
    videos = bad.manifest.videos()
    # The ranks of one machine share its CPUs.
    cpus = max(len(os.sched_getaffinity(0)) // group.local_world, 1)
    workers = num_workers(decoder, cpus, has_table=bool(videos.packet_table))
    if decoder in ("ffmpeg", "hybrid") and (fitting := workers_in_memory(videos.width * videos.height, workers)) < workers:
        workers = fitting
        if not args.workers:
            print(f"note: {workers} workers: the frames of so large videos that more would decode at once take too much memory")
    clip_bytes = int(recipe.clip.num_frames * 3 * (videos.width * videos.height).mean())
    on_gpu = device.type == "cuda"
    together = getattr(args, "decode_batch", None) or (decode_batch_size(decoder, batch_size, clip_bytes) if on_gpu else 0)
    options = LoaderOptions(
        device=device,
        decoder=decoder,
        workers=args.workers or workers,
        decoder_threads=args.decoder_threads or num_threads(decoder, cpus, together or batch_size),
        whole_files=args.whole_files,
        clear_cropping=not args.whole_files,  # a whole file's stays, and there must be one kind only
        decode_batch=together,
        flags=frozenset(vars(args)),
        wait_policy=wait_policy_of(args),
    )
    if decoder != "hybrid":
        return options
    share = args.hybrid_share or known_share
    if not share and getattr(args, "deterministic", False):
        raise UserError("--decoder hybrid: its share is measured, which --deterministic cannot have: give --hybrid-share S")
    if not share:
        measured = group.run_on_first(lambda: measure_share(videos, recipe.clip, recipe.crop, options))
        print(measured.line)
        share = measured.of_dali
    return dataclasses.replace(options, hybrid_share=share)


def _decoder(manifest: Manifest, args: argparse.Namespace, device: torch.device) -> tuple[str, str]:
    """Returns the decoder, once a clip of the list has been decoded with it, and the reason."""
    if args.hybrid_share and args.decoder != "hybrid":
        raise UserError(f"--hybrid-share {args.hybrid_share:g}: is of --decoder hybrid, not {args.decoder}; leave it out")
    on_gpu = device.type == "cuda"
    decoder, reason = choose_decoder(args.decoder, manifest, gpu=on_gpu, whole_files=args.whole_files)
    if decoder == "ffmpeg":
        return decoder, reason
    name = "nvdec" if on_gpu and decoder != "dali" else "dali"
    problem = check_decoder(manifest.videos(), name, device, whole_files=args.whole_files)
    if not problem:
        return decoder, reason
    if args.decoder == "auto":
        return "ffmpeg", f"{name} fails its check: {problem}"
    raise UserError(f"--decoder {args.decoder}: {name} fails its check: {problem}; use --decoder auto or ffmpeg")


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
    frames, pixels = np.minimum(videos.num_frames, frames_wanted), videos.width * videos.height
    if decoder == "ffmpeg" and short_side and can_scale():
        scaled = pixels * (short_side / np.minimum(videos.width, videos.height)) ** 2
        pixels = np.where(3 * frames * pixels > SCALED_ABOVE, np.minimum(pixels, scaled), pixels)
    return max(int(_DECODED_BYTES // (frames * np.maximum(pixels, crop_pixels) * 3).max()), 1)


def scored_at_a_time(videos: Videos, recipe: Recipe, num_clips: int, options: LoaderOptions) -> int:
    """Returns how many videos may be decoded together that are scored by so many clips each."""
    crops, side = (1, recipe.crop.train_short_side) if num_clips == 1 else (3, recipe.crop.test_short_side)
    crop_pixels = crops * recipe.crop.size**2
    frames = num_clips * recipe.clip.num_frames
    return videos_at_a_time(videos, frames, crop_pixels, decoder=options.decoder, short_side=side)


def choose_device() -> torch.device:
    """Returns this rank's CUDA GPU (the first for a single process), or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    use_blocking_sync(rank)
    return torch.device("cuda", rank)


def _jobs() -> int:
    return min(2 * len(os.sched_getaffinity(0)), 64)
