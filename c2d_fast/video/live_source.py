"""Where a stream comes from, and how it is opened: a camera in the network, a device, or standard input. No torch, no DALI."""

import errno
import os
import stat
import sys
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

import av
import av.container

from c2d_fast.errors import UserError
from c2d_fast.remote.remote_path import is_url
from c2d_fast.video.containers import OPTIONS
from c2d_fast.video.reader import DecodeError, reason

_LIMITS_S = (10.0, 5.0)  # of opening, and of silence
_CAMERA = {
    "rtsp_flags": "prefer_tcp",  # UDP where a camera has nothing else
    "analyzeduration": "1000000",  # us; what was read meanwhile comes late
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,tcp,tls,udp,crypto",
}
_PIPED = {"analyzeduration": "1000000"}
USER, PASSWORD = "RTSP_USER", "RTSP_PASSWORD"
"""Of the environment."""


@dataclass(frozen=True)
class LiveSource:
    """A source of video that may never end."""

    kind: Literal["rtsp", "device", "pipe", "file"]
    """A file is one that stands at standard input."""
    name: str
    """What messages call it: without a query, which may hold a password."""
    address: str = field(repr=False)
    """What FFmpeg opens."""

    @property
    def comes_back(self) -> bool:
        """Says whether it is opened again when it has ended."""
        return self.kind in ("rtsp", "device")

    def open(self) -> av.container.InputContainer:
        """Opens it; takes seconds where nobody answers.

        Raises:
            DecodeError: it does not open.
        """
        try:
            if self.kind == "rtsp":
                return av.open(self.address, format="rtsp", metadata_errors="replace", options=dict(_CAMERA), timeout=_LIMITS_S)
            if self.kind == "device":
                return av.open(self.address, format="v4l2", metadata_errors="replace", timeout=_LIMITS_S)
            protocol = "file" if self.kind == "file" else "pipe"
            options = dict(OPTIONS) | {"protocol_whitelist": protocol, **_PIPED}
            return av.open(self.address, metadata_errors="replace", options=options)
        except (av.FFmpegError, OSError) as error:
            raise DecodeError(self.why(error)) from error

    def why(self, error: Exception) -> str:
        """Returns what an error says that reading it has raised."""
        if isinstance(error, av.ExitError):
            return "it is silent"
        if self.kind == "rtsp" and isinstance(error, av.HTTPUnauthorizedError):
            return f"asks for a user and a password, or refuses those that it got: they are read from {USER} and {PASSWORD}"
        if self.kind in ("rtsp", "pipe") and isinstance(error, av.InvalidDataError):
            if self.kind == "rtsp":
                said = "does not answer, or not as a camera does"
            else:
                said = (
                    "is no video that can be read as it comes: MPEG-TS, Matroska and raw H.264 can, an mp4 only with faststart"
                )
            return said
        if self.kind in ("rtsp", "device"):
            is_other = getattr(error, "errno", None) == errno.ENOTTY
            return "is no video device" if is_other else (getattr(error, "strerror", None) or str(error)).lower()
        return reason(error)


def live_source(text: str) -> LiveSource:
    """Returns the source that a user has named.

    Raises:
        UserError: it is none, or it cannot be read.
    """
    if text == "-":
        return _standard_input()
    if is_url(text):
        return _camera(text)
    if not os.path.exists(text):
        raise UserError(f"--stream {text}: no such device; ls /dev/video* shows those that are there")
    mode = os.stat(text).st_mode
    if not stat.S_ISCHR(mode):
        remedy = f"pipe it in: --stream - < {text}" if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) else "name a device"
        raise UserError(f"--stream {text}: is no video device; {remedy}")
    if not os.access(text, os.R_OK):
        raise UserError(f"--stream {text}: may not be read; the group that it belongs to may (ls -l {text})")
    return LiveSource("device", text, text)


def _camera(text: str) -> LiveSource:
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    name = f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
    if scheme.lower() not in ("rtsp", "rtsps"):
        how = "ffmpeg -i URL -c copy -f mpegts - gives others to --stream -"
        raise UserError(f"--stream {scheme.lower()}://...: must be rtsp://, rtsps://, a device or -; {how}")
    if "@" in host:
        raise UserError(f"--stream {name}: holds a user or password, which others would see; set {USER} and {PASSWORD} instead")
    if not host:
        raise UserError(f"--stream {text}: names no host; give rtsp://HOST/PATH")
    user, password = (quote(os.environ.get(key, ""), safe="") for key in (USER, PASSWORD))
    login = f"{user}:{password}@" if user or password else ""
    return LiveSource("rtsp", name, f"{scheme.lower()}://{login}{rest}")


def _standard_input() -> LiveSource:
    if sys.stdin is not None and sys.stdin.isatty():
        raise UserError("--stream -: standard input is a terminal; pipe a video into the command")
    try:
        mode = os.fstat(0).st_mode
    except OSError as error:
        raise UserError("--stream -: there is no standard input; pipe a video into the command") from error
    if stat.S_ISREG(mode):  # opened anew it can be sought in, which an mp4 may need
        return LiveSource("file", "standard input", "file:/dev/stdin")
    return LiveSource("pipe", "standard input", "pipe:0")
