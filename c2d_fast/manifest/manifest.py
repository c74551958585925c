"""Knows every video's frames, size and codec before a run starts: from a scan, or read once and kept in a cache folder."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import recfunctions
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import chosen as chosen_sets
from c2d_fast.formats.manifest_file import MISSING, ManifestFile
from c2d_fast.formats.packet_table import open_table
from c2d_fast.formats.texts import Texts, are_empty, chosen
from c2d_fast.lists.listing import Listing
from c2d_fast.manifest.cache import Cache as _Cache
from c2d_fast.manifest.videos import Videos, pack_paths
from c2d_fast.processes.children import LostItem
from c2d_fast.processes.shared_arrays import SharedArrays
from c2d_fast.processes.watched_threads import heartbeat, run_in_threads
from c2d_fast.remote.remote_path import UNKNOWN, FileState, Location, RemotePath, pinned
from c2d_fast.video.examine import examine
from c2d_fast.video.facts import DTYPE, Facts, reading_columns, to_table
from c2d_fast.video.file_states import file_states, local_file
from c2d_fast.video.reader import DecodeError
from c2d_fast.video.storage import is_storage_error, nearby_files, storage_problem
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, WaitPolicy, read_in_rounds

_LONG = 2**17  # videos of a list that is shared with workers at once
_SAVE_EVERY_S = 60.0
_TIME_LIMIT_S = 60.0
_STORED = (
    "codec",
    "full_range",
    "matrix",
    "closed_gops",
    "entries",
    "width",
    "height",
    "coded_width",
    "coded_height",
    "orientation",
)


@dataclass(frozen=True)
class Manifest:
    """A list's videos that can be used, and those that cannot."""

    listing: Listing
    kept: NDArray[np.int64]
    """Indices in the list of the videos that can be used."""
    facts: NDArray[Any]
    """Of facts.reading_columns, or in narrower types, by index in the list, as size and mtime_ns are; zeros of a video that
    cannot be used."""
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]
    """When the file was written last, as it was examined; -1 where that says nothing, because the files were moved."""
    broken: dict[int, str]
    """Index in the list -> why it cannot be used (missing files included)."""
    packet_table: tuple[Path, str] | None = None
    """As in Listing, once it has been looked into."""
    etags: Sequence[str] = ()
    """Of remote videos, by index in the list; none of a list without."""
    shared: dict[str, SharedArrays] = field(default_factory=dict)
    """Which of a long list's arrays are in memory that workers share, by their names in Videos."""

    def videos(self) -> Videos:
        """Returns what plans and decoders need, for the usable videos only; the same object each time."""
        return self._videos

    @cached_property
    def _videos(self) -> Videos:
        if isinstance(self.listing.videos, Texts):
            return self._rows_of_all(self.listing.videos)
        table, identity = self.packet_table or ("", "")
        paths, path_ends = pack_paths(map(self.listing.videos.__getitem__, self.kept.tolist()))
        etags, etag_ends = pack_paths(map(self.etags.__getitem__, self.kept.tolist() if self.etags else ()))
        return Videos(
            root=str(self.listing.root),
            paths=paths,
            path_ends=path_ends,
            num_frames=self.facts["frames"][self.kept].astype(np.int64),
            width=self.facts["width"][self.kept].astype(np.int64),
            height=self.facts["height"][self.kept].astype(np.int64),
            labels=np.array(self.listing.labels, np.int64)[self.kept],
            label_sets=chosen_sets(self.listing.label_sets, self.kept),
            stored=recfunctions.repack_fields(self.facts[list(_STORED)][self.kept]),  # type: ignore[no-untyped-call]
            size=self.size[self.kept],
            mtime_ns=self.mtime_ns[self.kept],
            packet_table=str(table),
            table_identity=identity,
            table_indices=self.kept,
            etags=etags,
            etag_ends=etag_ends,
        )

    def _rows_of_all(self, videos: Texts) -> Videos:
        """Returns the usable videos without a copy of what is known of all: there may be very many."""
        table, identity = self.packet_table or ("", "")
        etags = self.etags if isinstance(self.etags, Texts) else Texts.of(self.etags)
        return Videos(
            root=str(self.listing.root),
            paths=videos.data,
            path_ends=videos.ends,
            num_frames=self.facts["frames"][self.kept],
            width=self.facts["width"][self.kept],
            height=self.facts["height"][self.kept],
            labels=np.asarray(self.listing.labels)[self.kept],
            label_sets=chosen_sets(self.listing.label_sets, self.kept),
            stored=self.facts,
            size=self.size,
            mtime_ns=self.mtime_ns,
            packet_table=str(table),
            table_identity=identity,
            etags=etags.data,
            etag_ends=etags.ends,
            rows=self.kept,
            shared=self.shared,
        )

    def location(self, index: int) -> str:
        """Returns `list.txt:12: path.mp4` for a usable video's index."""
        return self.listing.location(int(self.kept[index]))


