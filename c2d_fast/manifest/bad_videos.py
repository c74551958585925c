"""How many broken videos a run bears, and which they are."""

import dataclasses
import re
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast.errors import UserError, on_one_line
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
    judged_at_end: bool = False
    """Whether those found while reading are only counted and named: the caller asks check_late() once all are read."""
    found: list[str] = field(default_factory=list)
    """One line each: `list.txt:12: path.mp4 reason`."""
    late: list[tuple[int, str]] = field(default_factory=list)
    """Index in the plan and reason of those found while reading, until they are taken."""
    heard: set[int] = field(default_factory=set)
    """Videos that other ranks have found: to be replaced here, too."""
    _known: set[int] = field(default_factory=set)
    _counted: int = 0
    _num_late: int = 0

    def add_from_manifest(self, *, missing_count: bool) -> None:
        """Names the list's broken files.

        Args:
            missing_count: whether missing files, too, count against the limit.

        Raises:
            UserError: they are more than the limit, or no video is left.
        """
        listing, broken = self.manifest.listing, self.manifest.broken
        lines = [f"{listing.where(i)} {reason}" for i, reason in broken.items()]
        self.found.extend(lines)
        if broken:
            first = f"{len(broken)} of the {len(listing)} videos of {listing.path} cannot be used, first {lines[0]}"
            if not len(self.manifest.kept):
                raise UserError(f"{first}; none is left")
            if missing_count:
                self._check(len(broken), first)
            elif not listing.scanned:  # what a scan found has been seen, and is no surprise to this run
                self._check(sum(listing.file(i).exists() for i in broken), first)
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
        line = f"{self.manifest.where(index)} {reason}"
        self._known.add(index)
        self.found.append(line)
        self.late.append((index, reason))
        self._num_late += 1
        tqdm.write(on_one_line(f"broken video: {line}"))  # a progress bar may be showing
        if not self.judged_at_end:
            self._check(1, f"{line}: broken or missing so far: {len(self.found)} of {len(self.manifest.listing)}")

    def hear(self, rank: int, late: list[tuple[int, str]]) -> None:
        """Names and counts what another rank has found; check() says whether they are too many."""
        new = {index: reason for index, reason in late if index not in self._known}
        for index, reason in new.items():
            line = f"{self.manifest.where(index)} {reason}"
            self.found.append(line)
            tqdm.write(on_one_line(f"broken video (rank {rank}): {line}"))
        self.heard.update(new)
        self.learn(new.keys(), len(new))

    def learn(self, known: Set[int], count: int) -> None:
        """Takes note of videos that have been named before, and counts so many of them; check() says if they are too many."""
        self._known |= known
        self._num_late += count
        self._counted += 0 if self.judged_at_end else count

    def take_late(self) -> list[tuple[int, str]]:
        """Returns what has been found while reading since the last call."""
        late, self.late = self.late, []
        return late

    def keep_all_but(self, left_out: list[int]) -> None:
        """Takes the list's videos as they were when a run began: all but those rows, whatever has become of them since.

        The order of samples depends on it. Videos that have broken since are in gone(), and must be replaced.
        """
        rows = np.arange(len(self.manifest.listing))
        self.manifest = dataclasses.replace(self.manifest, kept=rows[~np.isin(rows, left_out)])

    def gone(self) -> list[int]:
        """Returns the videos that are broken though they are kept, by their index in the plan."""
        return [place for place, row in enumerate(self.manifest.kept.tolist()) if row in self.manifest.broken]

    def left_out(self) -> list[int]:
        """Returns the rows of the list that are not kept."""
        rows = np.arange(len(self.manifest.listing))
        return [int(row) for row in rows[~np.isin(rows, self.manifest.kept)]]

    def places(self, paths: Set[str]) -> NDArray[np.int64]:
        """Returns the usable videos with these paths, as they stand in the list, by their index in the plan."""
        videos = self.manifest.listing.videos
        return np.array([place for place, row in enumerate(self.manifest.kept.tolist()) if videos[row] in paths], np.int64)

    def check(self) -> None:
        """Compares with the limit.

        Raises:
            UserError: they are more.
        """
        self._check(0, f"{self._counted} of the {len(self.manifest.listing)} videos of {self.manifest.listing.path} are broken")

    def check_late(self) -> None:
        """Says in the end, of a list that has been scored, whether all of it was.

        Raises:
            UserError: broken videos were found while reading, and none are allowed.
        """
        if self._num_late and self.limit[0] == 0:
            name = self.found[-1] if self.found else "see the messages above"
            raise UserError(
                f"{self._num_late} of the {len(self.manifest.listing)} videos of {self.manifest.listing.path} broke while they "
                f"were read, and are not in the score ({name}); {self.remedy}"
            )

    def _check(self, more: int, message: str) -> None:
        self._counted += more
        figure, per_cent = self.limit
        if self._counted > (figure * len(self.manifest.listing) / 100 if per_cent else figure):
            shown = f"{figure:g}%" if per_cent else f"{figure:g}"
            raise UserError(f"{message}; the limit is {shown}: {self.remedy}")
