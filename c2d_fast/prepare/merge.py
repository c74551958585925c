"""`prepare merge`: joins what several machines have made of the parts of a list into what one would have made of all of it."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast import console
from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write, check_writable, remove_partials
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.label_sets import joined as joined_sets
from c2d_fast.formats.manifest_file import ManifestFile, table_path
from c2d_fast.formats.packet_table import TableError, open_table, write_table
from c2d_fast.formats.texts import joined
from c2d_fast.lists.fetched import fetched
from c2d_fast.prepare.merge_parts import Piece, parts_beside, read_pieces
from c2d_fast.prepare.results_folder import ResultsFolder, results_folder, write_results
from c2d_fast.prepare.show import report
from c2d_fast.remote.remote_path import Location, RemotePath

_COLUMNS = ("labels", "size", "mtime_ns", "depth", "facts")


def run_merge(args: argparse.Namespace) -> None:
    """Joins parts as the flags of `c2d_fast.prepare merge` say.

    Raises:
        UserError: a part is missing, unfinished, there twice, or of another list; or the result cannot be written.
    """
    out: Location = args.out
    if not isinstance(out, RemotePath):
        check_writable(out, "--out")
    pieces = read_pieces(args.parts or parts_beside(out), out)
    owner = _owners(pieces)
    manifest = _join(pieces, owner)
    folder = results_folder(out.parent)
    folder.local.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Neither another merge nor a scan of the whole list makes it meanwhile.
        journal_path = folder.local / f"{out.name}.journal"
        header = {"format": "c2d_fast.merge/1"}
        journal = stack.enter_context(Journal(journal_path, header, f"--out {out}", must_match=True))
        target = folder.local / out.name
        remove_partials(target, table_path(target), target.with_suffix(".txt"))
        if pieces[0].part.settings["command"] == "transcode":
            if all(manifest.reasons):
                raise UserError(f"--out {out}: none of its {len(owner)} videos could be transcoded: {manifest.reasons[0]}")
            write_results(folder, out.stem, manifest, lambda whole: _write_table(target, whole, pieces, owner))
            _join_journals(pieces, folder, out.stem)
        else:
            _write_scan(folder, out, manifest, pieces, owner)
        journal.remove()
    console.result("\n".join(report(manifest)))
    print(f"manifest: {out}; the files of its {len(pieces)} parts can be deleted")


def _owners(pieces: Sequence[Piece]) -> NDArray[np.int64]:
    """Returns which of the pieces has each row of the list.

    Raises:
        UserError: a row is in none of them, or in two.
    """
    owner = np.full(pieces[0].part.total, -1, np.int64)
    for number, piece in enumerate(pieces):
        twice = owner[piece.part.rows]
        if (twice >= 0).any():
            other = pieces[int(twice.max())]
            raise UserError(f"{piece.path}: has videos that {other.path} has, too: the lists had other sizes; make both again")
        owner[piece.part.rows] = number
    if (owner < 0).any():
        lacking = f"{int((owner < 0).sum())} of the list's {len(owner)} rows"
        raise UserError(
            f"{pieces[0].path}: all parts together lack {lacking}: the lists had other sizes; make them again of one list"
        )
    return owner


def _join(pieces: Sequence[Piece], owner: NDArray[np.int64]) -> ManifestFile:
    """Returns the manifest of all rows, as a command without parts makes it."""
    place = np.empty(len(owner), np.int64)  # of each row, in the pieces one after another
    place[np.concatenate([piece.part.rows for piece in pieces])] = np.arange(len(owner))
    manifests = [piece.manifest for piece in pieces]
    columns = {name: np.concatenate([getattr(one, name) for one in manifests])[place] for name in _COLUMNS}
    texts = {name: joined([getattr(one, name) for one in manifests], place) for name in ("videos", "reasons")}
    etags = [one.etags or ("",) * len(one.videos) for one in manifests] if any(one.etags for one in manifests) else []
    changed: dict[str, Any] = columns | texts | {"etags": joined(etags, place) if etags else (), "part": None}
    if all(one.label_sets is not None for one in manifests):
        changed["label_sets"] = joined_sets([one.label_sets for one in manifests if one.label_sets is not None]).take(place)
    return replace(manifests[0], **changed)


def _write_table(target: Path, manifest: ManifestFile, pieces: Sequence[Piece], owner: NDArray[np.int64]) -> None:
    """Writes the packet table of a manifest of those of the pieces, a video at a time.

    Raises:
        UserError: one of a piece is not there, or damaged.
        OSError: it cannot be written.
    """
    paths = [fetched(table_path(piece.path), "packet table") for piece in pieces]
    tables = [open_table(path, piece.manifest.identity()) for path, piece in zip(paths, pieces, strict=True)]
    counts = np.empty(len(owner), np.int64)
    for piece, table in zip(pieces, tables, strict=True):
        counts[piece.part.rows] = table.counts()

    def videos() -> Iterator[tuple[bytes, bytes]]:
        readers = [table.each() for table in tables]
        for number in owner.tolist():
            try:
                if (found := next(readers[number])) is None:
                    raise TableError("does not match its checksum")
            except TableError as error:
                raise UserError(f"{paths[number]}: {error}; run the command of {pieces[number].part} again") from error
            yield found[0].tobytes(), found[1]

    write_table(table_path(target), manifest.identity(), videos(), counts)


def _write_scan(
    folder: ResultsFolder, out: Location, manifest: ManifestFile, pieces: Sequence[Piece], owner: NDArray[np.int64]
) -> None:
    target = folder.local / out.name
    has_table = pieces[0].part.settings["packets"] == "True"
    try:
        if has_table:
            _write_table(target, manifest, pieces, owner)
        manifest.write(target)
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.strerror}); make room, and the same command goes on"
        ) from error
    folder.upload(*([table_path(target).name] if has_table else []), target.name)


def _join_journals(pieces: Sequence[Piece], folder: ResultsFolder, stem: str) -> None:
    """Makes the journal of a command without parts, as far as the parts' lie beside them: such a command then goes on."""
    journals = [piece.path.with_name(f"{piece.path.stem}.journal") for piece in pieces]
    lines: list[list[bytes]] = []
    for journal in journals:
        if not isinstance(journal, Path) or not journal.exists():
            return
        lines.append(journal.read_bytes().splitlines(keepends=True))
    if len({one[0] for one in lines if one}) == 1 and all(lines):
        whole = lines[0][0] + b"".join(b"".join(one[1:]) for one in lines)
        with atomic_write(folder.local / f"{stem}.journal") as partial:
            partial.write_bytes(whole)
