"""What went wrong with a request, in one line. Libraries' own messages hold URLs, keys' names and pages of servers."""

import errno
import re

NO_RANGES = "the server sends whole files only: it must support range requests"
_STATUS = re.compile(r"status code: (\d{3})")
_S3_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_URL = re.compile(r"\w+://\S+")
_OF_KEYS = re.compile(r"Token|Access|Authorization|Credential")
_KINDS = (
    (re.compile(r"NotPartial"), errno.ENOTSUP, NO_RANGES),
    (re.compile(r"UnexpectedRange"), errno.ECONNRESET, "other bytes came than were asked for"),
    (re.compile(r"[Tt]imed ?[Oo]ut|deadline has elapsed"), errno.ETIMEDOUT, "no answer in time"),
    (re.compile(r"dns error|failed to lookup|Name or service"), errno.EHOSTUNREACH, "its host is not found"),
    (re.compile(r"ConnectionRefused|[Cc]onnection refused"), errno.ECONNREFUSED, "connection refused"),
    (re.compile(r"certificate|InvalidCertificate|TLS|tls"), errno.EACCES, "the server's certificate is not trusted"),
    (re.compile(r"kind: Connect|error sending request"), errno.ECONNREFUSED, "no connection"),
    (re.compile(r"kind: Body|kind: Decode|IncompleteMessage|end of file|body"), errno.ECONNRESET, "cut off while it was sent"),
)
_CREDENTIALS = re.compile(r"[Cc]redential|169\.254\.169\.254|[Mm]etadata|OAuth|token")
THROTTLED = (429, 503)


class RemoteError(OSError):
    """A remote file was not read, for no fault of its own; errno says what a file system would say."""

    def __init__(self, code: int, text: str, status: int = 0):
        super().__init__(code, text)
        self.status = status
        """Of HTTP; 0 where there was none, or it is not known."""

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTSUP, errno.ENOSPC, errno.EINVAL)


class ChangedError(ValueError):
    """A remote file is not the one that was examined."""


def not_found() -> RemoteError:
    """Returns the error of a file that is not there."""
    return RemoteError(errno.ENOENT, "no such object (404)", 404)


def refused(text: str) -> RemoteError:
    """Returns the error of a file that must not be read.

    Args:
        text: the library's, of which no more is used than the code.
    """
    status = int(match[1]) if (match := _STATUS.search(text)) else 403
    code = f" {match[1]}" if (match := _S3_CODE.search(text)) else ""
    return RemoteError(errno.EACCES, f"access denied ({status}{code}): credentials are missing, wrong or expired", status)


def no_ranges() -> RemoteError:
    """Returns the error of a server that sends whole files only."""
    return RemoteError(errno.ENOTSUP, NO_RANGES)


def of_text(text: str) -> RemoteError:
    """Returns the error that a library's message tells of."""
    if match := _STATUS.search(text):
        status = int(match[1])
        # S3 says 400 of some credentials.
        if status in (401, 403) or (status == 400 and (found := _S3_CODE.search(text)) and _OF_KEYS.search(found[1])):
            return refused(text)
        if status in (404, 410):
            return not_found()
        said = "the server refused the request" if status < 500 else "the server failed"
        said = "the server asks for fewer requests" if status in THROTTLED else said
        return RemoteError(errno.EREMOTEIO if status >= 429 else errno.EINVAL, f"{said} ({status})", status)
    text = _URL.sub("", text)  # a file may be called anything
    for pattern, code, said in _KINDS:
        if pattern.search(text):
            return RemoteError(code, said)
    if _CREDENTIALS.search(text):
        return RemoteError(errno.EACCES, "access denied: no credentials are found")
    return RemoteError(errno.EREMOTEIO, "the request failed")
