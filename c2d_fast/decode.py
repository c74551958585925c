"""Which decoder a list is read with, and the first step of every DALI graph: from the source to decoded clips."""

import ctypes
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from c2d_fast.errors import UserError
from c2d_fast.manifest import Manifest
from c2d_fast.source import ClipSource

DALI_CPU_CODECS = dict.fromkeys(("vp8", "vp9", "mjpeg"), (1, 1))
# Codec -> smallest (width, height) that NVDEC takes, as NVIDIA documents it. Which codecs a given card has is not asked
# yet: the oldest lack AV1.
NVDEC_CODECS = {
    "h264": (48, 16),
    "hevc": (144, 144),
    "mpeg4": (48, 16),
    "vp8": (48, 16),
    "vp9": (128, 128),
    "av1": (128, 128),
    "mjpeg": (64, 64),
}
# 8 bits, 4:2:0: what every NVDEC generation that DALI supports decodes of every codec above.
_NVDEC_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_BT709 = 1  # H.273


def read_clips(source: ClipSource) -> tuple[Any, ...]:
    """Adds the source and the decoder to a graph.

    Args:
        source: draws and reads the samples in DALI's worker processes; it also names the decoder and the device.

    Returns:
        clip: uint8 FHWC, RGB, the frames asked for at the size they are stored in, or of them the part that the crops need,
            on source.device
        start, end: float32 [crops, 2], (y, x) corners of the crops as parts of that, 0..1; CPU
        flip: int32; CPU; None in evaluation
        index: int64; CPU
        problem: uint8 [bytes], empty unless the video could not be read; CPU
    """
    encoded = source.decoder != "ffmpeg"
    streams = [
        (types.UINT8, "" if encoded else "FHWC"),  # payload
        *([(types.INT32, "")] if encoded else []),  # frames
        (types.FLOAT, ""),  # start
        (types.FLOAT, ""),  # end
        *([(types.INT32, "")] if source.flips else []),  # flip
        (types.INT64, ""),  # index
        (types.UINT8, ""),  # problem
    ]
    # An output that a graph leaves unused would still be sent, and DALI warns of it: none is declared that is not needed.
    inputs = _inputs(source, streams)
    payload, frames = inputs[0], inputs[1] if encoded else None
    start, end, *flip, index, problem = inputs[2 if encoded else 1 :]
    if source.decoder == "nvdec":
        clip = fn.decoders.video(payload, device="mixed", frames=frames)
    elif source.decoder == "dali":
        clip = fn.decoders.video(payload, device="cpu", frames=frames)
    else:
        clip = payload
    if source.device == "gpu" and source.decoder != "nvdec":
        clip = clip.gpu()  # uint8, a quarter of what would cross as float32
    return clip, start, end, flip[0] if flip else None, index, problem


def read_crops(source: ClipSource) -> tuple[Any, ...]:
    """Adds a source whose workers decode and cut out the crops, for graphs on a machine without a GPU (source.crops_on_cpu).

    DALI's resize takes about eight times as long on a CPU as the workers' (docs/decisions/0008).

    Returns:
        clip: uint8 FHWC, RGB, source.crop_size high and wide, flipped; in evaluation [crops, F, H, W, C]; CPU
        index: int64; CPU
        problem: uint8 [bytes], empty unless the video could not be read; CPU
    """
    streams = [(types.UINT8, "FHWC" if source.flips else ""), (types.INT64, ""), (types.UINT8, "")]
    return tuple(_inputs(dataclasses.replace(source, cuts_crops=True), streams))


def _inputs(source: ClipSource, streams: list[tuple[Any, str]]) -> Any:
    return fn.external_source(
        source,
        num_outputs=len(streams),
        dtype=[dtype for dtype, _ in streams],
        layout=[layout for _, layout in streams],
        batch=False,
        parallel=True,
        prefetch_queue_depth=2,
    )


