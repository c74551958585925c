"""The file that `prepare scan` writes: one row for each video of a list. Numpy only; nothing in it can run.

An .npz archive of plain arrays (no pickles), written whole: one file to copy, checked by its archive's checksums, read in
a fraction of a second for 240,000 videos, and the same bytes for the same findings. Strings of varying length are kept as one
UTF-8 text, parted by NUL, which no path can hold.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.archive_members import DAMAGED, TEXT, check_members, describe_error, read_text
from c2d_fast.formats.manifest_part import MEMBERS as PART_MEMBERS
from c2d_fast.formats.manifest_part import LocationT, Part, read_part
from c2d_fast.video.facts import DEPTHS, DTYPE

FORMAT = "c2d_fast.manifest/7"
"""Followed by r where videos are remote, which takes one column more, and by p of a part of a manifest."""
MISSING = "no such file"
_ENDS = 4096  # bytes of an archive in which the names of its first and of all members stand
_TOO_MANY = 2**27
"""Frames of some weeks: a video that is said to have more is none."""
_COUNTED = ("frames", "packets", "width", "height")
_TEXTS = ("codec", "container", "pix_fmt")
_MEMBERS = {
    **dict.fromkeys(("format", "list_sha256"), TEXT),
    **dict.fromkeys(("list_path", "root", "videos", "classes", "reasons", "depth"), np.dtype(np.uint8)),
    **dict.fromkeys(("labels", "size", "mtime_ns"), np.dtype(np.int64)),
    "facts": DTYPE,
}
_REMOTE_MEMBERS = {"etags": np.dtype(np.uint8)}
_FORMATS = {
    FORMAT + "r" * remote + "p" * part: _MEMBERS | (_REMOTE_MEMBERS if remote else {}) | (PART_MEMBERS if part else {})
    for remote in (False, True)
    for part in (False, True)
}


class OtherVersionError(UserError):
    """A manifest that an earlier or later version of this project has written."""


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """A scanned list; every array has one element for each of its videos, in its order."""

    list_path: str
    list_sha256: str
    root: str
    """The data root, absolute."""
    videos: tuple[str, ...]
    """Paths below root."""
    labels: NDArray[np.int64]
    classes: tuple[str, ...] | None
    """What the labels stand for, where the list gave names."""
    size: NDArray[np.int64]
    """Bytes; -1 of a missing file."""
    mtime_ns: NDArray[np.int64]
    etags: tuple[str, ...] = ()
    """Of a list with remote videos: each one's, "" of local ones. There mtime_ns is remote_path.version_of of it."""
    depth: NDArray[np.uint8]
    """Place in facts.DEPTHS of how thoroughly each was examined."""
    facts: NDArray[Any]
    """Of facts.DTYPE; zeros where there is a reason."""
    reasons: tuple[str, ...]
    """Why a video cannot be used; empty where it can."""
    part: Part | None = None
    """Of a manifest that has not all of its list."""

    def identity(self) -> str:
        """Returns a hash of which files these are, in which state: what belongs to this manifest is marked with it."""
        parts = (_pack(self.videos), self.size, self.mtime_ns, self.facts)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        columns = {
            "format": np.array(FORMAT + "r" * bool(self.etags) + "p" * bool(self.part)),
            "list_path": _pack((self.list_path,)),
            "list_sha256": np.array(self.list_sha256),
            "root": _pack((self.root,)),
            "videos": _pack(self.videos),
            "classes": _pack(self.classes or ()),
            "reasons": _pack(tuple(reason.replace("\0", " ") for reason in self.reasons)),
        }
        if self.etags:
            columns["etags"] = _pack(self.etags)
        if self.part:
            columns |= self.part.columns()
        columns |= {name: getattr(self, name) for name in ("labels", "size", "mtime_ns", "depth", "facts")}
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]


def table_path(manifest: LocationT) -> LocationT:
    """Returns the name that a manifest's packet table has."""
    return manifest.with_name(f"{manifest.stem}.packets.npz")


