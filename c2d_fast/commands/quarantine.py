"""The videos that turned out to be broken while a run read them: kept in its folder, known to all ranks, bounded."""

import time
from pathlib import Path
from typing import Any

from c2d_fast.formats.journal import Journal
from c2d_fast.formats.schemas import QuarantineEntry, quarantine_entry
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.training.distributed import Group
from c2d_fast.video.storage import is_storage_error

FILE = "quarantine.jsonl"
_HEADER = {"format": "c2d_fast.quarantine/1"}


class Quarantine:
    """quarantine.jsonl of a run folder, one line a video, appended and never rewritten.

    A video that could not be read is written down, too, but only replaced until the run is resumed: then it is tried again.
    """

    def __init__(self, folder: Path, group: Group, train: BadVideos, val: BadVideos | None, *, forget: bool = False):
        """Reads what the run has found before it was resumed; the folder need not exist yet.

        Args:
            folder: of the run.
            group: all ranks.
            train: the training list's videos.
            val: the validation list's.
            forget: whether what was found before no longer holds; that is written down, and the lines stay.

        Raises:
            UserError: the file cannot be read, or more videos than --max-bad-videos are in it.
        """
        self._path, self._group = folder / FILE, group
        self._lists = {"train": train} | ({"val": val} if val else {})
        self._journal: Journal | None = None
        self._written: set[tuple[str, int]] = set()
        entries = group.run_on_first(lambda: self._read(forget=forget))
        unread = sum(entry.unread for entry in entries)
        if unread:
            print(f"{unread} videos could not be read before ({self._path}): they are tried again")
        broken = {entry.path for entry in entries if entry.list == "train" and not entry.unread}
        gone, before = set(train.kept_but_broken()), set(train.indices_of(broken).tolist())
        self.known = frozenset(gone | before)
        """Training videos that have been replaced before, or have broken since, by their index in the plan."""
        if self.known:
            print(f"{len(self.known)} training videos broke after the run had begun ({self._path}): they stay replaced")
            train.add_known(self.known, len(before - gone))  # those that can be seen to be broken have been counted
            group.run_on_all(train.check)

    @property
    def has_pending(self) -> bool:
        """Says whether this rank has found a broken video that is not in the file yet."""
        return any(bad.pending for bad in self._lists.values())

    def write_pending(self) -> None:
        """Writes down what this process has found, when no more is to be exchanged."""
        for kind, bad in self._lists.items():
            self._write(kind, bad.pop_pending())

    def exchange(self) -> None:
        """Tells all ranks what each has found, and the first writes it down. Every rank calls it after the same step.

        Raises:
            UserError: together they are more than --max-bad-videos.
        """
        for kind, bad in self._lists.items():
            for rank, pending in enumerate(self._group.all_gather_object(bad.pop_pending())):
                self._write(kind, pending)
                if rank != self._group.rank:
                    bad.add_from_rank(rank, pending)
        self._group.run_on_all(self._check)

    def _check(self) -> None:
        for bad in self._lists.values():
            bad.check()

    def close(self) -> None:
        """Closes the file."""
        if self._journal:
            self._journal.__exit__(None, None, None)

    def _write(self, kind: str, pending: list[tuple[int, str]]) -> None:
        manifest = self._lists[kind].manifest
        for index, reason in pending if self._group.is_first else []:
            if (kind, index) in self._written:
                continue
            self._written.add((kind, index))
            path = manifest.listing.videos[int(manifest.kept[index])]
            entry: dict[str, Any] = {"list": kind, "path": path, "where": manifest.location(index), "reason": reason}
            entry |= {"unread": True} if is_storage_error(reason) else {}
            self._open().add(entry | {"time": time.strftime("%F %T")})

    def _read(self, *, forget: bool) -> list[QuarantineEntry]:
        """Returns the lines that hold, on the first rank."""
        if not self._path.exists():
            return []
        entries = self._open().entries
        last = max((index for index, entry in enumerate(entries) if entry.forgotten), default=-1)
        entries = entries[last + 1 :]
        if not forget or not entries:
            return entries
        self._open().add({"forgotten": len(entries), "time": time.strftime("%F %T")})
        print(f"--forget-quarantine: {len(entries)} videos of {self._path} are used again")
        return []

    def _open(self) -> Journal:
        what = f"--out: {self._path.name}"
        self._journal = self._journal or Journal(
            self._path, _HEADER, what, entry=quarantine_entry, must_match=True, must_be_whole=True
        )
        return self._journal
