"""Where a file is: a path on this machine, or a URL. Neither holds a secret: those are in the environment."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from c2d_fast.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ENCODED = ("http", "https")  # whose users copy percent-encoded URLs
_SIGNED = re.compile(
    r"[?&](sig|signature|token|awsaccesskeyid|googleaccessid|x-(amz|goog)-\w+|\w*(key|secret|password))=", re.I
)
"""Of shared access signatures and presigned URLs: other buckets' names may hold a question mark."""


class FileState(NamedTuple):
    """Which file this is: two files of the same state have the same bytes."""

    size: int
    """Bytes."""
    mtime_ns: int
    """When it was written last, in ns; of a remote file version_of(etag)."""
    etag: str = ""
    """A remote file's, as its server has it; "" of others. Where there is none, when it was written last."""

    @property
    def key(self) -> tuple[int, int]:
        """Returns what states are compared by, and kept in files of ours."""
        return self.size, self.mtime_ns


UNKNOWN = FileState(-1, -1)
"""Of a file that is not there."""


def version_of(etag: str) -> int:
    """Returns a number, 63 bits, that stands for a remote file's ETag where a local one's modification time would stand."""
    return int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class RemotePath:
    """A URL, with the part of pathlib.Path's interface that is used here; nothing in it is percent-encoded.

    It has no __fspath__: what reads local files only fails with it, and does not read another file.
    """

    url: str
    """scheme://host or bucket/path, without a slash at its end."""
    state: FileState | None = None
    """What the file must be for it to be read; None: whatever it is now."""

    @property
    def scheme(self) -> str:
        """Returns s3, https ..."""
        return self.url.partition("://")[0]

    @property
    def root(self) -> str:
        """Returns the scheme with the bucket or the host."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    @property
    def key(self) -> str:
        """Returns the path in the bucket or on the host, without a slash at its beginning."""
        return self.url[len(self.root) + 1 :]

    @property
    def name(self) -> str:
        """Returns the last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Returns the name without its suffix."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """Returns the last suffix of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """Returns what this lies in; of a bucket or a host itself."""
        return RemotePath(self.url.rpartition("/")[0]) if self.key else self

    def __truediv__(self, name: "str | Path | RemotePath") -> "RemotePath":
        return RemotePath(join(self.url, str(name)))

    def with_name(self, name: str) -> "RemotePath":
        """Returns the file of that name beside this one."""
        return self.parent / name

    def absolute(self) -> "RemotePath":
        """Returns itself: a URL is absolute."""
        return self

    def __str__(self) -> str:
        return self.url


Location = Path | RemotePath


def is_url(text: str) -> bool:
    """Says whether a text is the URL of something that is not on this machine's disks."""
    match = _URL.match(text)
    return match is not None and match[1].lower() != "file"


def join(root: str, name: str) -> str:
    """Returns a name below a root, which is a path or a URL; names that are URLs or absolute paths stay as they are."""
    if is_url(name) or (name.startswith("/") and not is_url(root)):
        return name
    # As os.path.join, which joins paths wherever they are.
    return f"{root}{'' if not root or root.endswith('/') else '/'}{name}"


def location(text: str, state: FileState | None = None) -> Location:
    """Returns the path, or the URL, that a text of ours says."""
    return RemotePath(text.rstrip("/"), state) if is_url(text) else Path(text)


def below(root: Location, name: str) -> Location:
    """Returns where a list's video is; a name may also be a URL of its own."""
    return location(name) if is_url(name) else root / name


def pinned(path: Location, state: FileState) -> Location:
    """Returns a remote path with the state that its file must be in; a local one as it is."""
    return RemotePath(path.url, state) if isinstance(path, RemotePath) else path


def user_location(text: str) -> Location:
    """Returns what a user has written: a path, or a URL as browsers and other tools take it.

    Raises:
        UserError: it is a URL that holds a secret, or parts of one that have no meaning here.
    """
    if not is_url(text):
        return Path(text.removeprefix("file://") if text.lower().startswith("file://") else text)
    scheme, _, rest = text.partition("://")
    host, path = [*re.split("[/?#]", rest, maxsplit=1), ""][:2]
    shown = without_secrets(text)
    if "@" in host:
        raise UserError(f"{shown}: the URL holds a user or password, which would be written to logs; {_REMEDY}")
    if (scheme.lower() in _ENCODED and "?" in text) or _SIGNED.search(text):
        raise UserError(f"{shown}: the URL holds a query, which may be a secret and would be written to logs; {_REMEDY}")
    if not host:
        raise UserError(f"{text}: names no bucket and no host; give s3://BUCKET/PREFIX or https://HOST/PATH")
    path = unquote(path) if scheme.lower() in _ENCODED else path
    return RemotePath(f"{scheme.lower()}://{host}/{path}".rstrip("/"))


def without_secrets(url: str) -> str:
    """Returns the scheme and the host of a URL, for messages: all else may be secret."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0].rpartition('@')[2]}/..."


def local_path(text: str) -> Path:
    """Returns a path on this machine.

    Raises:
        UserError: it is a URL.
    """
    if is_url(text):
        raise UserError(f"{without_secrets(text)}: is a URL, and what is meant must be a path on this machine")
    return Path(text.removeprefix("file://"))


_REMEDY = "give it by the environment (docs/remote.md), and the URL without"
