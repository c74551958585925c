"""What a scan has found, as tables for the user, and what it means for speed."""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast import console
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write, check_writable
from c2d_fast.formats.manifest_file import ManifestFile, read_manifest_file, table_path
from c2d_fast.formats.packet_table import REMEDY, TableError, open_table
from c2d_fast.tables import csv_cell
from c2d_fast.video.facts import DEPTHS, DTYPE

_ROWS = 8  # of a table; the rest is summed up
_GOPS = ((1, "1 (all-intra)"), (16, "2 to 16"), (64, "17 to 64"), (256, "65 to 256"))
_CLIP = (8, 8)  # frames, interval: what the figures about speed are worked out for
_SAMPLE, _FIRSTS = 500, 20_000  # videos, and of each first frames, that stand for all
_NAMED = 5  # files with several video streams


def run_show(args: argparse.Namespace) -> None:
    """Shows a manifest as the flags of `c2d_fast.prepare show` say.

    Raises:
        UserError: anything that the user can mend.
    """
    manifest = read_manifest_file(args.manifest)
    console.result("\n".join(report(manifest, named=len(manifest.videos))))
    if args.csv:
        check_writable(args.csv, "--csv")
        try:
            _write_csv(manifest, args.csv)
        except OSError as error:
            raise UserError(f"--csv {args.csv}: cannot be written ({error.strerror}); give another file") from error
        print(f"{len(manifest.videos)} videos written to {args.csv}")
    if table_path(args.manifest).exists():
        console.result(_table_state(manifest, table_path(args.manifest)))


def report(manifest: ManifestFile, named: int = 20) -> list[str]:
    """Returns lines for the user: what the videos are, which cannot be used and why, and what it means for speed.

    Args:
        manifest: what was found.
        named: broken videos to name.
    """
    good = np.array([not reason for reason in manifest.reasons], bool)
    facts = manifest.facts[good]
    by_depth = np.bincount(manifest.depth, minlength=len(DEPTHS))
    depths = ", ".join(f"{count} {name}" for name, count in zip(DEPTHS, by_depth, strict=True) if count)
    lines = [
        f"{f'{manifest.part} of ' if manifest.part else ''}list {manifest.list_path}, sha256 {manifest.list_sha256}",
        f"{len(good)} videos (depth: {depths}): {good.sum()} can be used, {(~good).sum()} cannot",
    ]
    if len(facts):
        sizes = [f"{width}x{height}" for width, height in zip(facts["width"].tolist(), facts["height"].tolist(), strict=True)]
        lines += _table("codec, pixel format", _joined(facts, "codec", "pix_fmt"))
        lines += _table("container", _joined(facts, "container"))
        lines += _table("width x height", sizes)
        lines += _table("longest GOP", [_gop(length) for length in facts["longest_gop"].tolist()])
        lines += _table("notable", _notable(facts), rows=20)
        lines += _several_streams(np.array(manifest.videos, object)[good], facts)
    broken = [(video, reason) for video, reason in zip(manifest.videos, manifest.reasons, strict=True) if reason]
    if broken:
        lines += _table("cannot be used", [re.sub(r"\d+", "N", reason) for _, reason in broken], rows=50)
        lines += [f"  {video}: {reason}" for video, reason in broken[:named]]
        if len(broken) > named:
            lines.append(f"  and {len(broken) - named} more: python -m c2d_fast.prepare show names them all")
    lines = list(map(on_one_line, lines))
    return lines + (["", "what it means for speed:", *_meaning(facts)] if len(facts) else [])


def frames_to_decode(num_frames: int, gop: float, clip_frames: int, interval: int, disposable: float = 0.0) -> float:
    """Returns how many frames are decoded for a random clip, on average over first frames.

    Args:
        num_frames: of the video.
        gop: frames from one place where decoding can begin to the next; num_frames where there is none.
        clip_frames: of the clip.
        interval: frames from one frame of the clip to the next.
        disposable: share of the frames that no other depends on: they are decoded where they are wanted only.
    """
    span = (clip_frames - 1) * interval + 1
    last = max(num_frames - span, 0)
    firsts = np.arange(last + 1) if last < _FIRSTS else np.linspace(0, last, _FIRSTS).astype(np.int64)
    wanted = np.minimum(firsts[:, None] + np.arange(clip_frames) * interval, num_frames - 1)
    group = np.floor(wanted / gop)
    is_last = np.concatenate([group[:, 1:] != group[:, :-1], np.ones((len(firsts), 1), bool)], 1)
    passed = float(((wanted - group * gop + 1) * is_last).sum(1).mean())
    return passed - max(passed - clip_frames, 0.0) * disposable


def _table_state(manifest: ManifestFile, path: Path) -> str:
    """Reads all of a packet table, and says whether it is what was written."""
    try:
        table = open_table(path, manifest.identity(), manifest.facts["packets"])
    except UserError as error:
        return f"warning: {error}"
    damaged = []
    for i, video in enumerate(tqdm(manifest.videos, unit="video", disable=not console.shows_bars(), leave=False)):
        try:
            table.read(i, int(manifest.size[i]))
        except TableError as error:
            damaged.append(f"{video} {error}")
    if damaged:
        return f"warning: {path}: is damaged: what it says of {damaged[0]} ({len(damaged)} videos in all); {REMEDY}"
    return f"packet table {path}: sound"


