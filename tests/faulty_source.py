"""A source with faults, for runs in processes of their own. FAULT says which, as JSON: kind, and what it needs."""

import json
import os
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from c2d_fast.loading.source import ClipSource

FAULT = json.loads(os.environ.get("FAULT", "{}"))


class FaultySource(ClipSource):
    """Reads like any other until it comes to a video."""

    def _read(self, sample):
        if sample.index == FAULT.get("video", -1):
            if FAULT["kind"] == "hang":
                time.sleep(10_000)
            if FAULT["kind"] == "die":
                os.kill(os.getpid(), 9)
            if FAULT["kind"] == "die once" and not Path(FAULT["mark"]).exists():
                Path(FAULT["mark"]).touch()
                os.kill(os.getpid(), 9)
        read = super()._read(sample)
        if FAULT.get("kind") == "no video in the file" and sample.index in FAULT["videos"]:
            return replace(read, file=np.frombuffer(b"no video" * 100, np.uint8))
        return read


def faulty(source):
    return FaultySource(**{field.name: getattr(source, field.name) for field in fields(source)})


def _storage_fails(path):
    """Says whether the storage is gone just now: as long as the file of the fault's mark is there."""
    return str(FAULT["root"]) in str(path) and Path(FAULT["mark"]).exists()


def _failing(function, error):
    def call(path, *args, **kwargs):
        if _storage_fails(path):
            raise error()
        return function(path, *args, **kwargs)

    return call


if FAULT.get("kind") == "storage":  # also in the workers, which import this module
    import av

    from c2d_fast.video import reader

    def _of_system():
        return OSError(FAULT["errno"], os.strerror(FAULT["errno"]))

    def _of_ffmpeg():
        try:
            av.error.err_check(-FAULT["errno"])
        except av.FFmpegError as error:
            return error

    if FAULT["when"] == "opened":
        av.open, os.open = _failing(av.open, _of_ffmpeg), _failing(os.open, _of_system)
    else:
        reader._decode_packets = _failing(reader._decode_packets, _of_ffmpeg)
        reader._decode_whole = _failing(reader._decode_whole, _of_ffmpeg)