def read_manifest(
    listing: Listing, *, allow_missing: bool, jobs: int, wait_policy: WaitPolicy = DEFAULT_WAIT_POLICY, is_resumed: bool = False
) -> Manifest:
    """Looks up every video of a list, reading through those that are new or have changed; of a scanned list, none.

    Args:
        listing: the list.
        allow_missing: report missing files as broken instead of refusing the list.
        jobs: files read at a time.
        wait_policy: with a storage that is gone.
        is_resumed: whether a run goes on that has read these files: then missing ones, too, are waited for; those that
            are missing for good are reported as broken.

    Raises:
        UserError: a file is missing and allow_missing is false.
        EndedError: the storage does not come back.
    """
    if listing.scanned:
        return _from_scan(listing)
    files = [listing.file(i) for i in range(len(listing))]
    found = file_states(files, wait_policy, wait_for_missing=is_resumed and not allow_missing, wait_for_all_missing=is_resumed)
    states = {i: state for i, state in enumerate(found) if state}
    missing = [i for i in range(len(listing)) if i not in states]
    if missing and not (allow_missing or is_resumed):
        more = f" (and {len(missing) - 1} more of the list's {len(listing)})" if len(missing) > 1 else ""
        raise UserError(
            f"{listing.location(missing[0])}: no such file below {listing.root}{more}; correct the list or the data root, "
            "or go on without with --allow-missing"
        )
    cache = _Cache(listing.root)
    entries: dict[int, Facts | str] = dict.fromkeys(missing, MISSING)
    entries |= {i: facts for i, state in states.items() if (facts := cache.get(listing.videos[i], state))}
    entries |= _read_all(listing, {i: state for i, state in states.items() if i not in entries}, jobs, cache, wait_policy)
    good = {i: entry for i, entry in sorted(entries.items()) if isinstance(entry, Facts)}
    broken = {i: entry for i, entry in sorted(entries.items()) if isinstance(entry, str)}
    _note_cut(listing, good)
    kept, table = np.array(list(good), np.int64), np.zeros(len(listing), DTYPE)
    table[kept] = to_table(list(good.values()))
    table = reading_columns(table)
    known = np.array([(state or UNKNOWN).key for state in found], np.int64)
    etags = tuple((state or UNKNOWN).etag for state in found)
    return Manifest(listing, kept, table, known[:, 0], known[:, 1], broken, etags=etags if any(etags) else ())


def _from_scan(listing: Listing) -> Manifest:
    scanned = listing.scanned
    assert scanned is not None
    packet_table = _packet_table(listing)
    shared = _share(scanned) if len(listing) >= _LONG else {}
    is_good = are_empty(scanned.reasons)
    rows, kept = np.flatnonzero(~is_good), np.flatnonzero(is_good)
    broken = dict(zip(rows.tolist(), chosen(scanned.reasons, rows), strict=True))
    mtime_ns, etags = scanned.mtime_ns, scanned.etags
    if not _is_same_root(listing.root, scanned.root):
        print(
            f"note: {listing.path} was scanned below {scanned.root}: of the files below {listing.root} sizes are compared only"
        )
        mtime_ns, etags = np.broadcast_to(np.int64(-1), len(mtime_ns)), ()
        shared.pop("mtime_ns", None)
    return Manifest(listing, kept, scanned.facts, scanned.size, mtime_ns, broken, packet_table, etags, shared)


