"""`prepare transcode`: rewrites the videos of a list in a form that is fast to read at random, and checks every one."""

import argparse
import dataclasses
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import remove_partials
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.formats.manifest_file import MISSING, ManifestFile, read_manifest_file, table_path
from c2d_fast.formats.packet_store import PacketStore, store_path
from c2d_fast.formats.schemas import transcode_entry
from c2d_fast.lists.listing import read_list
from c2d_fast.prepare.encode import PARTIAL, EncodeItem, EncodeResult, EncodeSettings, encode_one, remove_unfinished
from c2d_fast.prepare.results_folder import open_results, write_results
from c2d_fast.prepare.scan import ScanItem, examine_one
from c2d_fast.prepare.share import Share, open_share
from c2d_fast.prepare.transcode_job import TranscodeJob, etags, target_names
from c2d_fast.prepare.transcode_report import DEFAULT_CRF, check_space, summary
from c2d_fast.prepare.watched import in_watched_rounds
from c2d_fast.processes.children import LostItem, run_in_children
from c2d_fast.remote.remote_path import UNKNOWN
from c2d_fast.video.facts import DEPTHS, from_values
from c2d_fast.video.file_states import file_state

DEFAULT_GOP = 1
DEFAULT_B_FRAMES = 0
"""docs/forms.md says why."""
_FORMAT = "c2d_fast.transcode/3"


def run_transcode(args: argparse.Namespace) -> None:
    """Transcodes as the flags of `c2d_fast.prepare transcode` say.

    Raises:
        UserError: anything that the user can mend.
    """
    listing = read_list(args.list, args.data_root, None, video_name=args.video_name, ignore=NO_LABEL)
    settings = EncodeSettings(
        short_side=args.short_side,
        gop=args.gop,
        b_frames=args.b_frames if args.gop > 1 else 0,
        codec=args.codec,
        crf=DEFAULT_CRF[args.codec] if args.crf is None else args.crf,
        preset=args.preset,
    )
    stem = listing.path.stem or "videos"
    options = dataclasses.asdict(settings)
    share = open_share(listing, args.part, Path(f"{stem}.npz"), {"command": "transcode", **options})
    manifest_name = share.manifest.name
    journal_name = f"{share.manifest.stem}.journal"
    header = {"format": _FORMAT, "data root": str(listing.root.absolute()), **options}
    with ExitStack() as stack:
        out = open_results(args.out, stem, for_part=share.part is not None)
        manifest_path = out.local / manifest_name
        journal_path = out.local / journal_name
        journal = Journal(journal_path, header, f"--out {journal_path}", entry=transcode_entry, must_match=True)
        stack.enter_context(journal)
        out.make_folder(stem)
        remove_partials(manifest_path, table_path(manifest_path))
        store = stack.enter_context(PacketStore(manifest_path, _manifest_before(manifest_path)))
        job = TranscodeJob(share, out, stem, settings, _targets(share), store, {})
        if share.part is None:  # others may be writing theirs
            _remove_partials(out.local / stem)
        items = _to_do(job, journal, retry=args.retry_failed)
        known = sum(result.reason != MISSING for result in job.done.values())
        if known:
            print(f"{known} of {len(job.targets)} videos are done and have not changed: {len(items)} are to do")
        check_space(job, items, args)
        try:
            _transcode(job, items, journal, args)
            _find_packets(job, args)
        except KeyboardInterrupt:
            print(f"interrupted: {len(job.done)} of {len(job.targets)} videos are done; the same command goes on")
            raise
        _write(job)
        store_path(manifest_path).unlink(missing_ok=True)
        print("\n".join(map(on_one_line, summary(job, known))))
    joined = out.place(f"{stem}.npz")
    print(dataclasses.replace(share, joined=joined).next_step() if share.part else f"to train: --train-list {joined}")


def _targets(share: Share) -> dict[str, str]:
    """Returns where each video of the share goes: names that no other video of the whole list has."""
    names = target_names(share.whole.videos)
    return {video: names[video] for video in share.listing.videos}


