"""Which library reads a URL, with which options: obstore, and fsspec for what obstore does not know.

Options and secrets come from the environment, as each library documents it. An async method here is one request, tried once.
"""

import asyncio
import netrc
import os
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from c2d_fast.errors import UserError
from c2d_fast.remote import remote_errors
from c2d_fast.remote.remote_path import FileState, RemotePath, version_of

REQUEST_LIMIT_S, CONNECT_LIMIT_S, READ_LIMIT_S = 30, 5, 10
"""How long a request may take in all, until it is connected, and from one part of its answer to the next."""
_OBJECT_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "azure": "az"}
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL")
_INSTALL = 'pip install "c2d-fast[remote]"'


class Part(NamedTuple):
    """Bytes of a file, and which file they are of."""

    data: Any
    """bytes, or a library's buffer of them."""
    state: FileState


class Store(Protocol):
    """A bucket or a host. Keys are paths in it. Errors are RemoteError, or ChangedError of an ETag that does not match."""

    lists: bool
    """Whether it can say what it holds."""

    async def part(self, key: str, start: int, end: int, etag: str) -> Part:
        """Reads the bytes start..end of a file whose ETag must be the one given, if any is."""

    async def state(self, key: str) -> FileState:
        """Asks which file it is."""

    async def put(self, key: str, file: str) -> None:
        """Writes a local file, whole or not at all."""

    async def delete(self, key: str) -> None:
        """Deletes a file, if it is there."""

    def list(self, prefix: str) -> AsyncIterator[tuple[str, FileState]]:
        """Yields keys below a prefix, with their states."""


def store_of(path: RemotePath) -> Store:
    """Returns the store that a path is in.

    Raises:
        UserError: its library is not installed, or none knows such URLs.
    """
    return _store(path.root, os.getpid())


@lru_cache(maxsize=64)
def _store(root: str, pid: int) -> Store:
    del pid  # connections are not a fork's
    scheme = root.partition("://")[0]
    if scheme in ("http", "https") or scheme in _OBJECT_STORES:
        try:
            import obstore
        except ImportError as error:
            raise UserError(f"{root}: is read with obstore, which is not installed; {_INSTALL}") from error
        return ObjectStore(obstore, root)
    try:
        import fsspec
    except ImportError as error:
        raise UserError(f"{root}: URLs of {scheme}:// are read with fsspec, which is not installed; {_INSTALL}") from error
    try:
        return FsspecStore(fsspec.filesystem(scheme), root)
    except (ImportError, ValueError) as error:
        raise UserError(f"{root}: no URL that can be read here: {_first_line(error)}") from error


class ObjectStore:
    """S3, GCS, Azure or HTTP, by obstore."""

    def __init__(self, obstore: Any, root: str):
        """Prepares requests; none is made yet.

        Raises:
            UserError: an option in the environment is wrong.
        """
        from obstore import exceptions

        self._obstore, scheme, name = obstore, *root.split("://")
        self._errors = exceptions
        self.lists = scheme in _OBJECT_STORES
        is_plain = scheme == "http" or any(os.environ.get(key, "").startswith("http://") for key in _ENDPOINTS)
        client: dict[str, Any] = {
            "timeout": timedelta(seconds=REQUEST_LIMIT_S),
            "connect_timeout": timedelta(seconds=CONNECT_LIMIT_S),
            "read_timeout": timedelta(seconds=READ_LIMIT_S),
            **({"allow_http": True} if is_plain else {}),
        }
        more: dict[str, Any] = {}
        if scheme in ("http", "https") and (headers := _netrc_headers(name)):
            client["default_headers"] = headers
        elif scheme in ("s3", "s3a") and os.environ.get("AWS_PROFILE"):
            more["credential_provider"] = _profile(root)
        try:
            # Requests are tried again in requests.py, which sees why.
            self._store = obstore.store.from_url(
                f"{_OBJECT_STORES.get(scheme, scheme)}://{name}", client_options=client, retry_config={"max_retries": 0}, **more
            )
        except Exception as error:  # of several kinds
            raise UserError(f"{root}: cannot be opened: {_first_line(error)}; see docs/remote.md") from error

    async def part(self, key: str, start: int, end: int, etag: str) -> Part:
        """As Store says."""
        options: dict[str, Any] = {"range": (start, end)}
        if etag.startswith('"'):  # a weak one never matches
            options["if_match"] = etag
        with _Translated(self._errors):
            result = await self._obstore.get_async(self._store, key, options=options)
            state = _state(result.meta)
            return Part(memoryview(await result.bytes_async()), state)

    async def state(self, key: str) -> FileState:
        """As Store says."""
        with _Translated(self._errors):
            return _state(await self._obstore.head_async(self._store, key))

    async def put(self, key: str, file: str) -> None:
        """As Store says: large files in parts, which become an object once all are there."""
        with _Translated(self._errors), open(file, "rb") as source:
            await self._obstore.put_async(self._store, key, source)

    async def delete(self, key: str) -> None:
        """As Store says."""
        with _Translated(self._errors):
            await self._obstore.delete_async(self._store, key)

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, FileState]]:
        """As Store says."""
        with _Translated(self._errors):
            async for page in self._obstore.list(self._store, prefix or None):
                for meta in page:
                    yield meta["path"], _state(meta)