def _share(scanned: ManifestFile) -> dict[str, SharedArrays]:
    """Moves what there is one of for each video into memory that workers share: one array after another, never all twice."""
    shared: dict[str, SharedArrays] = {}
    places: dict[str, tuple[Any, str]] = {"size": (scanned, "size"), "mtime_ns": (scanned, "mtime_ns")}
    places["stored"] = (scanned, "facts")
    if isinstance(scanned.videos, Texts):
        places |= {"paths": (scanned.videos, "data"), "path_ends": (scanned.videos, "ends")}
    with contextlib.suppress(OSError):  # no memory files here: each worker gets its copy
        for name, (owner, attribute) in places.items():
            shared[name] = SharedArrays({name: getattr(owner, attribute)})
            object.__setattr__(owner, attribute, shared[name].arrays[name])  # the same numbers
    return shared


def _is_same_root(root: Location, scanned: str) -> bool:
    return str(root) == scanned or (not isinstance(root, RemotePath) and os.path.realpath(root) == os.path.realpath(scanned))


def _packet_table(listing: Listing) -> tuple[Path, str] | None:
    if listing.packet_table:
        try:
            open_table(*listing.packet_table, packets=listing.scanned.facts["packets"] if listing.scanned else None)
        except UserError as error:  # slower, but nothing is lost
            print(f"note: {error}; going on without it")
            return None
    return listing.packet_table


def _read(path: Location, files: Callable[[], Iterable[str]]) -> Facts | str:
    problem = ""
    for _ in range(2):  # what has failed once may have been read wrongly
        try:
            with local_file(path, heartbeat) as file:
                return examine(file).facts
        except DecodeError as error:
            problem = storage_problem(error, path, lambda: nearby_files(str(path), files()))
            if is_storage_error(problem):
                break
            problem = str(error)
    return problem


def _read_all(
    listing: Listing, unread: dict[int, FileState], jobs: int, cache: "_Cache", wait_policy: WaitPolicy
) -> dict[int, Facts | str]:
    if not unread:
        return {}
    keeps = f"{cache.path} keeps" if cache.path else "without a home folder, and with no XDG_CACHE_HOME, nothing keeps"
    print(f"reading {len(unread)} of {len(listing)} videos of {listing.path} once ({keeps} the result)")
    entries: dict[int, Facts | str] = {}
    try:
        files = [str(listing.file(i)) for i in unread]

        def read(todo: list[int]) -> Iterator[tuple[int, Facts | str]]:
            # Threads do: FFmpeg reads and decodes without holding Python's lock.
            results = run_in_threads(
                lambda i: _read(pinned(listing.file(i), unread[i]), lambda: files), todo, jobs=jobs, time_limit_s=_TIME_LIMIT_S
            )
            with closing(results):
                for i, result in results:
                    yield i, result.reason if isinstance(result, LostItem) else result

        reason = lambda entry: entry if isinstance(entry, str) else ""  # noqa: E731
        results = read_in_rounds(read, unread, path=listing.file, reason=reason, wait_policy=wait_policy)
        saved = time.monotonic()
        for i, entry in tqdm(results, total=len(unread), unit="video", disable=not shows_bars(), leave=False):
            entries[i] = entry
            if isinstance(entry, Facts):  # a broken file is tried again each time: its cause may have been mended
                cache.put(listing.videos[i], unread[i], entry)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                cache.save()
                saved = time.monotonic()
    finally:  # also when interrupted: what was read is kept
        cache.save()
    return entries


def _note_cut(listing: Listing, good: dict[int, Facts]) -> None:
    """Says which files lack their end: what is there of them decodes, and is used."""
    cut = [i for i, facts in good.items() if facts.missing_bytes]
    if cut:
        first = f"first {listing.location(cut[0])} ({good[cut[0]].missing_bytes} bytes or more are missing)"
        print(
            f"note: {len(cut)} of the {len(listing)} videos of {listing.path} are cut off, {first}: what is there of them is "
            "used; python -m c2d_fast.prepare scan leaves them out"
        )
