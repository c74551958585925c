"""The parts that `prepare merge` joins: found, read, and compared with each other."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import ManifestFile, read_manifest_file
from c2d_fast.formats.manifest_part import Part, part_in_name, part_path
from c2d_fast.lists.fetched import fetched
from c2d_fast.remote.remote_path import Location, RemotePath
from c2d_fast.remote.transfers import list_files

_NAMED = 20


class Piece(NamedTuple):
    """One part's file."""

    path: Location
    manifest: ManifestFile
    part: Part


def parts_beside(out: Location) -> list[Location]:
    """Returns the parts that lie where their manifest is to be.

    Raises:
        UserError: there are none, or of several counts, or some are unfinished.
    """
    try:
        names = [name for name, _ in list_files(out.parent)] if isinstance(out, RemotePath) else os.listdir(out.parent)
    except OSError as error:
        raise UserError(f"--out {out}: its folder cannot be read ({error.strerror}); correct the path") from error
    done = {key: name for name in names if (key := part_in_name(name, out))}
    scanned = {key for name in names if name.endswith(".journal") and (key := part_in_name(name.removesuffix(".journal"), out))}
    transcoded = {
        key
        for name in names
        if name.endswith(".journal") and (key := part_in_name(name.removesuffix(".journal") + out.suffix, out))
    }
    # A scan's journal goes when it is done; that of transcoding stays.
    unfinished = scanned | (transcoded - done.keys())
    counts = {count for _, count in done.keys() | unfinished}
    if not counts:
        example = part_path(out, 1, 2).name
        raise UserError(f"--out {out}: there are no parts of it beside it, such as {example}; name their files behind --out")
    if len(counts) > 1:
        several = " and of ".join(map(str, sorted(counts)))
        raise UserError(f"--out {out}: beside it are parts of {several}; delete those of an earlier command, or name the files")
    (count,) = counts
    _refuse_gaps(out, count, {number for number, _ in done}, {number for number, _ in unfinished})
    return [out.with_name(name) for _, name in sorted(done.items())]


def read_pieces(paths: Sequence[Location], out: Location) -> list[Piece]:
    """Reads parts; returns them in their order.

    Raises:
        UserError: one is no part or of another list, is there twice, or is missing.
    """
    pieces = [_read(path) for path in paths]
    first = pieces[0]
    seen: dict[int, Piece] = {}
    for piece in pieces:
        if problem := _foreign(piece, first):
            raise UserError(f"{piece.path}: {problem}; give parts of one list, made with the same flags")
        if other := seen.get(piece.part.number):
            raise UserError(f"{piece.path}: is {piece.part}, and so is {other.path}; give one of them")
        seen[piece.part.number] = piece
    _refuse_gaps(out, first.part.count, set(seen), set())
    return [seen[number] for number in sorted(seen)]


def _read(path: Location) -> Piece:
    file = fetched(path, "part")
    if not file.exists():
        raise UserError(f"{path}: no such file; correct the path")
    manifest = read_manifest_file(file)
    if manifest.part is None:
        raise UserError(f"{path}: is a whole manifest and no part of one; leave it out")
    return Piece(path, manifest, manifest.part)


def _foreign(piece: Piece, first: Piece) -> str:
    """Says why a part is not of the manifest that the first one is of; "" if it is."""
    mine, its = piece.part, first.part
    if mine.count != its.count:
        return f"is {mine}, and {first.path} is {its}"
    if piece.manifest.list_sha256 != first.manifest.list_sha256 or mine.total != its.total:
        lists = [f"{m.list_path}, sha256 {m.list_sha256:.12}, {p.total} rows" for _, m, p in (piece, first)]
        return f"is of the list {lists[0]}, and {first.path} of {lists[1]}"
    if piece.manifest.root != first.manifest.root:
        return f"is of videos below {piece.manifest.root}, and {first.path} of videos below {first.manifest.root}"
    for name in sorted(mine.settings.keys() | its.settings.keys()):
        if mine.settings.get(name) != its.settings.get(name):
            return f"was made with {name} {mine.settings.get(name)}, and {first.path} with {its.settings.get(name)}"
    if (piece.manifest.label_sets is None) != (first.manifest.label_sets is None):
        return f"has other labels than {first.path}"
    return "" if piece.manifest.classes == first.manifest.classes else f"has other classes than {first.path}"


def _refuse_gaps(out: Location, count: int, there: set[int], unfinished: set[int]) -> None:
    """Raises a UserError where parts are missing or unfinished."""
    missing = [number for number in range(1, count + 1) if number not in there and number not in unfinished]
    problems = [
        f"{_numbers(numbers)} {'is' if len(numbers) == 1 else 'are'} {what}"
        for numbers, what in ((sorted(unfinished), "unfinished"), (missing, "missing"))
        if numbers
    ]
    if problems:
        raise UserError(f"--out {out}: of its {count} parts {' and '.join(problems)}; run the commands of these first")


def _numbers(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(map(str, numbers[:_NAMED])) + more
