"""What people train from video files with today, as loaders and as a model, for comparison in the same run on the same files.

A loader runs in a process of its own (`python benchmarks/peers.py NAME`) that is told what to measure, a JSON line at a time:
a library that cannot be imported, or crashes, costs a line in the table. All get the same clips to read, decode each from its
file, and scale, crop, resize and flip with OpenCV as MMAction2 does; they differ in what decodes, and in what runs it.
"""

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from subprocesses import end_group


def decode_with_decord(path: str, frames: Any) -> Any:
    """As MMAction2's DecordInit and DecordDecode: the file read whole, one thread, exact seeking."""
    import decord

    reader = decord.VideoReader(io.BytesIO(Path(path).read_bytes()), num_threads=1)
    return reader.get_batch(frames).asnumpy()


def decode_with_pyav(path: str, frames: Any) -> Any:
    """As PyAV's documentation does it: from the beginning up to the last wanted frame."""
    import av

    wanted, images = set(frames.tolist()), {}
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
                if len(images) == len(wanted):
                    break
    return np.stack([images[number] for number in frames.tolist()])


def decode_with_torchcodec(path: str, frames: Any) -> Any:
    """One thread, exact seeking, channels last."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
    return decoder.get_frames_at(frames.tolist()).data.numpy()


def decode_with_spdl(path: str, frames: Any) -> Any:
    """Its own choice of the packets to decode."""
    import spdl.io

    images = spdl.io.sample_decode_video(spdl.io.demux_video(path), frames.tolist())
    return np.array(spdl.io.to_numpy(spdl.io.convert_frames(images)))


LEAST_S = 0.8
ANSWER_LIMIT_S = 90.0
"""A library that hangs, as forked workers of one may, is ended."""
MOST_ROUNDS = 8

DECODERS: dict[str, Callable[[str, Any], Any]] = {
    "decord": decode_with_decord,
    "pyav": decode_with_pyav,
    "torchcodec": decode_with_torchcodec,
    "spdl": decode_with_spdl,
}
TITLES = {
    "decord": "decord in a DataLoader (as MMAction2)",
    "pyav": "PyAV in a DataLoader",
    "torchcodec": "torchcodec in a DataLoader",
    "spdl": "SPDL (threads)",
}


class Clips:
    """A data set of training clips: `clips[i]` is uint8 [T, side, side, C]."""

    def __init__(self, decoder: str, clips: list[dict[str, Any]], side: int):
        self.decode, self.clips, self.side = DECODERS[decoder], clips, side

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Any:
        import cv2

        cv2.setNumThreads(0)
        clip = self.clips[i]
        images = self.decode(clip["file"], np.array(clip["frames"]))
        (x0, y0, x1, y1), crops = clip["box"], []
        for image in images:
            crop = cv2.resize(cv2.resize(image, clip["scaled"])[y0:y1, x0:x1], (self.side, self.side))
            crops.append(cv2.flip(crop, 1) if clip["flip"] else crop)
        return np.stack(crops)


def batches(decoder: str, request: dict[str, Any]) -> Iterator[Any]:
    """Yields batches, uint8 [N, T, H, W, C]."""
    data = Clips(decoder, request["clips"], request["side"])
    size, workers = request["batch_size"], request["workers"]
    if decoder == "spdl":
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


def measure(decoder: str, request: dict[str, Any]) -> float:
    """Returns clips a second, after a warm-up."""
    warmup, steps, size = request["warmup"], request["steps"], request["batch_size"]
    stream = batches(decoder, request)
    for _ in range(warmup):
        next(stream)
    rate = size * batches_per_s(lambda: next(stream), steps, request["workers"])
    stream.close()  # type: ignore[attr-defined]
    return rate


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
            name: of DECODERS.
            limit_s: in which it must take a request and answer it.
        """
        self.name, self.missing, self._limit_s = name, "", limit_s
        # What a library prints on stderr, and be it a traceback for each video, is of no use here: in a pipe it would fill up.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([sys.executable, __file__, name], text=True, process_group=0, **pipes)
        self._ask(None)

    def measure(self, request: dict[str, Any]) -> float | None:
        """Returns clips a second; None once it is missing."""
        return None if self.missing else self._ask(request)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        end_group(self._process)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any] | None) -> float | None:
        """Sends a request, and returns the answer. A process that is stopped takes neither: it is ended at the limit."""
        started_s, timer = time.monotonic(), threading.Timer(self._limit_s, end_group, [self._process])
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                if request is not None:
                    print(json.dumps(request), file=self._process.stdin, flush=True)
                for line in self._process.stdout:
                    if line.startswith("{"):  # libraries print, too
                        answer = json.loads(line)
                        self.missing = answer.get("missing", "")
                        return answer.get("clips_per_s")
        finally:
            timer.cancel()
        hangs = time.monotonic() - started_s > self._limit_s
        end_group(self._process)
        code = self._process.returncode
        self.missing = f"gave no answer for {self._limit_s:.0f} s" if hangs else f"its process has ended ({code})"
        return None


def main() -> None:
    """Measures what standard input asks for."""
    name = sys.argv[1]
    try:
        {"spdl": lambda: __import__("spdl.io") and __import__("spdl.pipeline"),
         "torchcodec": lambda: __import__("torchcodec.decoders"),
         "decord": lambda: __import__("decord"), "pyav": lambda: __import__("av")}[name]()  # fmt: skip
    except Exception as error:  # also what a library raises that does not find its own libraries
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(json.dumps({"missing": lines[0][:120]}), flush=True)
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"clips_per_s": measure(name, json.loads(line))}
        except Exception as error:
            answer = {"missing": f"failed: {type(error).__name__}: {error}"[:200].splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
