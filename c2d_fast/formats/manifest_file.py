"""The file that `prepare scan` writes: one row for each video of a list. Numpy only; nothing in it can run.

An .npz archive of plain arrays (no pickles), written whole: one file to copy, checked by its archive's checksums, read in
a fraction of a second for 240,000 videos, and the same bytes for the same findings. Strings of varying length are kept as one
UTF-8 text, parted by NUL, which no path can hold.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.archive_members import DAMAGED, TEXT, Member, check_members, describe_error, read_text
from c2d_fast.formats.array_blocks import read_rows, read_texts, read_whole
from c2d_fast.formats.integers import narrowed
from c2d_fast.formats.label_sets import LabelSets
from c2d_fast.formats.manifest_checks import FactChecks, are_labels, within
from c2d_fast.formats.manifest_part import MEMBERS as PART_MEMBERS
from c2d_fast.formats.manifest_part import LocationT, Part, read_part
from c2d_fast.formats.texts import Texts, are_empty
from c2d_fast.video.facts import DEPTHS, DTYPE

FORMAT = "c2d_fast.manifest/7"
"""Followed by r where videos are remote, which takes one column more, by p of a part of a manifest, and by s where videos have
any number of labels, which takes three."""
MISSING = "no such file"
_ENDS = 4096  # bytes of an archive in which the names of its first and of all members stand
_ROWS = 2**18  # of the facts that are looked at together
_PACKED = ("list_path", "root", "videos", "classes", "reasons")
_NUMBERS = ("labels", "size", "mtime_ns", "depth")
_MEMBERS = {
    **dict.fromkeys(("format", "list_sha256"), TEXT),
    **dict.fromkeys((*_PACKED, "depth"), np.dtype(np.uint8)),
    **dict.fromkeys(("labels", "size", "mtime_ns"), np.dtype(np.int64)),
    "facts": DTYPE,
}
_REMOTE_MEMBERS = {"etags": np.dtype(np.uint8)}
_SET_MEMBERS = {"label_ends": np.dtype(np.int64), "label_classes": np.dtype(np.int32), "label_weights": np.dtype(np.float32)}
_MORE: dict[str, dict[str, Any]] = {"r": _REMOTE_MEMBERS, "p": PART_MEMBERS, "s": _SET_MEMBERS}
_FORMATS = {
    FORMAT + letters: dict(item for members in (_MEMBERS, *map(_MORE.__getitem__, letters)) for item in members.items())
    for letters in ("", "r", "p", "rp", "s", "rs", "ps", "rps")
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
    videos: Sequence[str]
    """Paths below root."""
    labels: NDArray[np.int64]
    """As in Listing."""
    classes: tuple[str, ...] | None
    """What the labels stand for, where the list gave names."""
    size: NDArray[np.int64]
    """Bytes; -1 of a missing file."""
    mtime_ns: NDArray[np.int64]
    etags: Sequence[str] = ()
    """Of a list with remote videos: each one's, "" of local ones. There mtime_ns is remote_path.version_of of it."""
    depth: NDArray[np.uint8]
    """Place in facts.DEPTHS of how thoroughly each was examined."""
    facts: NDArray[Any]
    """Of facts.DTYPE, or columns of it, in types as narrow as their values; zeros where there is a reason."""
    reasons: Sequence[str]
    """Why a video cannot be used; empty where it can."""
    part: Part | None = None
    """Of a manifest that has not all of its list."""
    label_sets: LabelSets | None = None
    """All labels, where a video may have none or several, or shares."""

    def identity(self) -> str:
        """Returns a hash of which files these are, in which state: what belongs to this manifest is marked with it."""
        digest = _digest_of(self.videos, self.size, self.mtime_ns)
        for first in range(0, len(self.facts), _ROWS):
            digest.update(self.facts[first : first + _ROWS].astype(DTYPE, copy=False).tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        columns = {
            "format": np.array(FORMAT + "r" * bool(self.etags) + "p" * bool(self.part) + "s" * (self.label_sets is not None)),
            "list_path": _pack((self.list_path,)),
            "list_sha256": np.array(self.list_sha256),
            "root": _pack((self.root,)),
            "videos": _pack(self.videos),
            "classes": _pack(self.classes or ()),
            "reasons": _pack(self.reasons if isinstance(self.reasons, Texts) else _without_nul(self.reasons)),
        }
        if self.etags:
            columns["etags"] = _pack(self.etags)
        if self.part:
            columns |= self.part.columns()
        if self.label_sets is not None:
            columns |= zip(_SET_MEMBERS, self.label_sets.columns(), strict=True)
        columns["labels"] = self.labels.astype(np.int64, copy=False)
        columns |= {name: getattr(self, name) for name in ("size", "mtime_ns", "depth")}
        columns["facts"] = self.facts.astype(DTYPE, copy=False)
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
    return _read(path, None)[0]


def read_narrow(
    path: Path, columns: Sequence[str] = DTYPE.names or (), *, with_identity: bool = False
) -> tuple[ManifestFile, str]:
    """Reads a manifest into little memory: its facts and labels in types as narrow as their values; and its identity.

    Args:
        path: the manifest.
        columns: of the facts; others are not kept.
        with_identity: whether that is asked for; otherwise it is "".

    Raises:
        UserError: as read_manifest_file.
    """
    return _read(path, columns, with_identity=with_identity)


def _read(path: Path, columns: Sequence[str] | None, *, with_identity: bool = False) -> tuple[ManifestFile, str]:
    remedy = "make it again with python -m c2d_fast.prepare scan"
    if path.exists() and not is_manifest(path):
        raise UserError(f"{path}: is not a manifest; give one that prepare scan or transcode has made")
    try:
        format_ = read_text(path, "format")
        if format_ not in _FORMATS:
            kind = OtherVersionError if format_.startswith(FORMAT.partition("/")[0]) else UserError
            raise kind(f"{path}: is not a manifest of this version ({FORMAT}); {remedy}")
        members = check_members(path, _FORMATS[format_])
        of_part = {
            name: read_whole(path, name, members[name].shape[0], members[name].dtype)
            for name in PART_MEMBERS
            if name in members
        }
        part = read_part(**of_part) if of_part else None
        packed = {name: read_texts(path, name, members[name].shape[0]) for name in (*_PACKED, "etags") if name in members}
        sets = _read_sets(path, members)
        arrays = {name: read_whole(path, name, members[name].shape[0], members[name].dtype) for name in _NUMBERS}
        if columns is not None:
            arrays["labels"] = narrowed(arrays["labels"])
        rows = {*map(len, arrays.values()), *members["facts"].shape, *(len(packed[name]) for name in ("videos", "reasons"))}
        rows |= {len(packed["etags"])} if len(packed.get("etags", ())) else set()
        rows |= ({len(part.rows)} if part else set()) | ({len(sets)} if sets is not None else set())
        checks = FactChecks(are_empty(packed["reasons"]))
        if len(rows) != 1 or not (min(rows) or part):
            checks.is_sensible = False
        digest = _digest_of(packed["videos"], arrays["size"], arrays["mtime_ns"]) if with_identity else None

        def look(first: int, block: NDArray[Any]) -> None:
            checks.look(first, block)
            if digest:
                digest.update(block.tobytes())

        num_facts = members["facts"].shape[0]  # none of a part of a list with fewer videos than parts
        facts = read_rows(path, "facts", num_facts, columns, look) if num_facts else np.zeros(0, DTYPE)
        manifest = ManifestFile(
            list_path=packed["list_path"][0],
            list_sha256=read_text(path, "list_sha256"),
            root=packed["root"][0],
            videos=packed["videos"],
            classes=tuple(packed["classes"]) or None,
            etags=packed.get("etags", ()),
            facts=facts,
            reasons=packed["reasons"],
            part=part,
            label_sets=sets,
            **arrays,
        )
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: is not a manifest that can be read ({describe_error(error)}); {remedy}") from error
    if not checks.is_sensible or not _is_sensible(manifest):
        raise UserError(f"{path}: is a manifest whose columns do not fit each other; {remedy}")
    return manifest, digest.hexdigest() if digest else ""


def _read_sets(path: Path, members: Mapping[str, Member]) -> LabelSets | None:
    if "label_ends" not in members:
        return None
    return LabelSets(*(read_whole(path, name, members[name].shape[0], dtype) for name, dtype in _SET_MEMBERS.items()))


def _is_sensible(manifest: ManifestFile) -> bool:
    """Says the same of the other columns."""
    names = manifest.classes
    return (
        within(manifest.size, -1, np.inf)
        and within(manifest.depth, 0, len(DEPTHS))
        and are_labels(manifest.labels, manifest.label_sets, None if names is None else len(names))
        and not are_empty(manifest.videos).any()
    )


def _digest_of(videos: Sequence[str], size: NDArray[np.int64], mtime_ns: NDArray[np.int64]) -> "hashlib._Hash":
    """Returns the beginning of an identity, behind which the facts follow."""
    digest = hashlib.sha256()
    for part in videos.packed() if isinstance(videos, Texts) else (_pack(videos),):
        digest.update(part.data)
    digest.update(np.ascontiguousarray(size).data)
    digest.update(np.ascontiguousarray(mtime_ns).data)
    return digest


def _without_nul(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text.replace("\0", " ") for text in texts)


def _pack(texts: Sequence[str]) -> NDArray[np.uint8]:
    # An end mark after each: otherwise no text and one empty text would be the same.
    if isinstance(texts, Texts):
        return np.concatenate([np.zeros(0, np.uint8), *texts.packed()])
    if held := next((text for text in texts if "\0" in text), None):
        raise UserError(f"{held!r:.100}: holds a NUL character, which parts names in a manifest; leave it out")
    return np.frombuffer("".join(text + "\0" for text in texts).encode(errors="surrogateescape"), np.uint8)