def is_manifest(path: Path) -> bool:
    """Says whether a file is an archive, which no list is."""
    try:
        if not path.is_file():  # a pipe can be read once only
            return False
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def was_manifest(path: Path) -> bool:
    """Says of a file that cannot be read as a manifest whether it was one, of any version: it names a manifest's columns."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            content = file.read(_ENDS)
            file.seek(max(file.seek(0, 2) - _ENDS, 0))
            content += file.read()
    except OSError:
        return False
    return all(f"{name}.npy".encode() in content for name in ("list_path", "list_sha256"))


def read_manifest_file(path: Path) -> ManifestFile:
    """Reads what `write` wrote.

    Raises:
        UserError: it is damaged, or of another kind or version.
    """
    remedy = "make it again with python -m c2d_fast.prepare scan"
    if path.exists() and not is_manifest(path):
        raise UserError(f"{path}: is not a manifest; give one that prepare scan or transcode has made")
    try:
        format_ = read_text(path, "format")
        if format_ not in _FORMATS:
            kind = OtherVersionError if format_.startswith(FORMAT.partition("/")[0]) else UserError
            raise kind(f"{path}: is not a manifest of this version ({FORMAT}); {remedy}")
        check_members(path, _FORMATS[format_])
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
        text = {name: _unpack(columns[name]) for name in ("list_path", "root", "videos", "classes", "reasons")}
        manifest = ManifestFile(
            list_path=text["list_path"][0],
            list_sha256=str(columns["list_sha256"]),
            root=text["root"][0],
            videos=text["videos"],
            labels=columns["labels"].astype(np.int64),
            classes=text["classes"] or None,
            size=columns["size"].astype(np.int64),
            mtime_ns=columns["mtime_ns"].astype(np.int64),
            etags=_unpack(columns["etags"]) if "etags" in columns else (),
            depth=columns["depth"].astype(np.uint8),
            facts=columns["facts"],
            reasons=text["reasons"],
            part=read_part(columns["part"], columns["rows"].astype(np.int64)) if "part" in columns else None,
        )
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: is not a manifest that can be read ({describe_error(error)}); {remedy}") from error
    rows = [len(getattr(manifest, name)) for name in ("videos", "labels", "size", "mtime_ns", "depth", "facts", "reasons")]
    rows += [len(manifest.etags)] if manifest.etags else []
    rows += [len(manifest.part.rows)] if manifest.part else []
    if len(set(rows)) != 1 or not (rows[0] or manifest.part) or not _is_sensible(manifest):
        raise UserError(f"{path}: is a manifest whose columns do not fit each other; {remedy}")
    return manifest


def _is_sensible(manifest: ManifestFile) -> bool:
    """Says whether nothing is in it that no scan writes, and that would only fail when a video's turn comes."""
    good = np.fromiter((not reason for reason in manifest.reasons), bool, len(manifest.reasons))
    facts, names = manifest.facts[good], manifest.classes
    texts = np.concatenate([facts[name] for name in _TEXTS])
    return (
        all(_within(facts[name], 1, _TOO_MANY) for name in _COUNTED)
        and all(_within(facts[name], 0, facts["packets"] + 1) for name in ("entries", "key_frames"))
        and _within(facts["orientation"], 0, 8)
        and bool(np.isfinite(facts["fps"]).all())
        and texts.tobytes().isascii()
        and _within(manifest.size, -1, np.inf)
        and _within(manifest.depth, 0, len(DEPTHS))
        and _within(manifest.labels, 0, np.inf if names is None else len(names))
        and all(manifest.videos)
    )


def _within(values: NDArray[Any], lowest: int, end: Any) -> bool:
    return bool(((values >= lowest) & (values < end)).all())


def _pack(texts: tuple[str, ...]) -> NDArray[np.uint8]:
    # An end mark after each: otherwise no text and one empty text would be the same.
    if held := next((text for text in texts if "\0" in text), None):
        raise UserError(f"{held!r:.100}: holds a NUL character, which parts names in a manifest; leave it out")
    return np.frombuffer("".join(text + "\0" for text in texts).encode(errors="surrogateescape"), np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(packed.tobytes().decode(errors="surrogateescape").split("\0")[:-1])
