"""`prepare transcode`: rewrites the videos of a list in a form that is fast to read at random, and checks every one."""

import argparse
import dataclasses
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.manifest_file import MISSING, ManifestFile, read_manifest_file
from c2d_fast.formats.packet_store import PacketStore, store_path
from c2d_fast.formats.schemas import transcode_entry
from c2d_fast.lists.listing import Listing, read_list
from c2d_fast.lists.make_lists import fits_a_line, quoted
from c2d_fast.prepare.encode import PARTIAL, EncodeItem, EncodeResult, EncodeSettings, encode_one, target_size
from c2d_fast.prepare.results_folder import ResultsFolder, open_results
from c2d_fast.prepare.scan import ScanItem, examine_one, in_watched_rounds
from c2d_fast.processes.children import LostItem, run_in_children
from c2d_fast.remote.remote_path import UNKNOWN, FileState, Location, RemotePath, below, pinned
from c2d_fast.video.facts import DEPTHS, DTYPE, Facts
from c2d_fast.video.file_states import file_state, file_states
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY

DEFAULT_GOP = 1
DEFAULT_B_FRAMES = 0
"""docs/forms.md says why."""
DEFAULT_CRF = {"h264": 20, "hevc": 23}
_FORMAT = "c2d_fast.transcode/3"
# Bits for each pixel of each frame at the default crf, as measured on busy real clips: (codec, all-intra).
_BITS = {("h264", False): 0.43, ("h264", True): 0.57, ("hevc", False): 0.29, ("hevc", True): 0.66}
_SAMPLE = 40
_SHOWN = 20


@dataclass
class _Job:
    """One list, where it goes, and what is known of its videos."""

    listing: Listing
    out: ResultsFolder
    stem: str
    settings: EncodeSettings
    targets: dict[str, str]
    """Video of the list -> path below the folder of results that is called stem."""
    store: PacketStore
    done: dict[str, EncodeResult]

    @property
    def folder(self) -> Location:
        return self.out.place(self.stem)

    def target(self, video: str) -> Location:
        return below(self.folder, self.targets[video])

    def item(self, video: str, state: FileState, *, is_sound: bool) -> EncodeItem:
        local, target = self.out.local / self.stem / self.targets[video], self.target(video)
        upload = target if isinstance(target, RemotePath) else None
        return EncodeItem(video, pinned(self.listing.file_of(video), state), local, self.settings, is_sound, upload)


def run_transcode(args: argparse.Namespace) -> None:
    """Transcodes as the flags of `c2d_fast.prepare transcode` say.

    Raises:
        UserError: anything that the user can mend.
    """
    listing = read_list(args.list, args.data_root, None, video_name=args.video_name)
    settings = EncodeSettings(
        short_side=args.short_side,
        gop=args.gop,
        b_frames=args.b_frames if args.gop > 1 else 0,
        codec=args.codec,
        crf=DEFAULT_CRF[args.codec] if args.crf is None else args.crf,
        preset=args.preset,
    )
    stem = listing.path.stem or "videos"
    out = open_results(args.out, stem, f"{stem}.journal")
    journal_path = out.local / f"{stem}.journal"
    header = {"format": _FORMAT, "data root": str(listing.root.absolute()), **dataclasses.asdict(settings)}
    manifest_path = out.local / f"{stem}.npz"
    with ExitStack() as stack:
        journal = Journal(journal_path, header, f"--out {journal_path}", entry=transcode_entry, must_match=True)
        stack.enter_context(journal)
        store = stack.enter_context(PacketStore(manifest_path, _manifest_before(manifest_path)))
        job = _Job(listing, out, stem, settings, target_names(listing.videos), store, {})
        _remove_partials(out.local / stem)
        items = _to_do(job, journal, retry=args.retry_failed)
        known = sum(result.reason != MISSING for result in job.done.values())
        if known:
            print(f"{known} of {len(job.targets)} videos are done and have not changed: {len(items)} are to do")
        _check_space(job, items, args)
        try:
            _transcode(job, items, journal, args)
            _find_packets(job, args)
        except KeyboardInterrupt:
            print(f"interrupted: {len(job.done)} of {len(job.targets)} videos are done; the same command goes on")
            raise
        _write(job)
        store_path(manifest_path).unlink(missing_ok=True)
        print("\n".join(map(on_one_line, _summary(job, known))))
    print(f"to train: --train-list {out.place(manifest_path.name)}")


def target_names(videos: Iterable[str]) -> dict[str, str]:
    """Returns where each video of a list goes, below a folder: never outside of it, and no two to the same place."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for video in dict.fromkeys(videos):
        parts = [part for part in PurePosixPath(os.path.normpath(video)).parts if part not in ("/", "//")]
        inside = PurePosixPath(*(part if part != ".." else "outside" for part in parts or ["video"]))
        name = str(inside.with_suffix(".mp4"))
        while name in taken:  # a.avi beside a.mp4
            inside = inside.with_name(inside.name + ".mp4")
            name = str(inside)
        names[video] = name
        taken.add(name)
    return names


def _remove_partials(folder: Path) -> None:
    """Removes what processes that were killed have left unfinished."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL):
                Path(parent, name).unlink(missing_ok=True)


