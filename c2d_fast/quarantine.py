"""The videos that turned out to be broken while a run read them: kept in its folder, known to all ranks, bounded."""

import time
from pathlib import Path

from c2d_fast.bad_videos import BadVideos
from c2d_fast.distributed import Group
from c2d_fast.journal import Journal
from c2d_fast.schemas import quarantine_entry

FILE = "quarantine.jsonl"
_HEADER = {"format": "c2d_fast.quarantine/1"}


class Quarantine:
    """quarantine.jsonl of a run folder, one line a video, appended and never rewritten."""

    def __init__(self, folder: Path, group: Group, train: BadVideos, val: BadVideos | None):
        """Reads what the run has found before it was resumed; the folder need not exist yet.

        Raises:
            UserError: the file cannot be read, or more videos than --max-bad-videos are in it.
        """
        self._path, self._group = folder / FILE, group
        self._lists = {"train": train} | ({"val": val} if val else {})
        self._journal: Journal | None = None
        self._written: set[tuple[str, int]] = set()
        entries = group.by_first(lambda: self._open().entries if self._path.exists() else [])
        broken = {entry.path for entry in entries if entry.list == "train"}
        gone, before = set(train.gone()), set(train.places(broken).tolist())
        self.known = frozenset(gone | before)
        """Training videos that have been replaced before, or have broken since, by their place in the plan."""
        if self.known:
            print(f"{len(self.known)} training videos broke after the run had begun ({self._path}): they stay replaced")
            train.learn(self.known, len(before - gone))  # those that can be seen to be broken have been counted
            group.together(train.check)

    @property
    def has_news(self) -> bool:
        """Says whether this rank has found a broken video that is not in the file yet."""
        return any(bad.late for bad in self._lists.values())

    def write_own(self) -> None:
        """Writes down what this process has found, when no more is to be exchanged."""
        for kind, bad in self._lists.items():
            self._write(kind, bad.take_late())

    def exchange(self) -> None:
        """Tells all ranks what each has found, and the first writes it down. Every rank calls it after the same step.

        Raises:
            UserError: together they are more than --max-bad-videos.
        """
        for kind, bad in self._lists.items():
            for rank, late in enumerate(self._group.share(bad.take_late())):
                self._write(kind, late)
                if rank != self._group.rank:
                    bad.hear(rank, late)
        self._group.together(self._check)

    def _check(self) -> None:
        for bad in self._lists.values():
            bad.check()

    def close(self) -> None:
        """Closes the file."""
        if self._journal:
            self._journal.__exit__(None, None, None)

    def _write(self, kind: str, late: list[tuple[int, str]]) -> None:
        manifest = self._lists[kind].manifest
        for index, reason in late if self._group.is_first else []:
            if (kind, index) in self._written:
                continue
            self._written.add((kind, index))
            path = manifest.listing.videos[int(manifest.kept[index])]
            entry = {"list": kind, "path": path, "where": manifest.where(index), "reason": reason}
            self._open().add(entry | {"time": time.strftime("%F %T")})

    def _open(self) -> Journal:
        what = f"--out: {self._path.name}"
        self._journal = self._journal or Journal(
            self._path, _HEADER, what, entry=quarantine_entry, must_match=True, must_be_whole=True
        )
        return self._journal
