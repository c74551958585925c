"""What `prepare transcode` says: how much room it needs, and what has become of the videos."""

import argparse
import shutil
from collections import Counter

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.prepare.encode import EncodeItem, target_size
from c2d_fast.prepare.scan import ScanItem, examine_one
from c2d_fast.prepare.transcode_job import TranscodeJob
from c2d_fast.processes.children import LostItem, run_in_children
from c2d_fast.video.facts import Facts

DEFAULT_CRF = {"h264": 20, "hevc": 23}
# Bits for each pixel of each frame at the default crf, as measured on busy real clips: (codec, all-intra).
_BITS = {("h264", False): 0.43, ("h264", True): 0.57, ("hevc", False): 0.29, ("hevc", True): 0.66}
_SAMPLE = 40
_SHOWN = 20


def check_space(job: TranscodeJob, items: list[EncodeItem], args: argparse.Namespace) -> None:
    """Compares the free space with an estimate of what is needed, from a sample of the videos."""
    if not items:
        return
    sample = items[:: max(len(items) // _SAMPLE, 1)][:_SAMPLE]
    looked = [ScanItem(item.video, item.source, "packets", False) for item in sample]
    found = run_in_children(examine_one, looked, jobs=min(args.jobs, len(looked)), time_limit_s=args.time_limit)
    facts = [Facts(*result.facts) for _, result in found if not isinstance(result, LostItem) and result.facts]
    settings = job.settings
    bits = _BITS[settings.codec, settings.gop == 1] * 2 ** ((DEFAULT_CRF[settings.codec] - settings.crf) / 6)
    sizes = [one.frames * np.prod(target_size(one.width, one.height, settings.short_side)) * bits / 8 for one in facts]
    needed = float(np.mean(sizes)) * len(items) if sizes else 0.0
    if job.out.local != job.out.out:
        print(f"{len(items)} videos to do; they may take about {needed / 1e9:.2f} GB in {job.folder}")
        return
    free = shutil.disk_usage(job.out.local).free
    print(f"{len(items)} videos to do; they may take about {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free")
    if free < needed and not args.no_space_check:
        raise UserError(
            f"--out {args.out}: {free / 1e9:.2f} GB are free, and about {needed / 1e9:.2f} GB are needed (an estimate); make "
            "room, give another folder, or go on with --no-space-check"
        )


def summary(job: TranscodeJob, known: int) -> list[str]:
    """Returns lines for the user: what was made, and what could not be.

    Args:
        job: that is done.
        known: videos that an earlier command has looked at.
    """
    good = {video: result for video, result in job.done.items() if not result.reason}
    failed = {video: result.reason for video, result in job.done.items() if result.reason}
    before, after = (sum(getattr(result, name)[0] for result in good.values()) for name in ("source", "target"))
    frames = sum(Facts(*result.facts).frames for result in good.values())
    sizes = Counter(
        "{}x{}".format(*target) for target in ((f.width, f.height) for f in (Facts(*r.facts) for r in good.values()))
    )
    lines = [
        f"{len(good)} videos of {frames} frames are in {job.folder}, {known} videos were looked at before",
        f"bytes: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now ({after / max(before, 1):.2f}x)",
        "sizes: " + ", ".join(f"{size} ({count})" for size, count in sizes.most_common()),
    ]
    if failed:
        lines.append(f"failed: {len(failed)} videos; python -m c2d_fast.prepare show names them all")
        lines += [f"  {video}: {reason}" for video, reason in list(failed.items())[:_SHOWN]]
    return lines
