"""What DALI's worker processes run: from a place in the plan to one video's bytes or frames. No torch, no DALI."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2d_fast.plan import EvalPlan, TrainPlan
from c2d_fast.video import DecodeError, decode_frames, read_bytes

_NO_PROBLEM = np.zeros(0, np.uint8)


class SampleInfo(Protocol):
    """What DALI tells an external source (nvidia.dali.types.SampleInfo)."""

    iteration: int
    idx_in_batch: int


def _end_with(sentinel: int) -> None:
    """Ends this process once the sentinel's has ended, which DALI's workers of a killed run would not do by themselves."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


class SingleSample:
    """A SampleInfo for calling a source outside DALI: the source's first sample."""

    iteration = 0
    idx_in_batch = 0


@dataclass(frozen=True)
class ClipSource:
    """Callable for a parallel external source, one call a sample; picklable, the same in every worker process.

    Each call returns a tuple of arrays:
        payload: encoded file, uint8 [bytes] (nvdec, dali), or decoded frames, uint8 [F, H, W, C] (ffmpeg)
        frames: frame numbers to decode, int32 [F] (nvdec and dali only)
        start, end: the crops' corners (y, x) as parts of the frame, 0..1, float32 [crops, 2]
        flip: 0 or 1, int32 (training only)
        index: the video, int64
        problem: why it could not be read, UTF-8 in uint8, empty when it could
    """

    plan: TrainPlan | EvalPlan
    decoder: str
    """nvdec, dali or ffmpeg."""
    device: str
    """Where the graph augments: gpu or cpu."""
    decoder_threads: int
    first_step: int = 0
    """The plan's step that the pipeline's first batch holds."""
    first_slot: int = 0
    """The place in the plan's batch that the pipeline's first sample holds."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in a worker process, which from now on ends with its parent, and not by Ctrl-C."""
        self.__dict__.update(state)
        parent = multiprocessing.parent_process()
        if parent is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent decides
            threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()

    @property
    def num_crops(self) -> int:
        """Crops that the graph cuts out of each frame."""
        return self.plan.num_crops if isinstance(self.plan, EvalPlan) else 1

    @property
    def crop_size(self) -> int:
        """Side of the squares that the graph makes, in pixels."""
        return self.plan.crop.size

    @property
    def flips(self) -> bool:
        """Whether samples come with a flip."""
        return isinstance(self.plan, TrainPlan)

    def __call__(self, info: SampleInfo) -> tuple[NDArray[Any], ...]:
        """Reads the sample that DALI asks for; see the class for what it returns."""
        sample = self.plan.sample(self.first_step + info.iteration, self.first_slot + info.idx_in_batch)
        path, problem = Path(self.plan.videos.file(sample.index)), _NO_PROBLEM
        try:
            self._check_unchanged(path, sample.index)
            if self.decoder == "ffmpeg":
                closed_gops = bool(self.plan.videos.closed_gops[sample.index])
                payload = decode_frames(path, sample.frames, self.decoder_threads, closed_gops=closed_gops)
            else:
                payload = read_bytes(path)
        except DecodeError as error:
            # An exception would end the pipeline without naming the video; the loader reads this instead.
            problem = np.frombuffer(str(error).encode(), np.uint8)
            payload = np.zeros((1, 2, 2, 3) if self.decoder == "ffmpeg" else 1, np.uint8)
        frames = () if self.decoder == "ffmpeg" else (sample.frames.astype(np.int32),)
        flip = (np.array(sample.flip, np.int32),) if self.flips else ()
        start, end = sample.boxes[:, 1::-1], sample.boxes[:, :1:-1]
        return (
            payload,
            *frames,
            np.ascontiguousarray(start),
            np.ascontiguousarray(end),
            *flip,
            np.array(sample.index, np.int64),
            problem,
        )

    def _check_unchanged(self, path: Path, index: int) -> None:
        """Compares a file with what is known of it: of another, frame numbers and boxes may be wrong without a sign."""
        size, mtime_ns = int(self.plan.videos.size[index]), int(self.plan.videos.mtime_ns[index])
        try:
            state = path.stat()
        except OSError as error:
            raise DecodeError(error.strerror or str(error)) from error
        if state.st_size != size:
            raise DecodeError(f"has changed since it was examined: {state.st_size} bytes now, {size} then")
        if mtime_ns not in (-1, state.st_mtime_ns):
            raise DecodeError("has changed since it was examined: its modification time is another")
