"""From the data flags to videos that can be read, and to how they are read."""

import argparse
import os

import numpy as np
import torch

from c2d_fast.bad_videos import BadVideos
from c2d_fast.decode import choose_decoder
from c2d_fast.listing import Listing
from c2d_fast.loader import LoaderOptions
from c2d_fast.manifest import read_manifest
from c2d_fast.plan import Videos

_NO_BAD, _ANY_BAD = (0.0, False), (100.0, True)
_DECODED_BYTES = 512 * 2**20  # of a batch of videos; DALI holds about three


def training_videos(listing: Listing, args: argparse.Namespace, limit: tuple[float, bool]) -> BadVideos:
    """Reads the manifest of a training list; broken videos are left out, up to the limit of --max-bad-videos."""
    manifest = read_manifest(listing, allow_missing=args.allow_missing, jobs=_jobs())
    bad = BadVideos(manifest, limit, "mend or remove them, or raise --max-bad-videos")
    bad.add_from_manifest(missing_count=False)
    return bad


def scored_videos(listing: Listing, args: argparse.Namespace) -> BadVideos:
    """Reads the manifest of a list that is scored: any broken video is an error unless --allow-missing."""
    manifest = read_manifest(listing, allow_missing=args.allow_missing, jobs=_jobs())
    limit = _ANY_BAD if args.allow_missing else _NO_BAD
    bad = BadVideos(manifest, limit, "mend or remove them, or score the others with --allow-missing", judged_at_end=True)
    bad.add_from_manifest(missing_count=True)
    return bad


def loader_options(bad: BadVideos, args: argparse.Namespace, device: torch.device, local_world: int = 1) -> LoaderOptions:
    """Chooses the decoder for a list, says so in one line, and fills in what the flags leave open."""
    decoder, reason = choose_decoder(args.decoder, bad.manifest, gpu=device.type == "cuda")
    print(f"decoder for {bad.manifest.listing.path}: {decoder} ({reason})")
    # The ranks of one machine share its CPUs.
    cpus = max(len(os.sched_getaffinity(0)) // local_world, 1)
    # nvdec's and dali's workers only read files; ffmpeg's decode.
    workers = {"ffmpeg": min(cpus, 16)}.get(decoder, min(cpus, 4))
    threads = {"ffmpeg": 1, "nvdec": 8, "dali": cpus}[decoder]
    return LoaderOptions(
        device=device,
        decoder=decoder,
        workers=args.workers or workers,
        decoder_threads=args.decoder_threads or threads,
        whole_files=args.whole_files,
    )


def videos_at_a_time(videos: Videos, frames_wanted: int, crop_pixels: int = 0) -> int:
    """Returns how many of the videos may be decoded together.

    Args:
        videos: the list's.
        frames_wanted: that the views of a video need; all are held, whole or as crops.
        crop_pixels: of all the crops of a frame.
    """
    frames = np.minimum(videos.num_frames, frames_wanted)
    pixels = np.maximum(videos.width * videos.height, crop_pixels)
    return max(int(_DECODED_BYTES // (frames * pixels * 3).max()), 1)


def choose_device() -> torch.device:
    """Returns this rank's CUDA GPU (the first for a single process), or the CPU where there is none."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def _jobs() -> int:
    return min(2 * len(os.sched_getaffinity(0)), 64)
