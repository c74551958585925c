"""Where `prepare transcode` puts its results: a folder, or a URL, with a folder of this machine for what is not done yet."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.files import cache_folder
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


def open_results(out: Location, stem: str, journal: str) -> ResultsFolder:
    """Makes the folder of results, and sees to it that nothing is written among foreign files.

    Args:
        out: of the command.
        stem: name of the folder and the files in it.
        journal: name of the journal.

    Raises:
        UserError: it cannot be made, or holds such files.
    """
    if isinstance(out, RemotePath):
        cache = cache_folder()
        if cache is None:
            raise UserError(f"--out {out}: there is no folder for its journal: give one by XDG_CACHE_HOME")
        folder = ResultsFolder(out, cache / "transcode" / hashlib.sha256(out.url.encode()).hexdigest()[:16])
    else:
        folder = ResultsFolder(out, out)
    if not (folder.local / journal).exists():
        for name in (stem, f"{stem}.npz", f"{stem}.txt"):
            if _is_there(folder.place(name)):
                where = f" (its journal would be {folder.local / journal})" if isinstance(out, RemotePath) else ""
                raise UserError(
                    f"--out {out}: {folder.place(name)} is there, and not from this command{where}; give another folder"
                )
    try:
        (folder.local / stem).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror}); give another folder") from error
    return folder


def _is_there(place: Location) -> bool:
    if not isinstance(place, RemotePath):
        return place.exists()
    try:
        return transfers.exists(place) or transfers.has_files(place)
    except RemoteError as error:
        raise UserError(f"--out {place}: {error.strerror}; give a URL that can be written (docs/remote.md)") from error
