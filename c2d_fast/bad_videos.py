"""How many broken videos a run bears, and which they are."""

import re
from dataclasses import dataclass, field

from tqdm import tqdm

from c2d_fast.errors import UserError
from c2d_fast.manifest import Manifest

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
    found: list[str] = field(default_factory=list)
    """One line each: `list.txt:12: path.mp4 reason`."""
    _counted: int = 0

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
            print("\n".join("left out: " + line for line in lines[:_SHOWN]))
            more = f", {len(lines) - _SHOWN} of them not named here" if len(lines) > _SHOWN else ""
            print(f"{listing.path}: {len(broken)} of {len(listing)} videos left out{more}")

    def add(self, index: int, reason: str) -> None:
        """Names a usable video of the manifest that turned out to be broken.

        Raises:
            UserError: with it they are more than the limit.
        """
        line = f"{self.manifest.where(index)} {reason}"
        self.found.append(line)
        self._check(1, f"{line}: broken or missing so far: {len(self.found)} of {len(self.manifest.listing)}")
        tqdm.write(f"broken video: {line}")  # a progress bar may be showing

    def _check(self, more: int, message: str) -> None:
        self._counted += more
        figure, per_cent = self.limit
        if self._counted > (figure * len(self.manifest.listing) / 100 if per_cent else figure):
            shown = f"{figure:g}%" if per_cent else f"{figure:g}"
            raise UserError(f"{message}; the limit is {shown}: {self.remedy}")
