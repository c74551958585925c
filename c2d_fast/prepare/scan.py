"""`prepare scan`: examines every video of a list in child processes and writes a manifest."""

import argparse
import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from c2d_fast import console
from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.files import check_writable, remove_partials
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.formats.manifest_file import (
    MISSING,
    ManifestFile,
    OtherVersionError,
    read_manifest_file,
    table_path,
    was_manifest,
)
from c2d_fast.formats.packet_store import PacketStore, store_path
from c2d_fast.formats.packet_table import rows_of
from c2d_fast.formats.schemas import scan_entry
from c2d_fast.lists.listing import read_list
from c2d_fast.prepare.share import Share, open_share
from c2d_fast.prepare.show import report
from c2d_fast.prepare.watched import in_watched_rounds
from c2d_fast.processes.children import LostItem
from c2d_fast.remote.remote_path import UNKNOWN, FileState, Location, RemotePath, below, pinned
from c2d_fast.video.examine import examine
from c2d_fast.video.facts import DEPTHS, from_values
from c2d_fast.video.file_states import file_state, file_states, local_file, state_of
from c2d_fast.video.reader import DecodeError
from c2d_fast.video.storage import sibling_files, storage_problem
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY

_FORMAT = "c2d_fast.scan/3"
_SAY_EVERY_S = 30.0


class ScanResult(NamedTuple):
    """What is known of one file, in the state that it was examined in."""

    size: int
    mtime_ns: int
    depth: int
    facts: Any
    """The values of Facts in their order; None of a broken file."""
    reason: str
    """Why it is broken; empty if it is not."""
    packets: Any
    """Rows of the packet table and the decoder's configuration, as two bytes; or their packet_store.PacketLocation. None if not
    asked for."""


@dataclass(frozen=True)
class ScanItem:
    """What a child process is given."""

    video: str
    path: Location
    depth: str
    packets: bool


def run_scan(args: argparse.Namespace) -> None:
    """Scans as the flags of `c2d_fast.prepare scan` say.

    Raises:
        UserError: anything that the user can mend.
    """
    listing = read_list(args.list, args.data_root, None, video_name=args.video_name, ignore=NO_LABEL)
    share = open_share(listing, args.part, args.out, {"command": "scan", "depth": args.depth, "packets": args.packets})
    listing, out = share.listing, share.manifest
    videos = list(dict.fromkeys(listing.videos))
    files = [below(listing.root, video) for video in videos]
    states = dict(zip(videos, file_states(files, DEFAULT_WAIT_POLICY), strict=True))
    if not any(states.values()) and not (share.part and share.is_anything_there()):
        raise UserError(
            f"list {listing.path}: none of its {len(share.whole)} videos is below {listing.root}, first "
            f"{share.whole.location(0)}; correct --data-root (or --video-name)"
        )
    check_writable(out, "--out")
    # Anything else of this name is the user's, and stays.
    earlier: Path = args.out if share.part and not out.exists() else out
    before = _earlier_manifest(earlier)
    header = {"format": _FORMAT, "root": str(listing.root.absolute())}
    journal_path = out.with_name(out.name + ".journal")
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(journal_path, header, f"--out {out}", entry=scan_entry))
        remove_partials(out, table_path(out))
        store = stack.enter_context(PacketStore(out, before, earlier)) if args.packets else None
        known = _known(journal, before, store)
        done = {
            video: known[video] for video, state in states.items() if state and _is_up_to_date(known.get(video), state, args)
        }
        items = [
            ScanItem(
                video, pinned(below(listing.root, video), state), _depth(args.depth, known.get(video), state), args.packets
            )
            for video, state in states.items()
            if state and video not in done
        ]
        if done:
            print(f"{len(done)} of {len(states)} videos are known and have not changed: {len(items)} are read")
        try:
            _scan(items, args, listing.root, journal, store, done)
        except KeyboardInterrupt:
            print(f"interrupted: {len(done)} of {len(states)} videos are kept in {journal_path}; the same command goes on")
            raise
        manifest = _manifest(share, states, done)
        try:
            if store:
                store.write(manifest, [done[v].packets if v in done and not done[v].reason else None for v in manifest.videos])
            manifest.write(out)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror}); the same command goes on from here") from error
        journal.remove()
        store_path(out).unlink(missing_ok=True)  # also of an earlier scan, which wanted packets and was interrupted
    console.result("\n".join(report(manifest)))
    print(f"manifest: {out}" + (f", packet table: {table_path(out)}" if args.packets else ""))
    print(share.next_step() if share.part else f"give it in place of the list: --train-list {out} or --list {out}")


def examine_one(item: ScanItem, tick: Any) -> ScanResult:
    """Examines a file; runs in a child process."""
    state = state_of(item.path)
    depth = DEPTHS.index(item.depth)
    try:
        with local_file(item.path, tick) as path:
            examined = examine(path, item.depth, tick, must_be_whole=True, locate=item.packets)
    except DecodeError as error:
        reason = storage_problem(error, item.path, lambda: sibling_files(item.path)) or str(error)
        return ScanResult(*state.key, depth, None, reason, None)
    except MemoryError:
        return ScanResult(*state.key, depth, None, "needs more memory than there is", None)
    except Exception as error:  # no file may end the scan of the others
        return ScanResult(*state.key, depth, None, f"cannot be examined ({type(error).__name__}: {error})", None)
    if not isinstance(item.path, RemotePath) and file_state(item.path) != state:
        return ScanResult(*state.key, depth, None, "changed while it was read; scan again", None)
    packets = (rows_of(examined).tobytes(), examined.extradata) if item.packets else None
    return ScanResult(*state.key, depth, dataclasses.astuple(examined.facts), "", packets)


