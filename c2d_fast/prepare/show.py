"""What a scan has found, as tables for the user, and what it means for speed."""

import argparse
import csv
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast import console
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write, check_writable
from c2d_fast.formats.manifest_file import ManifestFile, read_narrow, table_path
from c2d_fast.formats.packet_table import REMEDY, TableError, open_table
from c2d_fast.formats.texts import are_empty, chosen
from c2d_fast.prepare.show_plots import write_plots
from c2d_fast.prepare.tallies import Tallies, class_name, count
from c2d_fast.tables import csv_cell
from c2d_fast.video.facts import DEPTHS, DTYPE

_ROWS = 8  # of a table; the rest is summed up
_CLIP = (8, 8)  # frames, interval: what the figures about speed are worked out for
_FIRSTS = 20_000  # first frames of a video that stand for all
_NAMED = 5  # files with several video streams, and classes without a video


def run_show(args: argparse.Namespace) -> None:
    """Shows a manifest as the flags of `c2d_fast.prepare show` say.

    Raises:
        UserError: anything that the user can mend.
    """
    manifest, identity = read_narrow(args.manifest, with_identity=table_path(args.manifest).exists())
    console.result("\n".join(report(manifest, named=len(manifest.videos))))
    if args.csv:
        check_writable(args.csv, "--csv")
        try:
            _write_csv(manifest, args.csv)
        except OSError as error:
            raise UserError(f"--csv {args.csv}: cannot be written ({error.strerror}); give another file") from error
        print(f"{len(manifest.videos)} videos written to {args.csv}")
    if args.png:
        check_writable(args.png, "--png")
        try:
            write_plots(manifest, args.png)
        except OSError as error:
            raise UserError(f"--png {args.png}: cannot be written ({error.strerror}); give another file") from error
        print(f"plots written to {args.png}")
    if identity:
        console.result(_table_state(manifest, identity, table_path(args.manifest)))


def report(manifest: ManifestFile, named: int = 20) -> list[str]:
    """Returns lines for the user: what the videos are, which cannot be used and why, and what it means for speed.

    Args:
        manifest: what was found.
        named: broken videos to name.
    """
    good = are_empty(manifest.reasons)
    tallies = count(manifest, good)
    by_depth = np.bincount(manifest.depth, minlength=len(DEPTHS))
    depths = ", ".join(f"{number} {name}" for name, number in zip(DEPTHS, by_depth, strict=True) if number)
    lines = [
        f"{f'{manifest.part} of ' if manifest.part else ''}list {manifest.list_path}, sha256 {manifest.list_sha256}",
        f"{len(good)} videos (depth: {depths}): {good.sum()} can be used, {(~good).sum()} cannot",
    ]
    if tallies.videos:
        lines += ["", *_several_labels(manifest, good, tallies), *_balance(manifest, tallies.classes)]
        lines += _table("codec, pixel format", tallies.codecs)
        lines += _table("container", tallies.containers)
        lines += _table("width x height", tallies.size_names())
        lines += _table("longest GOP", tallies.gops)
        lines += _table("notable", tallies.notable, rows=20)
        lines += _several_streams(manifest, tallies.several_streams)
    broken = np.flatnonzero(~good)
    if len(broken):
        reasons = chosen(manifest.reasons, broken)
        lines += _table("cannot be used", Counter(re.sub(r"\d+", "N", reason) for reason in reasons), rows=50)
        lines += [f"  {manifest.videos[row]}: {reasons[i]}" for i, row in enumerate(broken[:named].tolist())]
        if len(broken) > named:
            lines.append(f"  and {len(broken) - named} more: python -m c2d_fast.prepare show names them all")
    lines = list(map(on_one_line, lines))
    return lines + (["", "what it means for speed:", *_meaning(manifest, tallies)] if tallies.videos else [])


def _several_labels(manifest: ManifestFile, good: NDArray[np.bool_], tallies: Tallies) -> list[str]:
    """Says how many labels the usable videos have, where it is not one each."""
    if manifest.label_sets is None:
        return []
    none = int((manifest.label_sets.lengths[good] == 0).sum())
    shares = " (some are shares)" if (manifest.label_sets.weights < 1).any() else ""
    return [f"{tallies.labels} labels{shares}, {tallies.labels / tallies.videos:.2f} a video; {none} videos have none"]


