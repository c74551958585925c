"""What people train from video files with today, as loaders and as a model, for comparison in the same run on the same files.

A loader runs in a process of its own (`python benchmarks/peers.py NAME`) that is told what to measure, a JSON line at a time:
a library that cannot be imported, or crashes, costs a line in the table. All draw clips and crops as the recipe does, decode
each clip from its file, and crop, resize and flip with OpenCV as MMAction2 does; they differ in what decodes and what runs it.
"""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from c2d_fast import sampler  # noqa: E402

CLIP_SETTINGS = ("num_frames", "interval", "size", "short_side", "scales")


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
    """A data set of random training clips: `clips[i]` is uint8 [T, size, size, C], of file i modulo their number."""

    def __init__(self, decoder: str, files: list[str], lengths: list[int], settings: dict[str, Any], count: int):
        self.decode, self.files, self.lengths, self.settings = DECODERS[decoder], files, lengths, settings
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Any:
        import cv2

        cv2.setNumThreads(0)
        place, s = i % len(self.files), self.settings
        rng, n = np.random.default_rng([1, i]), self.lengths[place]
        firsts = sampler.train_first_frames(n, s["num_frames"], s["interval"])
        wanted = sampler.clip_frames(int(rng.integers(len(firsts))), n, s["num_frames"], s["interval"])
        images = self.decode(self.files[place], wanted)
        width, height = sampler.scaled_size(images.shape[2], images.shape[1], s["short_side"])
        draws = sampler.train_draws(width, height, s["size"], s["scales"])
        x0, y0, x1, y1 = draws[int(rng.integers(len(draws)))]
        flip, clip = rng.random() < 0.5, []
        for image in images:
            scaled = cv2.resize(image, (width, height))[y0:y1, x0:x1]
            crop = cv2.resize(scaled, (s["size"], s["size"]))
            clip.append(cv2.flip(crop, 1) if flip else crop)
        return np.stack(clip)


def batches(decoder: str, request: dict[str, Any], count: int) -> Iterator[Any]:
    """Yields batches, uint8 [N, T, H, W, C]."""
    data = Clips(decoder, request["files"], request["lengths"], request["settings"], count)
    size, workers = request["batch_size"], request["workers"]
    if decoder == "spdl":
        from spdl.pipeline import PipelineBuilder

        pipeline = (
            PipelineBuilder()
            .add_source(range(count))
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
    # More than is read: what a loader has prepared ahead when the clock stops, it had prepared when it started, too.
    stream = batches(decoder, request, (warmup + steps + 2 * request["workers"] + 4) * size)
    for _ in range(warmup):
        next(stream)
    started_s = time.perf_counter()
    for _ in range(steps):
        next(stream)
    elapsed_s = time.perf_counter() - started_s
    stream.close()  # type: ignore[attr-defined]
    return steps * size / elapsed_s


class Peer:
    """A peer's process. missing says why there is none."""

    def __init__(self, name: str):
        self.name, self.missing = name, ""
        self._process = subprocess.Popen(
            [sys.executable, __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._hear()

    def measure(self, request: dict[str, Any]) -> float | None:
        """Returns clips a second; None once it is missing."""
        if self.missing:
            return None
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self.missing = "its process has ended"
            return None
        return self._hear()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def _hear(self) -> float | None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print, too
                answer = json.loads(line)
                self.missing = answer.get("missing", "")
                return answer.get("clips_per_s")
        self.missing = f"its process ended ({self._process.wait()})"
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
