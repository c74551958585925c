"""Which files below a folder are videos: by their suffix where that says it, otherwise by opening them."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import av

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.processes.children import LostItem
from c2d_fast.processes.watched_threads import heartbeat, run_in_threads
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.reader import DecodeError, open_video, reason, video_stream

_VIDEOS = (
    "264 265 3g2 3gp 3gpp amv asf avc avi bik divx dv f4v flc fli flv gif gxf h264 h265 hevc ifv ivf m1v m2p m2t m2ts m2v m4v "
    "mjpeg mjpg mk3d mkv mov mp2v mp4 mp4v mpe mpeg mpg mpv mts mxf nsv nut ogm ogv qt rm rmvb roq smk tp trp ts vob webm wmv "
    "wtv xvid y4m"
)
_OTHERS = (
    "bmp cr2 dng exr heic heif ico jp2 jpe jpeg jpg nef pbm pgm png ppm psd svg tga tif tiff webp "  # pictures
    "aac ac3 aif aiff amr ape au dts flac m3u m4a mid midi mka mp2 mp3 oga opus wav wma wv "  # sound
    # texts, tables, subtitles and documents
    "ass bib cfg conf csv doc docx eaf htm html ini json jsonl log lrc lst md nfo odt pdf ppt pptx rst rtf sbv srt ssa tex "
    "textgrid toml tsv txt vtt xls xlsx xml yaml yml "
    # programs, arrays, archives, sums, playlists and what systems leave
    "7z bat bz2 c ckpt cpp crc db dll exe gz h h5 hdf5 ipynb js lnk lock m m3u8 mat md5 mpd npy npz onnx parquet pickle pkl pt "
    "pth py pyc rar safetensors sfv sh sha1 sha256 so sqlite tar tgz torrent url xz zip zst"
)
VIDEO_SUFFIXES = frozenset(f".{word}" for word in _VIDEOS.split())
"""Of files that are taken for videos unseen: to open all of a long list only for this would take too long."""
_OTHER_SUFFIXES = frozenset(f".{word}" for word in _OTHERS.split())
_VIDEO = "video"
_UNKNOWN = "that hold no video"
_OPENED_AT_A_TIME = 8
_TIME_LIMIT_S = 60.0
_SHOWN = 3


@dataclass
class SkippedFiles:
    """Files that are no videos."""

    counts: Counter[str] = field(default_factory=Counter)
    """How many, by why."""
    first: list[str] = field(default_factory=list)
    """The first ones, with reasons where they were opened."""

    def add(self, name: str, why: str, detail: str = "") -> None:
        """Counts a file."""
        self.counts[why] += 1
        if len(self.first) < _SHOWN:
            self.first.append(name + (f" ({detail})" if detail else ""))

    def __str__(self) -> str:
        """Returns `7 files (3 hidden, 4 that hold no video), first a/notes.txt, ...`; empty where there are none."""
        count = self.counts.total()
        if not count:
            return ""
        kinds = ", ".join(f"{count} {why}" for why, count in sorted(self.counts.items()))
        more = ", ..." if count > len(self.first) else ""
        return on_one_line(f"{count} file{'s' if count > 1 else ''} ({kinds}), first {', '.join(self.first)}{more}")


def filter_videos(names: Iterable[str], folder: Path, skipped: SkippedFiles) -> list[str]:
    """Returns those files below a folder that are videos, in the order given; the others are counted.

    Known suffixes decide. A file of an unknown one, or of none, is a video if two frames of it decode.

    Args:
        names: of the files, relative to folder. Those are hidden of which any part begins with a dot.
        folder: where they are.
        skipped: gets the others.
    """
    kinds = {name: _kind(name) for name in names}
    unknown = [name for name, kind in kinds.items() if kind == _UNKNOWN]
    problems: dict[str, str] = {}
    if unknown:
        jobs = min(_OPENED_AT_A_TIME, len(unknown))
        opened = run_in_threads(lambda name: _problem(folder / name), unknown, jobs=jobs, time_limit_s=_TIME_LIMIT_S)
        problems = {name: result.reason if isinstance(result, LostItem) else result for name, result in opened}
    videos = []
    for name, kind in kinds.items():
        if kind == _VIDEO or (kind == _UNKNOWN and not problems[name]):
            videos.append(name)
        else:
            skipped.add(name, kind, problems.get(name, ""))
    return videos


def videos_by_suffix(names: Iterable[str], skipped: SkippedFiles) -> list[str]:
    """Returns the videos among remote files, in the order given: none of them is opened for this. The others are counted."""
    videos = []
    for name in names:
        if (kind := _kind(name)) == _VIDEO:
            videos.append(name)
        else:
            skipped.add(name, kind)
    return videos


def files_below(folder: Path, part: str = "") -> list[str]:
    """Returns the files below a part of a folder, also through links to folders: paths relative to the folder, sorted.

    Raises:
        UserError: a folder cannot be read.
    """
    seen: set[str] = set()
    found: list[list[str]] = []

    def refuse(error: OSError) -> None:
        raise UserError(f"folder {error.filename}: cannot be read ({error.strerror})") from error

    for parent, folders, names in os.walk(folder / part, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        parts = list(Path(parent).relative_to(folder).parts)
        found += ([*parts, name] for name in names)
    return ["/".join(parts) for parts in sorted(found)]


def _kind(name: str) -> str:
    if name.startswith(".") or "/." in name:
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    return _VIDEO if suffix in VIDEO_SUFFIXES else "of other kinds by their suffix" if suffix in _OTHER_SUFFIXES else _UNKNOWN


def _problem(path: Path) -> str:
    """Says why a file is no video; empty of one that is."""
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            stream.codec_context.thread_count = 1
            frames = 0
            with closing(packets_of(container, stream)) as packets:
                for packet in packets:
                    heartbeat()
                    frames += len(packet.decode())
                    if frames > 1:
                        return ""
            return "has one frame only, a picture" if frames else "has no frame that decodes"
    except DecodeError as error:
        return str(error)
    except (av.FFmpegError, OSError, ValueError) as error:
        return reason(error)
