"""What reading a list's clips from its server takes: requests and bytes of a clip, as computed and as measured now."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.lists.listing import read_list
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.loading.source import ClipSource
from c2d_fast.loading.worker_pool import ASKED_AHEAD
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import Clip, Crop
from c2d_fast.remote import event_loop, ranges
from c2d_fast.remote.remote_path import RemotePath
from c2d_fast.video.packets import table_rows

_COMPUTED, _MEASURED = 448, 64  # clips
Parts = list[tuple[int, int]]


def list_facts(path: str, root: str | None, clip: Clip) -> dict[str, Any]:
    """Returns what a manifest's list takes to read, as plain values; of remote videos some clips are read for it.

    Args:
        path: of the manifest, or its URL.
        root: the data root, or its URL; None: the manifest's.
        clip: which frames are read.

    Raises:
        UserError: it is no manifest, or cannot be read.
    """
    listing = read_list(path, root, None)
    if listing.scanned is None:
        raise UserError(f"--list {path}: is no manifest; make one with python -m c2d_fast.prepare scan --packets")
    videos = read_manifest(listing, allow_missing=True, jobs=1).videos()
    facts: dict[str, Any] = {"path": str(listing.path), "root": str(listing.root), "videos": len(videos)}
    facts |= {"remote": videos.has_remote, "packet_table": bool(videos.packet_table)}
    facts["bytes_per_video"] = round(float(videos.sizes.mean())) if len(videos) else 0
    if not videos.packet_table or not len(videos):
        return facts
    wanted = parts_of_clips(videos, clip, _COMPUTED)
    facts["requests_per_clip"] = float(np.mean([len(parts) for _, parts in wanted]))
    facts["bytes_per_clip"] = float(np.mean([sum(end - start for start, end in parts) for _, parts in wanted]))
    remote = [(path, parts) for path, parts in wanted[:: _COMPUTED // _MEASURED] if isinstance(path, RemotePath)]
    return facts | (_measured(remote) if remote else {})


def parts_of_clips(
    videos: Videos, clip: Clip, count: int, bridge: int = ranges.BRIDGED_BYTES
) -> list[tuple[Path | RemotePath, Parts]]:
    """Returns which parts of which files some training clips need; of videos whose packets are not all known, none.

    Args:
        videos: of a list with a packet table.
        clip: which frames are read.
        count: of clips.
        bridge: gaps of up to so many bytes are read with what lies around them.
    """
    plan = TrainPlan(videos=videos, clip=clip, crop=Crop(), seed=0, batch_size=1)
    source = ClipSource(plan=plan, decoder="ffmpeg", device="cpu", decoder_threads=1)
    found: list[tuple[Path | RemotePath, Parts]] = []
    for index in np.linspace(0, len(videos) - 1, count).astype(int).tolist():
        sample = plan.draw(len(found), index)
        groups = table_rows(source.stored(index), np.unique(sample.frames))
        if groups:
            rows = np.concatenate(groups)
            parts = ranges.bridged(rows["position"], rows["size"].astype(np.int64), bridge)
            found.append((videos.location(index), [(start, end) for start, end, _, _ in parts]))
    return found


def _measured(wanted: list[tuple[RemotePath, Parts]]) -> dict[str, Any]:
    """Reads some clips one after the other, then as many at a time as a worker does."""
    alone = []
    try:
        for path, parts in wanted[: len(wanted) // 8 + 1]:
            began_s = time.perf_counter()
            ranges.read_parts(path, parts)
            alone.append(time.perf_counter() - began_s)
        began_s, size = time.perf_counter(), 0
        for first in range(0, len(wanted), ASKED_AHEAD):
            futures = [event_loop.submit(ranges.read(*one)) for one in wanted[first : first + ASKED_AHEAD]]
            size += sum(len(part) for future in futures for part in event_loop.wait(future))
        elapsed_s = time.perf_counter() - began_s
    except (OSError, ValueError) as error:
        return {"problem": getattr(error, "strerror", None) or str(error)}
    return {
        "ms_per_clip_alone": 1000 * float(np.median(alone)),
        "clips_per_s": len(wanted) / elapsed_s,
        "bytes_per_s": size / elapsed_s,
        "clips_at_a_time": ASKED_AHEAD,
    }


def list_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns list_facts as rows to be shown: name and text."""
    where = f"{facts['videos']} videos below {facts['root']}, {facts['bytes_per_video'] / 1e6:.2f} MB each"
    rows = [("list", facts["path"]), ("videos", where)]
    if "bytes_per_clip" not in facts:
        return [*rows, ("a clip", "not known without a packet table: prepare scan --packets; videos are read through")]
    fewer = facts["bytes_per_video"] / facts["bytes_per_clip"]
    size = f"{facts['bytes_per_clip'] / 1e6:.3f} MB, {facts['requests_per_clip']:.2f} requests"
    rows.append(("a clip", f"{size}; a whole file has {fewer:.1f} times as much"))
    if "problem" in facts:
        rows.append(("server", facts["problem"]))
    elif "clips_per_s" in facts:
        text = (
            f"{facts['ms_per_clip_alone']:.0f} ms a clip alone; {facts['clips_per_s']:.0f} clips/s, "
            f"{facts['bytes_per_s'] / 1e6:.1f} MB/s with {facts['clips_at_a_time']} at a time, as one worker reads"
        )
        rows.append(("server", text))
    return rows