class FsspecStore:
    """Anything else that fsspec knows, in threads: its file systems may block."""

    lists = True

    def __init__(self, files: Any, root: str):
        """Prepares requests of a file system; root is what its paths begin with."""
        self._files, self._root = files, root

    async def part(self, key: str, start: int, end: int, etag: str) -> Part:
        """As Store says; fsspec knows no If-Match, and the state is asked for once for each file."""
        state = await self.state(key)
        return Part(memoryview(await self._run(self._files.cat_file, self._path(key), start=start, end=end)), state)

    async def state(self, key: str) -> FileState:
        """As Store says."""
        found = await self._run(self._files.info, self._path(key))
        if found.get("type") == "directory":
            raise remote_errors.not_found()
        return FileState(int(found["size"] or 0), *_version(_mark(found)))

    async def put(self, key: str, file: str) -> None:
        """As Store says, if its file system does."""
        await self._run(self._files.put_file, file, self._path(key))

    async def delete(self, key: str) -> None:
        """As Store says."""
        await self._run(self._files.rm_file, self._path(key))

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, FileState]]:
        """As Store says."""
        found = await self._run(self._files.find, self._path(prefix), detail=True)
        cut = len(self._files._strip_protocol(self._root)) + 1
        for name, entry in sorted(found.items()):
            yield name[cut:], FileState(int(entry["size"] or 0), *_version(_mark(entry)))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    async def _run(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return await asyncio.wait_for(_in_thread(lambda: call(*args, **named)), REQUEST_LIMIT_S)
        except FileNotFoundError:
            raise remote_errors.not_found() from None
        except PermissionError as error:
            raise remote_errors.refused(str(error)) from None
        except TimeoutError:
            raise remote_errors.of_text("timed out") from None
        except remote_errors.RemoteError:
            raise
        except Exception as error:  # of many libraries
            raise remote_errors.of_text(str(error)) from None


class _Translated:
    """Makes a library's errors ours."""

    def __init__(self, errors: Any):
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise remote_errors.not_found() from None
        if isinstance(error, (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError)):
            raise remote_errors.refused(str(error)) from None
        if isinstance(error, self._errors.PreconditionError):
            raise remote_errors.ChangedError("has changed since it was examined: its ETag is another") from None
        if isinstance(error, self._errors.NotSupportedError):
            raise remote_errors.no_ranges() from None
        if isinstance(error, self._errors.BaseError):
            problem = remote_errors.of_text(str(error))
            if problem.status == 416:
                raise remote_errors.ChangedError("has changed since it was examined: it is shorter") from None
            raise problem from None


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Runs a call in a thread that does not keep the process from ending, as those of asyncio do."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def finish(value: Any, error: BaseException | None) -> None:
        if not result.done():
            result.set_exception(error) if error else result.set_result(value)

    def work() -> None:
        value, problem = None, None
        try:
            value = call()
        except BaseException as error:
            problem = error
        loop.call_soon_threadsafe(finish, value, problem)

    threading.Thread(target=work, daemon=True).start()
    return await result


def _state(meta: Any) -> FileState:
    return FileState(int(meta["size"]), *_version(meta["e_tag"] or str(meta["last_modified"])))


def _mark(entry: dict[str, Any]) -> str:
    """Returns what fsspec's file systems call what changes with a file."""
    names = ("ETag", "etag", "sha", "blob_id", "md5Hash", "mtime", "last_modified", "LastModified", "created")
    return str(next((entry[name] for name in names if entry.get(name)), ""))


def _version(etag: str) -> tuple[int, str]:
    return version_of(etag), etag


def _netrc_headers(host: str) -> dict[str, str]:
    """Returns the user and password that ~/.netrc has for a host, as curl takes them."""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host.partition(":")[0])
    except (OSError, netrc.NetrcParseError):
        return {}
    if not found:
        return {}
    return {"Authorization": "Basic " + b64encode(f"{found[0]}:{found[2]}".encode()).decode()}


def _profile(root: str) -> Any:
    """Returns the credentials of AWS_PROFILE, which boto3 reads and renews."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UserError(f"{root}: AWS_PROFILE is read with boto3, which is not installed; pip install boto3") from error
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # of many kinds
        raise UserError(f"{root}: AWS_PROFILE cannot be used: {_first_line(error)}; see docs/remote.md") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
