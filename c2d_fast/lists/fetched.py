"""Copies of remote lists, manifests and label maps, in the user's cache folder: what reads them wants a file."""

from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.files import cache_folder
from c2d_fast.remote import transfers
from c2d_fast.remote.remote_errors import ChangedError
from c2d_fast.remote.remote_path import Location, RemotePath


def fetched(path: Location, what: str) -> Path:
    """Returns the file itself, or of a remote one its copy here, which is fetched where it is not here yet.

    Args:
        path: of the file.
        what: it is, for messages.

    Raises:
        UserError: it cannot be fetched, or there is no folder for it.
    """
    if not isinstance(path, RemotePath):
        return path
    folder = cache_folder()
    if folder is None:
        raise UserError(f"{what} {path}: there is no folder for its copy: give one by XDG_CACHE_HOME")
    try:
        return transfers.cached_copy(path, folder / "lists")
    except (OSError, ChangedError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{what} {path}: cannot be read ({text}); give a URL that can be (docs/remote.md)") from error


def fetched_if_there(path: Location, what: str) -> Path | None:
    """Returns fetched, or None where there is no such file."""
    if not isinstance(path, RemotePath):
        return path if path.exists() else None
    if transfers.exists(path):
        return fetched(path, what)
    return None


def is_remote_folder(path: RemotePath) -> bool:
    """Says whether a URL is no file's, and there are files below it.

    Raises:
        UserError: it cannot be asked.
    """
    try:
        return not transfers.exists(path) and transfers.has_files(path)
    except OSError as error:
        raise UserError(f"list {path}: cannot be read ({error.strerror or error}); see docs/remote.md") from error
