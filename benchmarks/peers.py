"""What people train from video files with today, as loaders and as a model, for comparison in the same run on the same files.

A loader runs in a process of its own (`python benchmarks/peers.py NAME`) that is told what to measure, a JSON line at a time:
a library that cannot be imported, or crashes, costs a line in the table. All get the same clips to read, decode each from its
file, and scale, crop, resize and flip with OpenCV as MMAction2 does; they differ in what decodes, and in what runs it.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import batches_by_threads, cut_on_device
from libraries import LIBRARIES, Library
from subprocesses import end_group

LEAST_S = 0.8
ANSWER_LIMIT_S = 90.0
"""A library that hangs, as forked workers of one may, is ended."""
MOST_ROUNDS = 8


class Clips:
    """A data set of training clips: `clips[i]` is uint8 [T, side, side, C], an array, or of a library on the GPU a tensor."""

    def __init__(self, library: Library, clips: list[dict[str, Any]], side: int):
        self.library, self.clips, self.side = library, clips, side

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Any:
        clip = self.clips[i]
        images = self.library.decode(clip)
        return cut_on_device(images, clip, self.side) if self.library.on_gpu else cut(images, clip, self.side)


def cut(images: Any, clip: dict[str, Any], side: int) -> Any:
    """Scales, crops, resizes and flips frames; returns uint8 [T, side, side, C]."""
    import cv2

    cv2.setNumThreads(0)
    (x0, y0, x1, y1), crops = clip["box"], []
    for image in images:
        crop = cv2.resize(cv2.resize(image, clip["scaled"])[y0:y1, x0:x1], (side, side))
        crops.append(cv2.flip(crop, 1) if clip["flip"] else crop)
    return np.stack(crops)


def batches(name: str, request: dict[str, Any]) -> Iterator[Any]:
    """Yields batches, uint8 [N, T, H, W, C]."""
    data = Clips(LIBRARIES[name], request["clips"], request["side"])
    size, workers = request["batch_size"], request["workers"]
    if data.library.on_gpu:
        yield from batches_by_threads(data.__getitem__, len(data), size, workers)
        return
    if name == "spdl":
        from spdl.pipeline import PipelineBuilder

        pipeline = (
            PipelineBuilder()
            .add_source(range(len(data)))
            .pipe(data.__getitem__, concurrency=workers)
            .aggregate(size, drop_last=True)
            .pipe(np.stack)
            .add_sink(2)
            .build(num_threads=workers)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()
        return
    from torch.utils.data import DataLoader

    yield from DataLoader(data, batch_size=size, num_workers=workers, drop_last=True)  # type: ignore[arg-type]


def measure(name: str, request: dict[str, Any]) -> float:
    """Returns clips a second, after a warm-up."""
    warmup, steps, size = request["warmup"], request["steps"], request["batch_size"]
    stream = batches(name, request)
    step = step_of(stream, LIBRARIES[name])
    for _ in range(warmup):
        step()
    rate = size * batches_per_s(step, steps, request["workers"])
    stream.close()  # type: ignore[attr-defined]
    return rate


def step_of(stream: Iterator[Any], library: Library) -> Callable[[], object]:
    """Returns what takes a batch; one on the GPU has arrived when the GPU has done its work, as is said of ours."""
    if not library.on_gpu:
        return lambda: next(stream)
    import torch

    def step() -> None:
        next(stream)
        torch.cuda.synchronize()

    return step


def save(name: str, request: dict[str, Any]) -> None:
    """Writes all of a request's clips into the file that it names."""
    data = Clips(LIBRARIES[name], request["clips"], request["side"])
    clips = [data[i] for i in range(len(data))]
    np.save(request["save"], np.stack([clip.cpu().numpy() if data.library.on_gpu else clip for clip in clips]))


def batches_per_s(step: Callable[[], object], steps: int, workers: int) -> float:
    """Times so many steps, or as many more as fill a second, in multiples of the number of workers.

    Where each worker makes batches of its own, they arrive as many at a time: to stop between them would count too many.
    """
    at_least = -(-steps // workers) * workers
    started_s, count = time.perf_counter(), 0
    while count < at_least or (time.perf_counter() - started_s < LEAST_S and count < MOST_ROUNDS * steps):
        for _ in range(workers):
            step()
        count += workers
    return count / (time.perf_counter() - started_s)


class Peer:
    """A peer's process. missing says why there is none."""

    def __init__(self, name: str, limit_s: float = ANSWER_LIMIT_S):
        """Starts it.

        Args:
            name: of LIBRARIES.
            limit_s: in which it must take a request and answer it.
        """
        self.name, self.library, self.missing, self._limit_s = name, LIBRARIES[name], "", limit_s
        # What a library prints on stderr, and be it a traceback for each video, is of no use here: in a pipe it would fill up.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([sys.executable, __file__, name], text=True, process_group=0, **pipes)
        self._ask(None)

    def measure(self, request: dict[str, Any]) -> float | None:
        """Returns clips a second; None once it is missing."""
        return None if self.missing else self._ask(request).get("clips_per_s")

    def images(self, request: dict[str, Any]) -> Any:
        """Returns all clips of a request, uint8 [clips, T, side, side, C]; None once it is missing."""
        if self.missing:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clips.npy"
            self._ask(request | {"save": str(path)})
            return None if self.missing else np.load(path)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        end_group(self._process)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any] | None) -> dict[str, Any]:
        """Sends a request, and returns the answer: an empty one of a process that has ended.

        A process that is stopped takes no request and gives no answer: it is ended at the limit.
        """
        started_s, timer = time.monotonic(), threading.Timer(self._limit_s, end_group, [self._process])
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                if request is not None:
                    print(json.dumps(request), file=self._process.stdin, flush=True)
                for line in self._process.stdout:
                    if line.startswith("{"):  # libraries print, too
                        answer: dict[str, Any] = json.loads(line)
                        self.missing = answer.get("missing", "")
                        return answer
        finally:
            timer.cancel()
        hangs = time.monotonic() - started_s > self._limit_s
        end_group(self._process)
        code = self._process.returncode
        self.missing = f"gave no answer for {self._limit_s:.0f} s" if hangs else f"its process has ended ({code})"
        return {}


def main() -> None:
    """Measures what standard input asks for."""
    name = sys.argv[1]
    try:
        LIBRARIES[name].load()
    except Exception as error:  # also what a library raises that does not find its own libraries
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(json.dumps({"missing": lines[0][:120]}), flush=True)
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {}
            request = json.loads(line)
            if "save" in request:
                save(name, request)
            else:
                answer["clips_per_s"] = measure(name, request)
        except Exception as error:
            answer = {"missing": f"failed: {type(error).__name__}: {error}"[:200].splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
