"""What `prepare check` has found: pairs of videos, which of them stand in both lists, and how a user is told."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write
from c2d_fast.lists.make_lists import fits_a_line, quoted
from c2d_fast.prepare.checked_lists import CheckedLists
from c2d_fast.prepare.near_pairs import Pairs
from c2d_fast.tables import csv_cell

KINDS = ("file", "exact", "near")
"""file: both lists, or lines, name the same file; exact: the same packets; near: frames that look alike."""
_NAMED = 10
_COLUMNS = ("list", "row", "path", "label", "class")


@dataclass(frozen=True)
class Pair:
    """Two videos that show the same."""

    kind: str
    first: int
    second: int
    """Their numbers, the smaller one first."""
    distance: float = 0.0
    """Bits of 64 in which frames differ, on average."""


@dataclass
class Findings:
    """All pairs, and the videos that stand in both lists."""

    lists: CheckedLists
    groups: Sequence[Sequence[int]]
    """Videos that are the same file or have the same packets, sorted: two or more each, no video in two of them."""
    pairs: list[Pair] = field(default_factory=list)
    leaked: set[int] = field(default_factory=set)
    """Videos of each list of which there is a copy in the other."""

    def __post_init__(self) -> None:
        self._group_of = {number: group for group in self.groups for number in group}
        for group in self.groups:
            parts = self._by_list(group)
            # Not all with all: a star in each list, and one from each list to the other, says the same in fewer lines.
            links = [(part[0], other) for part in parts for other in part[1:]]
            if len(parts) == 2:
                links += [(parts[0][0], other) for other in parts[1]]
                self.leaked.update(group)
            paths = {number: str(self.lists.video(number).path) for number in group}
            self.pairs += [Pair("file" if paths[a] == paths[b] else "exact", a, b) for a, b in links]

    def add_near(self, pairs: Pairs) -> None:
        """Adds pairs of videos that look alike; those that are known to be exact copies are left out."""
        for (a, b), distance in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
            group = self._group_of.get(a, (a,))
            if b in group:
                continue
            self.pairs.append(Pair("near", a, b, distance))
            if self._crosses(a, b):
                for number, other in product((a, b), (a, b)):
                    if number != other:
                        one = self.lists.place(number)[0]
                        self.leaked.update(n for n in self._group_of.get(number, (number,)) if self.lists.place(n)[0] is one)

    def representatives(self, numbers: Iterable[int]) -> list[int]:
        """Returns of some videos those that stand for all: of copies the first in each list."""
        return [
            number
            for number in numbers
            if number not in self._group_of or number in {part[0] for part in self._by_list(self._group_of[number])}
        ]

    def first_of(self, number: int) -> int:
        """Returns the first of a video's copies, or the video itself: what is read of it holds for all."""
        return self._group_of.get(number, (number,))[0]

    def ordered(self) -> list[Pair]:
        """Returns the pairs that cross the lists first, and of these the surest."""
        return sorted(
            self.pairs,
            key=lambda pair: (
                not self._crosses(pair.first, pair.second), KINDS.index(pair.kind), pair.distance, pair.first, pair.second
            ),
        )  # fmt: skip

    def leaked_in(self, name: str) -> int:
        """Returns how many videos of the list of this name have a copy in the other."""
        return sum(self.lists.place(number)[0].name == name for number in self.leaked)

    def summary(self) -> list[str]:
        """Returns lines for the user."""
        names = [one.name for one in self.lists.lists]
        places = [f"within {name}" for name in names] + (["in both"] if len(names) == 2 else [])
        counts = {(place, kind): 0 for place in places for kind in KINDS}
        others = 0
        for pair in self.pairs:
            one, other = (self.lists.place(number)[0].name for number in (pair.first, pair.second))
            counts[f"within {one}" if one == other else "in both", pair.kind] += 1
            others += not self.lists.same_label(pair.first, pair.second)
        lines = ["", f"  {'pairs':<16}" + "".join(f"{kind:>10}" for kind in ("same file", *KINDS[1:]))]
        lines += [f"  {place:<16}" + "".join(f"{counts[place, kind]:>10}" for kind in KINDS) for place in places]
        if self.pairs:
            lines += [f"{others} of these pairs have different labels", ""]
        shown = self.ordered()
        lines += [f"  {self._line(pair)}" for pair in shown[:_NAMED]]
        if len(shown) > _NAMED:
            lines.append(f"  and {len(shown) - _NAMED} more pairs: --csv FILE names them all")
        return list(map(on_one_line, lines))

    def _line(self, pair: Pair) -> str:
        distance = f" ({pair.distance:.1f} bits)" if pair.kind == "near" else ""
        labels = [self.lists.label(number) for number in (pair.first, pair.second)]
        differ = "" if self.lists.same_label(pair.first, pair.second) else f" (labels {' and '.join(labels)})"
        return f"{pair.kind}{distance}: {self.lists.describe(pair.first)} = {self.lists.describe(pair.second)}{differ}"

    def _by_list(self, group: Sequence[int]) -> list[list[int]]:
        which = self.lists.list_of(np.array(group)).tolist()
        return [part for one in (0, 1) if (part := [n for n, of in zip(group, which, strict=True) if of == one])]

    def _crosses(self, a: int, b: int) -> bool:
        return self.lists.place(a)[0] is not self.lists.place(b)[0]


def write_csv(findings: Findings, path: Path) -> None:
    """Writes a table of all pairs, one line each.

    Raises:
        UserError: it cannot be written.
    """
    lists = findings.lists
    try:
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.writer(file)
            table.writerow(["kind", "distance", "same_label", *(f"{name}_{end}" for end in "ab" for name in _COLUMNS)])
            for pair in findings.ordered():
                cells = [pair.kind, round(pair.distance, 2), int(lists.same_label(pair.first, pair.second))]
                for number in (pair.first, pair.second):
                    one, row = lists.place(number)
                    cells += [one.name, row + 1, one.listing.videos[row], one.listing.label_text(row), one.class_name(row)]
                table.writerow(map(csv_cell, cells))
    except OSError as error:
        raise UserError(f"--csv {path}: cannot be written ({error.strerror}); give another file") from error


def write_clean_list(findings: Findings, path: Path) -> int:
    """Writes the training list without the videos that have a copy in the other list; returns how many are left.

    Raises:
        UserError: it cannot be written, or a path cannot stand in a list.
    """
    listing = findings.lists.lists[0].listing
    kept = [i for i in range(len(listing)) if i not in findings.leaked]
    if unfit := next((i for i in kept if not fits_a_line(listing.videos[i])), None):
        raise UserError(f"--write-train {path}: {listing.location(unfit)}: the name cannot stand in a list; rename the file")
    try:
        with atomic_write(path) as partial:
            partial.write_text(
                "".join(f"{quoted(listing.videos[i])} {listing.label_text(i)}\n" for i in kept), encoding="utf-8"
            )
    except OSError as error:
        raise UserError(f"--write-train {path}: cannot be written ({error.strerror}); give another file") from error
    return len(kept)


def unread_lines(lists: CheckedLists, reasons: Mapping[int, str], what: str) -> list[str]:
    """Returns lines that name the first videos that could not be read, and what that means."""
    if not reasons:
        return []
    lines = [f"{len(reasons)} videos cannot be read, {what}:"]
    lines += [f"  {lists.describe(number)} {reason}" for number, reason in sorted(reasons.items())[:_NAMED]]
    if len(reasons) > _NAMED:
        lines.append(f"  and {len(reasons) - _NAMED} more")
    return list(map(on_one_line, lines))