def _remove_partials(folder: Path) -> None:
    """Removes what processes that were killed have left unfinished."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL):
                Path(parent, name).unlink(missing_ok=True)


def _to_do(job: TranscodeJob, journal: Journal, *, retry: bool) -> list[EncodeItem]:
    """Returns what is to be transcoded; the rest is put into job.done."""
    entries: dict[str, EncodeResult] = {}
    for video, target, source_state, target_state, facts, reason, location in journal.entries:
        if target == job.targets.get(video):
            packets = job.store.restore(location) or job.store.from_earlier_table(target, target_state)
            entries[video] = EncodeResult(source_state, target_state, facts, reason, packets)
    scanned = job.listing.scanned
    indices = {video: i for i, video in enumerate(job.listing.videos)}
    items = []
    for video in job.targets:
        found, entry = file_state(job.listing.file_of(video)), entries.get(video)
        index = indices[video]
        if found is None:
            job.done[video] = EncodeResult((-1, -1), (-1, -1), None, MISSING)
            continue
        state = found.key
        is_same = scanned is not None and state == (scanned.size[index], scanned.mtime_ns[index])
        if scanned and is_same and scanned.reasons[index]:
            job.done[video] = EncodeResult(state, (-1, -1), None, scanned.reasons[index])
        elif entry and entry.source == state and (
            not retry if entry.reason else (file_state(job.target(video)) or UNKNOWN).key == entry.target
        ):  # fmt: skip
            job.done[video] = entry
        else:
            is_sound = scanned is not None and is_same and scanned.depth[index] == len(DEPTHS) - 1
            items.append(job.item(video, found, is_sound=is_sound))
    return items


def _transcode(job: TranscodeJob, items: list[EncodeItem], journal: Journal, args: argparse.Namespace) -> None:
    """Transcodes the items and puts what becomes of them into the journal and into job.done."""
    results = in_watched_rounds(encode_one, items, args, lambda item: item.source, seen=[job.listing.root, journal.path])
    try:
        for item, result in tqdm(results, total=len(items), unit="video", disable=not shows_bars(), leave=False):
            encoded = result
            if isinstance(result, LostItem):
                remove_unfinished(item.target)
                encoded = EncodeResult((file_state(item.source) or UNKNOWN).key, (-1, -1), None, result.reason)
            if encoded.packets:
                encoded = dataclasses.replace(encoded, packets=job.store.add(*encoded.packets))
            journal.add([item.video, job.targets[item.video], *dataclasses.astuple(encoded)])
            job.done[item.video] = encoded
    except OSError as error:
        raise UserError(f"--out {args.out}: {error.strerror}; make room, and the same command goes on") from error


def _find_packets(job: TranscodeJob, args: argparse.Namespace) -> None:
    """Looks for the packets of videos that were done before, and whose packet table has been lost."""
    lost = {v: result for v, result in job.done.items() if not result.reason and result.packets is None}
    items = [ScanItem(video, job.target(video), "packets", True) for video in lost]
    for item, found in run_in_children(examine_one, items, jobs=args.jobs, time_limit_s=args.time_limit) if items else ():
        if not isinstance(found, LostItem) and found.packets:
            job.done[item.video] = dataclasses.replace(lost[item.video], packets=job.store.add(*found.packets))


def _manifest_before(path: Path) -> ManifestFile | None:
    try:
        return read_manifest_file(path) if path.exists() else None
    except UserError:  # it is this command's own, and will be written again
        return None


def _write(job: TranscodeJob) -> None:
    """Writes the manifest with its packet table, and a plain list for programs that do not know it."""
    listing, part = job.listing, job.share.part
    results = [job.done[video] for video in listing.videos]
    if not part and all(result.reason for result in results):
        raise UserError(
            f"--list {listing.path}: none of its {len(results)} videos can be transcoded, first {listing.location(0)}: "
            f"{results[0].reason}"
        )
    manifest = ManifestFile(
        list_path=str(listing.path.absolute()),
        list_sha256=listing.sha256,
        root=str(job.folder.absolute()),
        videos=tuple(job.targets[video] for video in listing.videos),
        labels=np.array(listing.labels, np.int64),
        label_sets=listing.label_sets,
        classes=listing.classes,
        size=np.array([result.target[0] for result in results], np.int64),
        mtime_ns=np.array([result.target[1] for result in results], np.int64),
        depth=np.full(len(results), len(DEPTHS) - 1, np.uint8),
        facts=from_values([result.facts for result in results]),
        reasons=tuple(result.reason for result in results),
        etags=etags(job),
        part=part,
    )
    packets = [result.packets for result in results]
    write_results(job.out, job.share.manifest.stem, manifest, lambda whole: job.store.write(whole, packets))