def _scan(
    items: list[ScanItem],
    args: argparse.Namespace,
    root: Location,
    journal: Journal,
    store: PacketStore | None,
    done: dict[str, ScanResult],
) -> None:
    """Examines the items and puts what is found into the journal and into done."""
    started_s = said_s = time.monotonic()
    frames = 0
    results = in_watched_rounds(examine_one, items, args, lambda item: item.path, seen=[root])
    with tqdm(total=len(items), unit="video", disable=not shows_bars(), leave=False) as bar:
        for count, (item, result) in enumerate(results, start=1):
            if isinstance(result, LostItem):
                state = file_state(item.path) or UNKNOWN
                found = ScanResult(*state.key, DEPTHS.index(item.depth), None, result.reason, None)
            else:
                found = result
            if store and found.packets:
                found = found._replace(packets=store.add(*found.packets))
            journal.add([item.video, *found])
            done[item.video] = found
            frames += found.facts[0] if found.facts else 0
            now_s = time.monotonic()
            bar.set_postfix_str(f"{frames / (now_s - started_s):.0f} frames/s", refresh=False)
            bar.update()
            if not shows_bars() and now_s - said_s > _SAY_EVERY_S:
                said_s = now_s
                left_s = (now_s - started_s) / count * (len(items) - count)
                rate = f"{count / (now_s - started_s):.1f} videos/s, {frames / (now_s - started_s):.0f} frames/s"
                print(f"{count} of {len(items)} videos read, {rate}, about {tqdm.format_interval(left_s)} left")
    if items:
        seconds = time.monotonic() - started_s
        print(f"{len(items)} videos, {frames} frames read in {seconds:.1f} s: {frames / seconds:.0f} frames/s")


def _is_up_to_date(entry: ScanResult | None, state: FileState, args: argparse.Namespace) -> bool:
    """Says whether what is known of a file is of its present state, and is all that is asked for."""
    return (
        entry is not None
        and state.key == (entry.size, entry.mtime_ns)
        and entry.depth >= DEPTHS.index(args.depth)
        and not (entry.reason and args.retry_broken)
        and (entry.packets is not None or bool(entry.reason) or not args.packets)
    )


def _depth(wanted: str, entry: ScanResult | None, state: FileState) -> str:
    """Returns how thoroughly a file is examined: never less than an earlier scan did, whose result this one replaces."""
    is_same = entry is not None and state.key == (entry.size, entry.mtime_ns)
    return DEPTHS[max(DEPTHS.index(wanted), entry.depth)] if entry and is_same else wanted


def _earlier_manifest(out: Path) -> ManifestFile | None:
    if not out.exists():
        return None
    try:
        return read_manifest_file(out)
    except OtherVersionError:
        print(f"note: {out} is of another version of this program: everything is read again, and it is replaced")
        return None
    except UserError as error:
        if not was_manifest(out):
            raise
        print(f"note: {error}: everything is read again, and it is replaced")
        return None


def _known(journal: Journal, before: ManifestFile | None, store: PacketStore | None) -> dict[str, ScanResult]:
    """Returns what an earlier scan, and an interrupted one, have found: video -> ScanResult."""
    known: dict[str, ScanResult] = {}
    if before:
        columns = zip(before.videos, before.size.tolist(), before.mtime_ns.tolist(), before.depth.tolist(), strict=True)
        for i, (video, size, mtime_ns, depth) in enumerate(columns):
            reason = before.reasons[i]
            facts = None if reason else before.facts[i].item()
            packets = store.from_earlier_table(video, (size, mtime_ns)) if store else None
            known[video] = ScanResult(size, mtime_ns, depth, facts, reason, packets)
    for video, size, mtime_ns, depth, facts, reason, location in journal.entries:
        known[video] = ScanResult(size, mtime_ns, depth, facts, reason, store.restore(location) if store else None)
    return known


def _manifest(share: Share, states: dict[str, FileState | None], done: dict[str, ScanResult]) -> ManifestFile:
    listing = share.listing
    missing = ScanResult(-1, -1, len(DEPTHS) - 1, None, MISSING, None)
    found = [done[video] if states[video] else missing for video in listing.videos]
    # Of one that has changed while it was read, it is not known: what is read of it is compared with its other state alone.
    now = [states[video] or UNKNOWN for video in listing.videos]
    etags = tuple(state.etag if state.key == entry[:2] else "" for state, entry in zip(now, found, strict=True))
    return ManifestFile(
        list_path=str(listing.path.absolute()),
        list_sha256=listing.sha256,
        root=str(listing.root.absolute()),
        videos=listing.videos,
        labels=np.array(listing.labels, np.int64),
        label_sets=listing.label_sets,
        classes=listing.classes,
        size=np.array([entry.size for entry in found], np.int64),
        mtime_ns=np.array([entry.mtime_ns for entry in found], np.int64),
        depth=np.array([entry.depth for entry in found], np.uint8),
        facts=from_values([entry.facts for entry in found]),
        reasons=tuple(entry.reason for entry in found),
        etags=etags if any(etags) else (),
        part=share.part,
    )
