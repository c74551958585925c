"""From the data flags to videos that can be read, and to how they are read."""

import argparse
import dataclasses
import os
from typing import Literal, NamedTuple

import torch

from c2d_fast.errors import UserError, restart_hint
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.frame_sampling import Sampling
from c2d_fast.loading.hybrid import choose_by_rates, measure_rates, measure_share
from c2d_fast.loading.loader import LoaderOptions
from c2d_fast.loading.reading_options import ReadingOptions, complete, fitting_decoder
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Recipe
from c2d_fast.remote.range_cache import open_cache
from c2d_fast.training.blocking_sync import use_blocking_sync
from c2d_fast.training.distributed import Group
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, WaitPolicy

_NO_BAD, _ANY_BAD = (0.0, False), (100.0, True)


class Decoding(NamedTuple):
    """How a run that goes on has decoded a list."""

    decoder: str
    """Nothing where that is not known."""
    hybrid_share: float


NEW = Decoding("", 0.0)
"""Of a run that begins."""


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
    before: Decoding = NEW,
    sampling: Sampling | None = None,
    measures: Literal["", "faster", "shared"] = "",
) -> LoaderOptions:
    """Chooses the decoder for a list, looks whether it works here, says so in one line, and fills in what the flags leave open.

    Where NVDEC fits the list, auto goes by what both decoders do with some of its clips: on an H100 with 16 CPUs NVDEC by
    DALI was slower than FFmpeg with files as downloaded.

    Args:
        bad: the list's videos.
        args: of the command.
        device: of this rank.
        recipe: its clip and crop are what hybrid decoding is measured with.
        batch_size: the model's; training clips are decoded in multiples of it.
        group: of ranks, which all take the same decoder.
        before: where a run goes on. Auto takes the same again, and hybrid the same share.
        sampling: which frames are decoded of a video; None: the recipe's clip.
        measures: what auto takes where NVDEC fits: the faster of both, or both at once where that is worth it (shared); ""
            for NVDEC without measuring, where a few videos are read.

    Raises:
        UserError: the decoder asked for does not work here, on any rank.
    """
    group, clip = group or Group(), sampling or recipe.clip
    asked = ReadingOptions(
        device=device,
        decoder=args.decoder,
        workers=args.workers or 0,
        decoder_threads=args.decoder_threads or 0,
        decode_batch=getattr(args, "decode_batch", None) or 0,
        hybrid_share=args.hybrid_share or 0.0,
        whole_files=args.whole_files,
        cache=open_cache(args.cache, args.cache_gb),
        flags=frozenset(vars(args)),
        wait_policy=wait_policy_of(args),
    )
    decoder, reason = group.run_on_all(lambda: fitting_decoder(bad.manifest, asked))
    failed = next((text for name, text in group.all_gather_object((decoder, reason)) if name == "ffmpeg"), "")
    if failed and decoder != "ffmpeg":
        decoder, reason = "ffmpeg", f"another rank: {failed}"
    # The ranks of one machine share its CPUs.
    cpus = max(len(os.sched_getaffinity(0)) // group.local_world, 1)
    is_deterministic = getattr(args, "deterministic", False)
    share = args.hybrid_share or before.hybrid_share

    def fill_in(decoder: str, *, is_trial: bool = False) -> LoaderOptions:
        return complete(bad, asked, decoder, clip, batch_size=batch_size, cpus=cpus, is_trial=is_trial)

    if measures and (args.decoder, decoder) == ("auto", "nvdec"):
        if before.decoder:
            decoder, reason = before.decoder, "as the run has decoded it"
        elif not is_deterministic:  # which a choice by time would not be
            videos, options = bad.manifest.videos(), fill_in("hybrid", is_trial=True)
            rates = group.run_on_first(lambda: measure_rates(videos, clip, recipe.crop, options))
            decoder, reason = choose_by_rates(rates, shares=measures == "shared")
            share = rates.share if decoder == "hybrid" else 0.0
    print(f"decoder for {bad.manifest.listing.path}: {decoder} ({reason})")
    options = fill_in(decoder)
    if decoder != "hybrid":
        return options
    if not share and is_deterministic:
        raise UserError("--decoder hybrid: its share is measured, which --deterministic cannot have: give --hybrid-share S")
    if not share:
        measured = group.run_on_first(lambda: measure_share(bad.manifest.videos(), clip, recipe.crop, options))
        print(measured.line)
        share = measured.of_dali
    return dataclasses.replace(options, hybrid_share=share)


def choose_device() -> torch.device:
    """Returns this rank's CUDA GPU (the first for a single process), or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    use_blocking_sync(rank)
    return torch.device("cuda", rank)


def _jobs() -> int:
    return min(2 * len(os.sched_getaffinity(0)), 64)
