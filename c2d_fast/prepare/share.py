"""`--part I/N`: which videos of a list one of several machines works on, and where it puts what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.label_sets import NO_LABEL, LabelSets
from c2d_fast.formats.label_sets import chosen as chosen_sets
from c2d_fast.formats.manifest_file import ManifestFile
from c2d_fast.formats.manifest_part import Part, part_path
from c2d_fast.formats.texts import chosen
from c2d_fast.lists.listing import Listing
from c2d_fast.remote.remote_path import Location, below
from c2d_fast.video.file_states import file_states
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY

_ASKED = 1000  # files at a time


@dataclass(frozen=True)
class Share:
    """What one command works on: a list, or a part of it."""

    whole: Listing
    listing: Listing
    """The part's videos; the whole list where there are no parts."""
    part: Part | None
    manifest: Path
    """Where the result goes."""
    joined: Location
    """Where all parts go in the end."""

    def is_anything_there(self) -> bool:
        """Says whether any file of the whole list is there: otherwise the data root is wrong."""
        videos = self.whole.videos
        for first in range(0, len(videos), _ASKED):
            files = [below(self.whole.root, video) for video in videos[first : first + _ASKED]]
            if any(file_states(files, DEFAULT_WAIT_POLICY)):
                return True
        return False

    def next_step(self) -> str:
        """Returns what is said at the end of a part: how parts are joined."""
        return f"{self.part} is done; once all are, join them: python -m c2d_fast.prepare merge --out {self.joined}"


def open_share(listing: Listing, wanted: tuple[int, int] | None, manifest: Path, settings: Mapping[str, Any]) -> Share:
    """Returns the share of a list that a command works on.

    Args:
        listing: the list.
        wanted: number of the part and count of parts; None is all of the list.
        manifest: that the command makes.
        settings: what decides about the result beside the list.
    """
    if listing.label_sets is None and min(listing.labels, default=0) == NO_LABEL:
        listing = replace(listing, label_sets=LabelSets.from_labels(np.asarray(listing.labels)))  # as a manifest keeps them
    if wanted is None:
        return Share(listing, listing, None, manifest, manifest)
    number, count = wanted
    rows = rows_of_part(listing.videos, listing.scanned, number, count)
    part = Part(number, count, len(listing), {name: str(value) for name, value in settings.items()}, rows)
    return Share(listing, _select(listing, rows), part, part_path(manifest, number, count), manifest)


def rows_of_part(videos: Sequence[str], scanned: ManifestFile | None, number: int, count: int) -> NDArray[np.int64]:
    """Returns the rows of a list that are one part of it, ascending: a function of the list alone, the same on all machines.

    Parts have about as many bytes each where the list says how large files are, and as many videos otherwise. Rows of the same
    video are in the same part.

    Args:
        videos: of the list, by row.
        scanned: the list's manifest, which has the sizes.
        number: of the part, from 1.
        count: of parts.
    """
    first: dict[str, int] = {}
    video_of_row = np.fromiter((first.setdefault(video, len(first)) for video in videos), np.int64, len(videos))
    sizes = np.zeros(len(first), np.int64)
    if scanned is not None:
        sizes[video_of_row] = np.maximum(scanned.size, 0)
    # The largest go to the parts in turn, there and back again: no part has more than the largest file above another.
    turn, place = np.divmod(np.arange(len(first)), count)
    part_of_video = np.empty(len(first), np.int64)
    part_of_video[np.argsort(-sizes, kind="stable")] = np.where(turn % 2, count - 1 - place, place)
    return np.flatnonzero(part_of_video[video_of_row] == number - 1)


def _select(listing: Listing, rows: NDArray[np.int64]) -> Listing:
    """Returns a listing of some rows."""
    scanned = listing.scanned
    if scanned:
        scanned = replace(
            scanned,
            videos=chosen(scanned.videos, rows),
            reasons=chosen(scanned.reasons, rows),
            etags=chosen(scanned.etags, rows if scanned.etags else rows[:0]),
            labels=scanned.labels[rows],
            label_sets=chosen_sets(scanned.label_sets, rows),
            size=scanned.size[rows],
            mtime_ns=scanned.mtime_ns[rows],
            depth=scanned.depth[rows],
            facts=scanned.facts[rows],
        )
    return replace(
        listing,
        videos=tuple(chosen(listing.videos, rows)),
        labels=tuple(map(listing.labels.__getitem__, rows.tolist())),
        lines=tuple(map(listing.lines.__getitem__, rows.tolist())),
        scanned=scanned,
        packet_table=None,
        label_sets=chosen_sets(listing.label_sets, rows),
    )