def _meaning(facts: NDArray[Any]) -> list[str]:
    sample = facts[:: max(len(facts) // _SAMPLE, 1)]
    frames = np.maximum(sample["frames"], 1)
    disposable = np.where(sample["entries"] > 0, np.maximum(sample["disposable"], 0) / frames, 0)
    gops = frames / np.maximum(sample["entries"], 1)
    each = [frames_to_decode(int(n), g, *_CLIP, d) for n, g, d in zip(frames, gops, disposable, strict=True)]
    lines = [
        f"- a clip of {_CLIP[0]} frames, {_CLIP[1]} apart, takes {np.mean(each):.0f} decoded frames on average, "
        f"{_CLIP[0]} at best: it is decoding that training from video waits for, and `prepare transcode` lowers it"
    ]
    whole = int((facts["entries"] == 0).sum())
    if whole:
        lines.append(
            f"- {whole} videos are read whole and decoded from their beginning: interlaced, or their packets do not tell which "
            "frames they become"
        )
    from_start = int(((facts["entries"] == 1) & (facts["key_frames"] > 1)).sum())
    if from_start:
        lines.append(f"- {from_start} videos are decoded from their beginning: their key frames are no safe place to start")
    off = int(((facts["coded_width"] != facts["width"]) | (facts["coded_height"] != facts["height"])).sum())
    if off:
        lines.append(
            f"- {off} videos are coded in a larger size than shown: DALI, by its source, makes a new NVDEC session each time"
        )
    distinct = len(np.unique(facts[["width", "height"]]))
    if distinct > 20:
        lines.append(
            f"- {distinct} different sizes: NVDEC's sessions can be used again for the same size only; transcoding leaves a few"
        )
    large = int((np.minimum(facts["width"], facts["height"]) > 320).sum())
    if large:
        lines.append(f"- {large} videos have a short side above 320: more pixels are decoded than any recipe here uses")
    unfit = int((~np.isin(facts["pix_fmt"], [b"yuv420p", b"yuvj420p"])).sum())
    if unfit:
        lines.append(f"- {unfit} videos are not 8 bits 4:2:0: with them in the list, NVDEC is not used")
    disordered = int((~facts["in_order"]).sum())
    if disordered:
        lines.append(f"- {disordered} videos would be numbered differently by DALI: with them in the list, NVDEC is not used")
    return lines


def _notable(facts: NDArray[Any]) -> list[str]:
    masks = {
        "B-frames": facts["reordered"],
        "with audio": facts["audio"],
        "variable frame rate": ~facts["constant_rate"],
        "turned by their container": facts["orientation"] != 0,
        "interlaced": facts["interlaced"],
        "pixels that are not square (read as if they were)": (facts["pixel_aspect"] != 0) & (facts["pixel_aspect"] != 1),
        "several video streams (FFmpeg's choice is read)": facts["video_streams"] > 1,
        "full range": facts["full_range"],
        "tagged BT.709": facts["matrix"] == 1,
        "other number of frames than the header says": (facts["promised_frames"] > 0)
        & (facts["promised_frames"] != facts["frames"]),
    }
    return [name for name, mask in masks.items() for _ in range(int(mask.sum()))]


def _several_streams(videos: NDArray[Any], facts: NDArray[Any]) -> list[str]:
    """Names the first files with a choice of streams: what is taken is FFmpeg's best, and need not be what its maker meant."""
    indices = np.flatnonzero(facts["video_streams"] > 1).tolist()
    lines = [
        f"  {videos[i]}: stream {facts['stream_index'][i]} is read, {facts['width'][i]}x{facts['height'][i]}, one of its "
        f"{facts['video_streams'][i]} video streams"
        for i in indices[:_NAMED]
    ]
    return (
        [""] * bool(lines)
        + lines
        + ([f"  and {len(indices) - _NAMED} more with several video streams"] if len(indices) > _NAMED else [])
    )


def _table(title: str, values: Iterable[str], rows: int = _ROWS) -> list[str]:
    counts = Counter(values)
    if not counts:
        return []
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = common[:rows]
    if len(common) > rows:
        shown.append((f"{len(common) - rows} others", sum(count for _, count in common[rows:])))
    return ["", f"  {title:<52} videos", *(f"  {name:<52} {count:>6}" for name, count in shown)]


def _joined(facts: NDArray[Any], *names: str) -> list[str]:
    return [", ".join(value.decode() for value in row) for row in zip(*(facts[name].tolist() for name in names), strict=True)]


def _gop(length: int) -> str:
    return next((text for limit, text in _GOPS if length <= limit), "above 256")


def _write_csv(manifest: ManifestFile, path: Path) -> None:
    names = list(DTYPE.names or ())
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "class", "size", "mtime_ns", "depth", "reason", *names])
        for i, video in enumerate(manifest.videos):
            label = int(manifest.labels[i])
            values = [value.decode() if isinstance(value, bytes) else value for value in manifest.facts[i].item()]
            row = [
                video, label, manifest.classes[label] if manifest.classes else "", manifest.size[i], manifest.mtime_ns[i],
                DEPTHS[manifest.depth[i]], manifest.reasons[i], *([""] * len(names) if manifest.reasons[i] else values),
            ]  # fmt: skip
            table.writerow(map(csv_cell, row))
