"""A source with faults, for runs in processes of their own. FAULT says which, as JSON: kind, and what it needs."""

import json
import os
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from c2d_fast.source import ClipSource

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