def decode_files(
    files: list[tuple[NDArray[np.uint8], NDArray[np.int32]]], decoder: str, *, threads: int, device_id: int | None
) -> list[NDArray[np.uint8]]:
    """Decodes small files once, in a pipeline of their own.

    Args:
        files: (bytes, numbers of the frames to decode) of each, as video.read_clip gives them.
        decoder: nvdec or dali.
        threads: of the decoder.
        device_id: of the GPU; None for dali.

    Returns:
        RGB frames of each, uint8 [F, H, W, C], on the CPU.

    Raises:
        RuntimeError: DALI's, whatever fails.
    """
    pipeline = Pipeline(len(files), threads, device_id, prefetch_queue_depth=1)
    with pipeline:
        payload = fn.external_source([[data for data, _ in files]], cycle=True)
        frames = fn.external_source([[numbers for _, numbers in files]], cycle=True)
        pipeline.set_outputs(fn.decoders.video(payload, device="mixed" if decoder == "nvdec" else "cpu", frames=frames))
    pipeline.build()
    try:
        (clips,) = pipeline.run()
        return [np.array(clip.as_cpu() if decoder == "nvdec" else clip) for clip in clips]
    finally:
        pipeline._shutdown()


def choose_decoder(requested: str, manifest: Manifest, *, gpu: bool) -> tuple[str, str]:
    """Chooses the decoder for all videos of a list.

    Args:
        requested: auto, nvdec, dali or ffmpeg.
        manifest: the list's videos.
        gpu: whether the run has a CUDA GPU.

    Returns:
        The decoder (nvdec, dali or ffmpeg) and the reason, for the user.

    Raises:
        UserError: the decoder asked for cannot decode a video of the list, or this machine lacks it.
    """
    no_nvdec = _why_no_nvdec(manifest, gpu)
    if requested == "auto":
        if no_nvdec:
            return "ffmpeg", no_nvdec
        return "nvdec", "a GPU with NVDEC, and it decodes every video of the list" + _colour_note(manifest)
    if requested == "nvdec" and no_nvdec:
        raise UserError(f"--decoder nvdec: {no_nvdec}; use --decoder auto or ffmpeg")
    if requested == "dali":
        unfit = _first_unfit(manifest, DALI_CPU_CODECS, None)
        if unfit:
            raise UserError(
                f"--decoder dali: {unfit}; DALI's CPU decoder has VP8, VP9 and MJPEG only: use --decoder auto or ffmpeg"
            )
    return requested, "as asked" + ("" if requested == "ffmpeg" else _colour_note(manifest))


def nvdec_library() -> bool:
    """Says whether the driver's video decoding library can be loaded."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return False
    return True


def _why_no_nvdec(manifest: Manifest, gpu: bool) -> str:
    if not gpu:
        return "there is no CUDA GPU"
    if not nvdec_library():
        return "the driver's video decoding library (libnvcuvid.so.1) is missing"
    return _first_unfit(manifest, NVDEC_CODECS, _NVDEC_PIXELS)


def _colour_note(manifest: Manifest) -> str:
    tagged = int((manifest.facts["matrix"] == _BT709).sum())
    return f"; it takes the {tagged} videos tagged BT.709 for BT.601, --decoder ffmpeg would not" if tagged else ""


def _first_unfit(manifest: Manifest, codecs: dict[str, tuple[int, int]], pixels: frozenset[str] | None) -> str:
    """Returns what keeps DALI's decoder from the list, "" if nothing does."""
    facts = manifest.facts
    known = facts["codec"][:, None] == np.array([codec.encode() for codec in codecs])
    smallest = known @ np.array(list(codecs.values()))  # [videos, 2]; zeros where the codec is another
    unfit = ~known.any(1) | (facts["width"] < smallest[:, 0]) | (facts["height"] < smallest[:, 1]) | ~facts["in_order"]
    if pixels:
        unfit |= ~np.isin(facts["pix_fmt"], [name.encode() for name in pixels])
    unfit &= facts["frames"] > 0  # one that is kept for its place in the order only is never read
    unfit = unfit[manifest.kept]
    if not unfit.any():
        return ""
    first = int(unfit.argmax())
    return f"{manifest.where(first)} {_unfit(facts[manifest.kept[first]], codecs, pixels)}"


def _unfit(row: Any, codecs: dict[str, tuple[int, int]], pixels: frozenset[str] | None) -> str:
    codec, pix_fmt, width, height = row["codec"].decode(), row["pix_fmt"].decode(), row["width"], row["height"]
    if codec not in codecs:
        return f"is {codec}"
    if width < codecs[codec][0] or height < codecs[codec][1]:
        smallest = "{}x{}".format(*codecs[codec])
        return f"is {width}x{height}, and {codec} must be {smallest} at least"
    if pixels and pix_fmt not in pixels:
        return f"is stored as {pix_fmt}"
    if not row["in_order"]:
        return "has timestamps by which DALI would number its frames differently"
    return ""