def _to_do(job: _Job, journal: Journal, *, retry: bool) -> list[EncodeItem]:
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


def _check_space(job: _Job, items: list[EncodeItem], args: argparse.Namespace) -> None:
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


def _transcode(job: _Job, items: list[EncodeItem], journal: Journal, args: argparse.Namespace) -> None:
    """Transcodes the items and puts what becomes of them into the journal and into job.done."""
    results = in_watched_rounds(encode_one, items, args, lambda item: item.source)
    try:
        for item, result in tqdm(results, total=len(items), unit="video", disable=not shows_bars(), leave=False):
            encoded = result
            if isinstance(result, LostItem):
                _remove_partials(item.target.parent)
                encoded = EncodeResult((file_state(item.source) or UNKNOWN).key, (-1, -1), None, result.reason)
            if encoded.packets:
                encoded = dataclasses.replace(encoded, packets=job.store.add(*encoded.packets))
            journal.add([item.video, job.targets[item.video], *dataclasses.astuple(encoded)])
            job.done[item.video] = encoded
    except OSError as error:
        raise UserError(f"--out {args.out}: {error.strerror}; make room, and the same command goes on") from error


def _find_packets(job: _Job, args: argparse.Namespace) -> None:
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


def _write(job: _Job) -> None:
    """Writes the manifest with its packet table, and a plain list for programs that do not know it."""
    listing, stem, out = job.listing, job.stem, job.out.local
    results = [job.done[video] for video in listing.videos]
    good = [i for i, result in enumerate(results) if not result.reason]
    if not good:
        raise UserError(
            f"--list {listing.path}: none of its {len(results)} videos can be transcoded, first {listing.location(0)}: "
            f"{results[0].reason}"
        )
    names = [job.targets[video] for video in listing.videos]
    text = "".join(f"{quoted(names[i])} {listing.labels[i]}\n" for i in good if fits_a_line(names[i]))
    facts = np.zeros(len(results), DTYPE)
    for i in good:
        facts[i] = tuple(value.encode() if isinstance(value, str) else value for value in results[i].facts)
    manifest = ManifestFile(
        list_path=str(job.out.place(f"{stem}.txt").absolute()),
        list_sha256=hashlib.sha256(text.encode()).hexdigest(),
        root=str(job.folder.absolute()),
        videos=tuple(names),
        labels=np.array(listing.labels, np.int64),
        classes=listing.classes,
        size=np.array([result.target[0] for result in results], np.int64),
        mtime_ns=np.array([result.target[1] for result in results], np.int64),
        depth=np.full(len(results), len(DEPTHS) - 1, np.uint8),
        facts=facts,
        reasons=tuple(result.reason for result in results),
        etags=_etags(job),
    )
    try:
        with atomic_write(out / f"{stem}.txt") as partial:
            partial.write_text(text, encoding="utf-8")
        job.store.write(manifest, [result.packets for result in results])
        manifest.write(out / f"{stem}.npz")
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.strerror}); make room, and the same command goes on"
        ) from error
    job.out.upload(f"{stem}.txt", f"{stem}.packets.npz", f"{stem}.npz")


def _etags(job: _Job) -> tuple[str, ...]:
    """Returns what servers call the results, where they are remote: "" of one that is not there."""
    if not isinstance(job.out.out, RemotePath):
        return ()
    videos = job.listing.videos
    states = dict(zip(job.targets, file_states([job.target(video) for video in job.targets], DEFAULT_WAIT_POLICY), strict=True))
    found = [(states[video] or UNKNOWN, job.done[video].target) for video in videos]
    return tuple(state.etag if state.key == target else "" for state, target in found)


def _summary(job: _Job, known: int) -> list[str]:
    good = {video: result for video, result in job.done.items() if not result.reason}
    failed = {video: result.reason for video, result in job.done.items() if result.reason}
    before, after = (sum(getattr(result, name)[0] for result in good.values()) for name in ("source", "target"))
    frames = sum(Facts(*result.facts).frames for result in good.values())
    sizes = Counter(
        "{}x{}".format(*target) for target in ((f.width, f.height) for f in (Facts(*r.facts) for r in good.values()))
    )
    lines = [
        f"{len(good)} videos of {frames} frames are in {job.folder}, {known} videos were looked at before",
        f"bytes: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now ({after / before:.2f}x)",
        "sizes: " + ", ".join(f"{size} ({count})" for size, count in sizes.most_common()),
    ]
    if failed:
        lines.append(f"failed: {len(failed)} videos; python -m c2d_fast.prepare show names them all")
        lines += [f"  {video}: {reason}" for video, reason in list(failed.items())[:_SHOWN]]
    return lines