def _balance(manifest: ManifestFile, classes: dict[int, int]) -> list[str]:
    """Says how evenly the usable videos are spread over the classes."""
    if not classes:
        return ["no class has a video: none of the videos has a label"]
    most, least = (choose(classes.items(), key=lambda item: (item[1], -item[0])) for choose in (max, min))
    known = len(manifest.classes) if manifest.classes else max(classes) + 1
    names = [class_name(manifest, label) for label in (most[0], least[0])]
    lines = [
        f"{len(classes)} classes have videos: most {names[0]} ({most[1]}), fewest {names[1]} ({least[1]}), "
        f"{most[1] / least[1]:.1f} to 1"
    ]
    if known > len(classes):
        some = list(itertools.islice((label for label in range(known) if label not in classes), _NAMED))
        more = ", ..." if known - len(classes) > _NAMED else ""
        listed = ", ".join(class_name(manifest, label) for label in some)
        lines.append(f"{known - len(classes)} classes have no video that can be used: {listed}{more}")
    return lines


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


def _table_state(manifest: ManifestFile, identity: str, path: Path) -> str:
    """Reads all of a packet table, and says whether it is what was written."""
    try:
        table = open_table(path, identity, manifest.facts["packets"])
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


def _meaning(manifest: ManifestFile, tallies: Tallies) -> list[str]:
    sample = manifest.facts[tallies.sample]
    frames = np.maximum(sample["frames"].astype(np.int64), 1)
    disposable = np.where(sample["entries"] > 0, np.maximum(sample["disposable"], 0) / frames, 0)
    gops = frames / np.maximum(sample["entries"], 1)
    each = [frames_to_decode(int(n), g, *_CLIP, d) for n, g, d in zip(frames, gops, disposable, strict=True)]
    lines = [
        f"- a clip of {_CLIP[0]} frames, {_CLIP[1]} apart, takes {np.mean(each):.0f} decoded frames on average, "
        f"{_CLIP[0]} at best: it is decoding that training from video waits for, and `prepare transcode` lowers it"
    ]
    return lines + [f"- {number} {text}" for text, number in tallies.costly() if number]


def _several_streams(manifest: ManifestFile, rows: list[int]) -> list[str]:
    """Names the first files with a choice of streams: what is taken is FFmpeg's best, and need not be what its maker meant."""
    shown = [(row, manifest.facts[row]) for row in rows[:_NAMED]]
    lines = [
        f"  {manifest.videos[row]}: stream {facts['stream_index']} is read, {facts['width']}x{facts['height']}, one of its "
        f"{facts['video_streams']} video streams"
        for row, facts in shown
    ]
    return (
        [""] * bool(lines)
        + lines
        + ([f"  and {len(rows) - _NAMED} more with several video streams"] if len(rows) > _NAMED else [])
    )


def _table(title: str, counts: Mapping[str, int], rows: int = _ROWS) -> list[str]:
    if not counts:
        return []
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = common[:rows]
    if len(common) > rows:
        shown.append((f"{len(common) - rows} others", sum(count for _, count in common[rows:])))
    return ["", f"  {title:<52} videos", *(f"  {name:<52} {count:>6}" for name, count in shown)]


def _write_csv(manifest: ManifestFile, path: Path) -> None:
    columns, sets = list(DTYPE.names or ()), manifest.label_sets
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "class", "size", "mtime_ns", "depth", "reason", *columns])
        for i, (video, reason) in enumerate(zip(manifest.videos, manifest.reasons, strict=True)):
            labels = [int(manifest.labels[i])] if sets is None else [label for label, _ in sets.of(i)]
            label = labels[0] if sets is None else sets.text(i) if labels else ""
            names = ";".join(manifest.classes[label] for label in labels) if manifest.classes else ""
            values = [value.decode() if isinstance(value, bytes) else value for value in manifest.facts[i].item()]
            row = [
                video, label, names, manifest.size[i], manifest.mtime_ns[i],
                DEPTHS[manifest.depth[i]], reason, *([""] * len(columns) if reason else values),
            ]  # fmt: skip
            table.writerow(map(csv_cell, row))
