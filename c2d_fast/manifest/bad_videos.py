"""How many broken videos a run bears, and which they are."""

import dataclasses
import re
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.formats.manifest_file import MISSING
from c2d_fast.manifest.manifest import Manifest

_SHOWN = 20  # names of broken files; config.json has them all


def parse_limit(text: str) -> tuple[float, bool]:
    """Parses `N` or `P%` of --max-bad-videos: (figure, whether it is per cent).

    Raises:
        UserError: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if not match or ("." in match[1] and not match[2]) or (match[2] and float(match[1]) > 100):
        raise UserError(f"--max-bad-videos {text}: must be a whole number of videos, or per cent such as 1%")
    return float(match[1]), bool(match[2])


@dataclass
class BadVideos:
    """The broken videos of one list: named as they are found, and refused beyond a limit."""

    manifest: Manifest
    limit: tuple[float, bool]
    """From parse_limit."""
    remedy: str
    """What to do when the limit is passed, for the message."""
    check_at_end: bool = False
    """Whether those found while reading are only counted and named: the caller asks check_all_scored() once all are read."""
    found: list[str] = field(default_factory=list)
    """One line each: `list.txt:12: path.mp4 reason`."""
    pending: list[tuple[int, str]] = field(default_factory=list)
    """Index in the plan and reason of those found while reading, until pop_pending() takes them."""
    found_by_others: set[int] = field(default_factory=set)
    """Videos that other ranks have found: to be replaced here, too."""
    _known: set[int] = field(default_factory=set)
    _counted: int = 0
    _num_broke: int = 0

    def add_from_manifest(self, *, count_missing: bool) -> None:
        """Names the list's broken files.

        Args:
            count_missing: whether missing files, too, count against the limit.

        Raises:
            UserError: they are more than the limit, or no video is left.
        """
        listing, broken = self.manifest.listing, self.manifest.broken
        lines = [f"{listing.location(i)} {reason}" for i, reason in broken.items()]
        self.found.extend(lines)
        if broken:
            first = f"{len(broken)} of the {len(listing)} videos of {listing.path} cannot be used, first {lines[0]}"
            if not len(self.manifest.kept):
                raise UserError(f"{first}; none is left")
            if count_missing:
                self._check(len(broken), first)
            elif not listing.scanned:  # what a scan found has been seen, and is no surprise to this run
                self._check(sum(reason != MISSING for reason in broken.values()), first)
            print("\n".join("left out: " + on_one_line(line) for line in lines[:_SHOWN]))
            more = f", {len(lines) - _SHOWN} of them not named here" if len(lines) > _SHOWN else ""
            print(f"{listing.path}: {len(broken)} of {len(listing)} videos left out{more}")

    def add(self, index: int, reason: str) -> None:
        """Names a usable video of the manifest that turned out to be broken.

        Raises:
            UserError: with it they are more than the limit.
        """
        if index in self._known:  # another rank has found it in the same epoch
            return
        line = f"{self.manifest.location(index)} {reason}"
        self._known.add(index)
        self.found.append(line)
        self.pending.append((index, reason))
        self._num_broke += 1
        tqdm.write(on_one_line(f"broken video: {line}"))  # a progress bar may be showing
        if not self.check_at_end:
            self._check(1, f"{line}: broken or missing so far: {len(self.found)} of {len(self.manifest.listing)}")

    def add_from_rank(self, rank: int, found: list[tuple[int, str]]) -> None:
        """Names and counts what another rank has found; check() says whether they are too many."""
        new = {index: reason for index, reason in found if index not in self._known}
        for index, reason in new.items():
            line = f"{self.manifest.location(index)} {reason}"
            self.found.append(line)
            tqdm.write(on_one_line(f"broken video (rank {rank}): {line}"))
        self.found_by_others.update(new)
        self.add_known(new.keys(), len(new))

    def add_known(self, known: Set[int], count: int) -> None:
        """Marks videos that have been named before as known, and counts so many of them; check() says if they are too many."""
        self._known |= known
        self._num_broke += count
        self._counted += 0 if self.check_at_end else count

    def pop_pending(self) -> list[tuple[int, str]]:
        """Returns what has been found while reading since the last call."""
        pending, self.pending = self.pending, []
        return pending

    def exclude_only(self, excluded_rows: list[int]) -> None:
        """Excludes just those rows, as when the run began, and keeps all others, whatever has become of them since.

        The order of samples depends on it. Videos that have broken since are in kept_but_broken(), and must be replaced.
        """
        count = len(self.manifest.listing)
        self.manifest = dataclasses.replace(self.manifest, kept=np.flatnonzero(~_marked(excluded_rows, count)))

    def kept_but_broken(self) -> list[int]:
        """Returns the videos that are broken though they are kept, by their index in the plan."""
        indices: list[int] = self._indices(list(self.manifest.broken)).tolist()
        return indices

    def excluded_rows(self) -> list[int]:
        """Returns the rows of the list that are not kept."""
        excluded: list[int] = np.flatnonzero(~_marked(self.manifest.kept, len(self.manifest.listing))).tolist()
        return excluded

    def indices_of(self, paths: Set[str]) -> NDArray[np.int64]:
        """Returns the usable videos with these paths, as they stand in the list, by their index in the plan."""
        return self._indices([row for row, video in enumerate(self.manifest.listing.videos) if video in paths] if paths else [])

    def _indices(self, rows: list[int]) -> NDArray[np.int64]:
        """Returns the usable videos that stand in some rows of the list, by their index in the plan."""
        return np.flatnonzero(_marked(rows, len(self.manifest.listing))[self.manifest.kept])

    def check(self) -> None:
        """Compares with the limit.

        Raises:
            UserError: they are more.
        """
        self._check(0, f"{self._counted} of the {len(self.manifest.listing)} videos of {self.manifest.listing.path} are broken")

    def check_all_scored(self) -> None:
        """Says in the end, of a list that has been scored, whether all of it was.

        Raises:
            UserError: broken videos were found while reading, and none are allowed.
        """
        if self._num_broke and self.limit[0] == 0:
            name = self.found[-1] if self.found else "see the messages above"
            raise UserError(
                f"{self._num_broke} of the {len(self.manifest.listing)} videos of {self.manifest.listing.path} broke while "
                f"they were read, and are not in the score ({name}); {self.remedy}"
            )

    def _check(self, more: int, message: str) -> None:
        self._counted += more
        figure, per_cent = self.limit
        if self._counted > (figure * len(self.manifest.listing) / 100 if per_cent else figure):
            shown = f"{figure:g}%" if per_cent else f"{figure:g}"
            raise UserError(f"{message}; the limit is {shown}: {self.remedy}")


def _marked(rows: list[int] | NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Says of each of so many rows whether it is among some: bool [count]."""
    marked, rows = np.zeros(count, bool), np.asarray(rows, np.int64)
    marked[rows[(rows >= 0) & (rows < count)]] = True
    return marked
