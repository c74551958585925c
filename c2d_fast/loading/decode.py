"""Which decoder a list is read with, and the first step of every DALI graph: from the source to decoded clips."""

import ctypes
import dataclasses
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from c2d_fast.errors import UserError
from c2d_fast.loading.decoder_fit import DALI_CPU_CODECS, NVDEC_CODECS, NVDEC_PIXELS, colour_note, first_unfit, untried
from c2d_fast.loading.each_clip import Streams, keep, made_once, one_of
from c2d_fast.loading.source import ClipSource
from c2d_fast.loading.worker_pool import ASKED_AHEAD, WorkerPool, attach
from c2d_fast.manifest.manifest import Manifest

__all__ = [
    "DALI_CPU_CODECS",
    "NVDEC_CODECS",
    "choose_decoder",
    "decode_files",
    "nvdec_library",
    "read_clips",
    "read_crops",
    "time_files",
]

_TIMED_RUNS = 3

_OF_FILES = ("file", "frames", "shown", "transposed", "mirrored", "upside_down")

SmallFile = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""What video.read_clip gives: bytes, and the numbers of the frames to decode."""


def read_clips(source: ClipSource) -> tuple[Any, ...]:
    """Adds the source and the decoder to a graph.

    Args:
        source: draws and reads the samples in worker processes; it also names the decoder and the device.

    Returns:
        clip: uint8 FHWC, RGB, the frames asked for at the size they are shown in, or of them the part that the crops need,
            on source.device; in training the crop's box alone, of the frame scaled to the recipe's short side, unless the
            recipe says otherwise (Crop.scale_before_crop)
        start, end: float32 [crops, 2], (y, x) corners of the crops as parts of that, 0..1; CPU
        flip: int32; CPU; None in evaluation
        index: int64; CPU
        problem: uint8 [bytes], empty unless the video could not be read; CPU
    """
    clip, streams = made_once() if source.clip_number else keep(*_decoded_clips(source))
    if source.num_clips > 1:
        clip, streams = one_of(source.clip_number, clip, streams)
    if source.scales_first:
        clip = _box_of_scaled(source, clip, streams)
        streams |= {"start": types.Constant(np.zeros((1, 2), np.float32)), "end": types.Constant(np.ones((1, 2), np.float32))}
    return (clip, *(streams.get(name) for name in ("start", "end", "flip", "index", "problem")))


def _decoded_clips(source: ClipSource) -> tuple[Any, dict[str, Any]]:
    streams = _inputs(source)
    if source.decoder == "hybrid":
        return _by_either(source, streams), streams
    if source.decoder == "ffmpeg":
        return _on_device(source, streams["images"]), streams
    return _by_dali(source, streams), streams


def _box_of_scaled(source: ClipSource, clip: Any, streams: dict[str, Any]) -> Any:
    """Cuts the box of a training crop out of frames scaled to the short side, rounded to uint8: the published first step."""
    start, end = streams["start"][0], streams["end"][0]
    if source.all_scaled:
        return fn.slice(clip, rel_start=start, rel_end=end, axes=[1, 2])
    # Of the scaled frame no more is made than the box. At its edges this interpolates with pixels outside, as scaling the whole
    # frame does; what resizes the box next has none outside, as published.
    return fn.resize(
        clip,
        roi_start=start,
        roi_end=end,
        roi_relative=True,
        size=streams["scaled"],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )


def _by_either(source: ClipSource, streams: dict[str, Any]) -> Any:
    """Parts the batch between DALI's decoder and the workers' frames, and joins it again in its order."""
    # These are the operators that DALI makes of an `if` on a stream in its conditional mode. The mode itself would have it
    # rewrite the whole pipe file when a graph is built, and with it Python that it does not understand.
    parted: Any = fn._conditional  # type: ignore[attr-defined]
    is_file = streams["is_file"]
    files = {name: parted.split(streams[name], predicate=is_file)[0] for name in _OF_FILES if name in streams}
    images = parted.split(streams["images"], predicate=is_file)[1]
    return parted.merge(_by_dali(source, files), _on_device(source, images), predicate=is_file)


def _by_dali(source: ClipSource, streams: dict[str, Any]) -> Any:
    clip = _decoded(source.file_decoder, streams["file"], streams["frames"])
    if source.file_decoder == "dali":
        clip = _on_device(source, clip)
    if source.cuts_shown:
        # Where cropping was cleared, frames come as they are coded: a copy of what is shown keeps padding out of every crop.
        clip = fn.slice(clip, start=[0, 0], shape=streams["shown"], axes=[1, 2], out_of_bounds_policy="trim_to_shape")
    return _upright(clip, streams) if source.turns else clip


def _upright(clip: Any, streams: dict[str, Any]) -> Any:
    """Turns the frames as their containers say: orientation.apply_orientation, sample by sample."""
    parted: Any = fn._conditional  # type: ignore[attr-defined]  # see _by_either
    sideways, others = parted.split(clip, predicate=streams["transposed"])
    sideways = fn.transpose(sideways, perm=[0, 2, 1, 3], transpose_layout=False)
    clip = parted.merge(sideways, others, predicate=streams["transposed"])
    return fn.flip(clip, horizontal=streams["mirrored"], vertical=streams["upside_down"])


def _on_device(source: ClipSource, images: Any) -> Any:
    return images.gpu() if source.device == "gpu" else images  # uint8, a quarter of what would cross as float32


def _decoded(decoder: str, file: Any, frames: Any) -> Any:
    return fn.decoders.video(file, device="mixed" if decoder == "nvdec" else "cpu", frames=frames)


def read_crops(source: ClipSource) -> tuple[Any, ...]:
    """Adds a source whose workers decode and cut out the crops, for graphs on a machine without a GPU (source.crops_on_cpu).

    DALI's resize takes about eight times as long on a CPU as the workers' (docs/decisions/0008).

    Returns:
        clip: uint8 FHWC, RGB, source.crop_size high and wide, flipped; in evaluation [crops, F, H, W, C]; CPU
        index: int64; CPU
        problem: uint8 [bytes], empty unless the video could not be read; CPU
    """
    images, streams = made_once() if source.clip_number else keep(*_crops(source))
    return streams.get(f"images{source.clip_number}", images), streams["index"], streams["problem"]


def _crops(source: ClipSource) -> Streams:
    streams = _inputs(dataclasses.replace(source, cuts_crops=True))
    return streams.get("images"), streams


def _inputs(source: ClipSource) -> dict[str, Any]:
    """Adds the external source: its streams by name, in the order in which the source gives them."""
    # An output that a graph leaves unused would still be sent, and DALI warns of it: none is declared that is not needed.
    several = source.cuts_crops and source.num_clips > 1  # one output for each clip: taking one apart would be a copy
    crops, files, images = source.cuts_crops, bool(source.file_decoder), source.decoder in ("ffmpeg", "hybrid")
    streams = {
        "file": files and (types.UINT8, ""),
        "frames": files and (types.INT32, ""),
        "shown": source.cuts_shown and (types.INT32, ""),
        "transposed": source.turns and (types.BOOL, ""),
        "mirrored": source.turns and (types.INT32, ""),
        "upside_down": source.turns and (types.INT32, ""),
        "images": images and not several and (types.UINT8, "FHWC" if source.flips or not crops else ""),
        **{f"images{number}": several and (types.UINT8, "FHWC") for number in range(source.num_clips)},
        "is_file": source.decoder == "hybrid" and (types.BOOL, ""),
        "order": not crops and source.num_clips > 1 and (types.INT32, ""),
        "start": not crops and (types.FLOAT, ""),
        "end": not crops and (types.FLOAT, ""),
        "scaled": not crops and source.scales_first and not source.all_scaled and (types.FLOAT, ""),
        "flip": not crops and source.flips and (types.INT32, ""),
        "index": (types.INT64, ""),
        "problem": (types.UINT8, ""),
    }
    wanted = {name: stream for name, stream in streams.items() if stream}
    pipeline = Pipeline.current()
    # DALI takes the workers' memory as it is: of the batches in its queue, and of the one whose outputs are read.
    held = pipeline.prefetch_queue_depth + 1
    is_remote = source.plan.videos.has_remote
    pool = WorkerPool(
        source,
        workers=pipeline.py_num_workers,
        batch_size=pipeline.max_batch_size,
        held=held,
        asked_ahead=ASKED_AHEAD if is_remote and source.plan.videos.packet_table else 0,
        ends_early=is_remote,
    )
    attach(pipeline, pool)
    outputs = fn.external_source(
        pool.read_batch,
        num_outputs=len(wanted),
        dtype=[dtype for dtype, _ in wanted.values()],
        layout=[layout for _, layout in wanted.values()],
        no_copy=True,
    )
    return {name: outputs[index] for index, name in enumerate(wanted)}


def decode_files(files: list[SmallFile], decoder: str, *, threads: int, device_id: int | None) -> list[NDArray[np.uint8]]:
    """Decodes small files once, in a pipeline of their own.

    Args:
        files: a batch.
        decoder: nvdec or dali.
        threads: of the decoder.
        device_id: of the GPU; None for dali.

    Returns:
        RGB frames of each, uint8 [F, H, W, C], on the CPU, at the size that they are decoded in.

    Raises:
        RuntimeError: DALI's, whatever fails.
    """
    pipeline = _pipeline_of(files, decoder, threads, device_id)
    try:
        (clips,) = pipeline.run()
        return [np.array(clip) for clip in (clips.as_cpu() if decoder == "nvdec" else clips)]
    finally:
        pipeline._shutdown()


def time_files(files: list[SmallFile], decoder: str, *, threads: int, device_id: int | None) -> float:
    """Returns the seconds in which a batch of small files is decoded, once decoders are warm. Arguments as decode_files.

    Raises:
        RuntimeError: DALI's, whatever fails.
    """
    pipeline = _pipeline_of(files, decoder, threads, device_id)
    try:
        pipeline.run()
        started_s = time.perf_counter()
        for _ in range(_TIMED_RUNS):
            pipeline.run()  # returns once the GPU is done, too
        return (time.perf_counter() - started_s) / _TIMED_RUNS
    finally:
        pipeline._shutdown()


def _pipeline_of(files: list[SmallFile], decoder: str, threads: int, device_id: int | None) -> Any:
    pipeline = Pipeline(len(files), threads, device_id, prefetch_queue_depth=1)
    with pipeline:
        file = fn.external_source([[data for data, _ in files]], cycle=True)
        frames = fn.external_source([[numbers for _, numbers in files]], cycle=True)
        pipeline.set_outputs(_decoded(decoder, file, frames))
    pipeline.build()
    return pipeline


def choose_decoder(requested: str, manifest: Manifest, *, gpu: bool, whole_files: bool = False) -> tuple[str, str]:
    """Chooses the decoder for all videos of a list.

    Args:
        requested: auto, nvdec, dali, ffmpeg or hybrid.
        manifest: the list's videos.
        gpu: whether the run has a CUDA GPU.
        whole_files: whether files are to be read whole.

    Returns:
        The decoder (nvdec, dali, ffmpeg or hybrid) and the reason, for the user.

    Raises:
        UserError: the decoder asked for cannot decode a video of the list, or this machine lacks it.
    """
    if requested == "ffmpeg":
        return requested, "as asked"
    if requested == "dali" or (requested == "hybrid" and not gpu):
        if unfit := first_unfit(manifest, DALI_CPU_CODECS, None, whole_files):
            without = "" if requested == "dali" else "without a CUDA GPU "
            raise UserError(
                f"--decoder {requested}: {without}{unfit}; DALI's CPU decoder has VP8, VP9 and MJPEG only: use --decoder auto "
                "or ffmpeg"
            )
        return requested, "as asked" + colour_note(manifest)
    why_not = _why_no_nvdec(manifest, whole_files) if gpu else "there is no CUDA GPU"
    if requested == "auto":
        if why_not := why_not or untried(manifest):
            return "ffmpeg", why_not
        return "nvdec", "a GPU with NVDEC, and it decodes every video of the list" + colour_note(manifest)
    if why_not:
        raise UserError(f"--decoder {requested}: {why_not}; use --decoder auto or ffmpeg")
    warning = untried(manifest)
    return requested, "as asked" + (f"; warning: {warning}" if warning else "") + colour_note(manifest)


def nvdec_library() -> bool:
    """Says whether the driver's video decoding library can be loaded."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return False
    return True


def _why_no_nvdec(manifest: Manifest, whole_files: bool) -> str:
    if not nvdec_library():
        return "the driver's video decoding library (libnvcuvid.so.1) is missing"
    return first_unfit(manifest, NVDEC_CODECS, NVDEC_PIXELS, whole_files)
