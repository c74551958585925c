"""Which files are opened, as what, and what a file is that is not: before FFmpeg follows anything that stands in it.

A playlist names other files, and a picture's name may stand for a sequence of them. FFmpeg tells what a file is from its
content, whatever it is called: so it is told beforehand what it may take one for.
"""

import os
import re
import stat

from c2d_fast.remote.remote_file import RemoteFile
from c2d_fast.remote.remote_path import Location, RemotePath
from c2d_fast.remote.transfers import with_state

_DEMUXERS = (
    # Containers of cameras, phones, editors, televisions and the web
    *("asf", "asf_o", "avi", "dhav", "dv", "flv", "gxf", "ifv", "ivf", "ivr", "kux", "live_flv", "luodat", "lxf", "matroska"),
    *("mlv", "mov", "mpeg", "mpegts", "mpegtsraw", "mtv", "mxf", "mxg", "nsv", "nut", "nuv", "ogg", "pmp", "pva", "r3d", "rm"),
    *("simbiosis_imx", "smjpeg", "swf", "ty", "vivo", "wtv", "xmv", "cine", "ser"),
    # Animated pictures
    *("apng", "flic", "gif", "jpegxl_anim"),
    # Streams of one codec without a container
    *("apv", "av1", "avs2", "avs3", "cavsvideo", "dirac", "dnxhd", "evc", "h261", "h263", "h264", "hevc", "hxvs", "ingenient"),
    *("m4v", "mjpeg", "mjpeg_2000", "mpegvideo", "obu", "vc1", "vc1test", "vvc", "yuv4mpegpipe"),
    # Of games, discs and surveillance
    *("4xm", "anm", "avs", "bethsoftvid", "bfi", "bink", "bmv", "c93", "cdxl", "dfa", "dsicin", "dxa", "ea", "film_cpk"),
    *("filmstrip", "gdv", "hnm", "idcin", "ipmovie", "ipu", "iv8", "jv", "lmlm4", "mgsts", "mods", "moflex", "msnwctcp"),
    *("mv", "mvi", "nc", "paf", "pdv", "psxstr", "rl2", "roq", "rpl", "sga", "smk", "smush", "thp", "tiertexseq", "tmv"),
    *("txd", "usm", "vividas", "vmd", "wc3movie", "wsvqa", "yop"),
)
OPTIONS = {"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "file"}
"""Of FFmpeg, from the first open on: everything that holds a video in itself, read from the disk. Playlists, scripts,
descriptions of sessions, sequences of pictures and devices are not among it."""

_HEAD_BYTES = 4096
_TEXTS = (
    (rb"#EXTM3U", "a playlist (HLS)"),
    (rb"ffconcat version", "a playlist (concat)"),
    (rb"\[playlist\]|\[reference\]|RTSPtext", "a playlist"),
    (rb"v=0\r?\n\w=", "the description of a session (SDP)"),
    (rb"<(.{0,1000}<)?MPD\b", "a playlist (DASH)"),
    (rb"<(.{0,1000}<)?(CompositionPlaylist|SmoothStreamingMedia|playlist|smil|asx)\b", "a playlist"),
)
_PICTURES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0", b"v/1\1", b"#?RADIANCE", b"DDS "),
    *(b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"P7\n", b"\0\0\0\x0cjP  ", b"\xff\x0a", b"qoif"),
)
_KINDS = (
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def why_no_file(path: str | Location) -> str:
    """Says why a path must not be opened: a FIFO would block for ever, a device may never end; empty for a regular file.

    Raises:
        OSError: there is none.
    """
    if isinstance(path, RemotePath):
        return ""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return ""
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "special file")
    return f"is a {kind}, not a regular file"


def why_no_video(path: Location) -> str:
    """Says of a regular file that did not open what it is, where its first bytes tell: a playlist, a picture; or nothing."""
    try:
        with RemoteFile(with_state(path)) if isinstance(path, RemotePath) else open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return ""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, kind in _TEXTS:
        if re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return f"is {kind}, not a video"
    if head.startswith(_PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "is a picture, not a video"
    return ""
