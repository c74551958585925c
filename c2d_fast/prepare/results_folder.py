"""Where `prepare transcode` puts its results: a folder, or a URL, with a folder of this machine for what is not done yet."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write, cache_folder
from c2d_fast.formats.manifest_file import ManifestFile
from c2d_fast.formats.manifest_part import part_in_name
from c2d_fast.lists.make_lists import fits_a_line, quoted
from c2d_fast.remote import transfers
from c2d_fast.remote.remote_errors import RemoteError
from c2d_fast.remote.remote_path import Location, RemotePath, below


@dataclass(frozen=True)
class ResultsFolder:
    """What --out says."""

    out: Location
    local: Path
    """The folder itself, or where the journal and unfinished files of a remote one are."""

    def place(self, name: str) -> Location:
        """Returns where a result of this name is in the end."""
        return below(self.out, name)

    def make_folder(self, name: str) -> None:
        """Makes a folder for results here."""
        _make(self, self.local / name)

    def upload(self, *names: str) -> None:
        """Copies results of this machine to where they belong, in this order.

        Raises:
            UserError: one cannot be written there.
        """
        if not isinstance(self.out, RemotePath):
            return
        for name in names:
            try:
                transfers.upload(self.local / name, self.out / name)
            except RemoteError as error:
                raise UserError(f"--out {self.out}: {name}: {error.strerror}; the same command goes on") from error


def results_folder(out: Location) -> ResultsFolder:
    """Returns a folder of results, which need not be there.

    Raises:
        UserError: it is remote, and this machine has no place for what belongs to it.
    """
    if not isinstance(out, RemotePath):
        return ResultsFolder(out, out)
    cache = cache_folder()
    if cache is None:
        raise UserError(f"--out {out}: there is no folder for its journal: give one by XDG_CACHE_HOME")
    return ResultsFolder(out, cache / "transcode" / hashlib.sha256(out.url.encode()).hexdigest()[:16])


def open_results(out: Location, stem: str, *, for_part: bool) -> ResultsFolder:
    """Opens the folder of results, and sees to it that nothing is written among foreign files.

    Args:
        out: of the command.
        stem: name of the folder of videos and of the files beside it.
        for_part: whether other machines may have begun their parts there.

    Raises:
        UserError: it cannot be made, or holds such files, or parts that are not joined.
    """
    folder = results_folder(out)
    if not (folder.local / f"{stem}.journal").exists():
        _refuse_foreign(folder, stem, for_part)
    _make(folder, folder.local)
    return folder


def _refuse_foreign(folder: ResultsFolder, stem: str, for_part: bool) -> None:
    there = next((name for name in (stem, f"{stem}.npz", f"{stem}.txt") if _is_there(folder.place(name))), None)
    # Looked for after that: a part begins its journal before the folder of videos. Of remote ones journals are elsewhere.
    parts = _parts(folder, stem)
    if there is None or (for_part and (parts or isinstance(folder.out, RemotePath))):
        return
    where = f" (its journal would be {folder.local / stem}.journal)" if isinstance(folder.out, RemotePath) else ""
    whose = f"not from this command{where}" if not parts else "in parts: join them with prepare merge first"
    raise UserError(f"--out {folder.out}: {folder.place(there)} is there, and {whose}; give another folder")


def _parts(folder: ResultsFolder, stem: str) -> list[str]:
    """Returns names of files that belong to parts."""
    whole = folder.local / f"{stem}.npz"
    try:
        names = os.listdir(folder.local)
    except OSError:
        return []
    return [name for name in names if part_in_name(str(Path(name).with_suffix(".npz")), whole)]


def _make(folder: ResultsFolder, path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder.out}: cannot be made ({error.strerror}); give another folder") from error


def write_results(out: ResultsFolder, name: str, manifest: ManifestFile, write_table: Callable[[ManifestFile], object]) -> None:
    """Writes a manifest with its packet table, and of a whole list a plain one for programs that do not know manifests.

    Args:
        out: where they go.
        name: of the files, without what is behind the dot.
        manifest: with the path and the hash of the list that was transcoded; of a whole list they become the plain list's.
        write_table: writes the packet table of the manifest that it is given.

    Raises:
        UserError: they cannot be written.
    """
    names = [f"{name}.packets.npz", f"{name}.npz"]
    try:
        if manifest.part is None:
            names.insert(0, f"{name}.txt")
            text = _plain_list(manifest)
            with atomic_write(out.local / names[0]) as partial:
                partial.write_text(text, encoding="utf-8")
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            manifest = replace(manifest, list_path=str(out.place(names[0]).absolute()), list_sha256=sha256)
        write_table(manifest)
        manifest.write(out.local / names[-1])
    except OSError as error:
        raise UserError(
            f"--out {out.out}: cannot be written ({error.strerror}); make room, and the same command goes on"
        ) from error
    out.upload(*names)


def _plain_list(manifest: ManifestFile) -> str:
    sets = manifest.label_sets
    labels = manifest.labels.tolist() if sets is None else map(sets.text, range(len(sets)))
    rows = zip(manifest.videos, labels, manifest.reasons, strict=True)
    return "".join(f"{quoted(video)} {label}\n" for video, label, reason in rows if not reason and fits_a_line(video))


def _is_there(place: Location) -> bool:
    if not isinstance(place, RemotePath):
        return place.exists()
    try:
        return transfers.exists(place) or transfers.has_files(place)
    except RemoteError as error:
        raise UserError(f"--out {place}: {error.strerror}; give a URL that can be written (docs/remote.md)") from error
