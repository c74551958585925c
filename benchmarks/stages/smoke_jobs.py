"""Whether a decoder works at all: one small clip, many times, through DALI's operator alone, compared with PyAV's frames."""

import io
import time
from typing import Any

import av
import numpy as np
from generated import ENCODERS, frames

BATCH, RUNS = 16, 5
FRAMES = 16
WANTED = np.arange(0, FRAMES, 2, dtype=np.int32)

HIGH_INTRA, UNMARKED = "h264, key frames only", "h264, key frames only, not marked"
_GROUPS = {HIGH_INTRA: {"x264-params": "keyint=1"}, UNMARKED: {"x264-params": "keyint=1"}}
_MARKS = {b"\x01\x64\x10": b"\x01\x64\x00", b"\x67\x64\x10": b"\x67\x64\x00"}
"""How a configuration and its parameter set begin in High Intra -> in High; workers do so in c2d_fast.video.parameter_sets."""

_clips: dict[tuple[int, int, str], tuple[Any, Any]] = {}


def make_clip(width: int, height: int, codec: str) -> int:
    """Encodes a clip for try_decoder, and imports what that needs; returns its bytes.

    Args:
        width: in pixels.
        height: the same.
        codec: of benchmarks/generated.py, or one of the kinds of H.264 above.
    """
    import nvidia.dali.fn  # noqa: F401 - here, where nothing is timed

    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as container:
        encoder, _, options = ENCODERS[codec.partition(",")[0]]
        stream: Any = container.add_stream(encoder, rate=30, options=options | _GROUPS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames(0, FRAMES, width, height):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with av.open(io.BytesIO(data.getvalue())) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    file = data.getvalue()
    for mark, other in _MARKS.items() if codec == UNMARKED else ():
        assert mark in file
        file = file.replace(mark, other)
    _clips[width, height, codec] = np.frombuffer(file, np.uint8), np.stack(decoded)[WANTED]
    return len(file)


def try_decoder(width: int, height: int, codec: str, threads: int, device: str) -> dict[str, Any]:
    """Decodes batches of the clip; each run is timed up to its frames being on the CPU.

    Args:
        width: of the clip, as make_clip was told.
        height: the same.
        codec: the same.
        threads: of the pipeline.
        device: mixed (NVDEC) or cpu.

    Returns:
        Milliseconds of a clip in the first batch (sessions are made) and in the later ones; mean and highest difference of a
        frame from PyAV's, in levels of 255.
    """
    from nvidia.dali import Pipeline, fn

    file, expected = _clips[width, height, codec]
    pipeline = Pipeline(BATCH, threads, 0 if device == "mixed" else None, prefetch_queue_depth=1)
    with pipeline:
        payload = fn.external_source([[file] * BATCH], cycle=True)
        wanted = fn.external_source([[WANTED] * BATCH], cycle=True)
        pipeline.set_outputs(fn.decoders.video(payload, device=device, frames=wanted))
    pipeline.build()
    spent_ms = []
    for _ in range(RUNS):
        started_s = time.perf_counter()
        (clips,) = pipeline.run()
        images = [np.array(clip) for clip in (clips.as_cpu() if device == "mixed" else clips)]
        spent_ms.append(round(1000 * (time.perf_counter() - started_s) / BATCH, 2))
    differences = [np.abs(clip.astype(np.int16) - expected).mean((1, 2, 3)) for clip in images]
    return {
        "first_ms_per_clip": spent_ms[0],
        "later_ms_per_clip": spent_ms[1:],
        "mean_difference": round(float(np.mean(differences)), 2),
        "highest_of_a_frame": round(float(np.max(differences)), 2),
    }
