"""Builds and ends DALI pipelines: what a graph is given, who hears signals, in which order things go."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import torch

from c2d_fast.errors import TRAIN_FLAGS, UserError
from c2d_fast.loading.each_clip import each_clip
from c2d_fast.loading.source import ClipSource
from c2d_fast.loading.worker_pool import pool_of
from c2d_fast.processes.signals import STOP_SIGNALS
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY, WaitPolicy

Graph = Callable[..., Any]
"""train_pipe or eval_pipe of a pipe file: makes a DALI pipeline of a ClipSource."""

_QUIET = "ignore:resource_tracker"


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """What changes with the machine; but for the decoder and what it is given, never the result."""

    device: torch.device
    decoder: str
    """nvdec, dali, ffmpeg or hybrid."""
    workers: int
    """Processes that read (and, with ffmpeg and hybrid, decode) videos."""
    decoder_threads: int
    """Threads of each FFmpeg decoder, or of the whole pipeline with nvdec, dali and hybrid."""
    whole_files: bool = False
    """Read and decode files whole, up to the last wanted frame: for comparison."""
    decode_batch: int = 0
    """Training clips that are decoded together, whatever the model's batch; 0: as many as that has."""
    hybrid_share: float = 0.0
    """Share of the clips that hybrid gives to NVDEC (without a GPU to DALI's CPU decoder); FFmpeg has the others."""
    clear_cropping: bool = True
    """Have NVDEC decode H.264 and HEVC to the size they are coded in, so that DALI finds its decoders again; no pixel
    that is shown changes."""
    cache: tuple[str, int] = ("", 0)
    """Of range_cache.open_cache: where parts of remote videos are kept."""
    flags: frozenset[str] = TRAIN_FLAGS
    """Of the command that reads: messages name only those as remedies."""
    wait_policy: WaitPolicy = DEFAULT_WAIT_POLICY
    """With a storage that is gone."""


def build(graph: Graph, source: ClipSource, options: LoaderOptions, *, workers: int, batch_size: int) -> Any:
    """Returns a pipeline whose workers have started to read.

    Raises:
        UserError: the graph does not build.
    """
    # Ctrl-C and a job system's signals reach the workers, too, and they leave them to us only once they have been told to;
    # until then they wait. Python lets them through again when it starts its resource tracker: that must be running before.
    # Of a run that ends at once it would print a warning, after it has tidied up.
    warnings = os.environ.get("PYTHONWARNINGS", "")
    if _QUIET not in warnings:
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [warnings, _QUIET]))
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # which would end the tracker
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pipeline = (each_clip(graph) if source.num_clips > 1 else graph)(
            source,
            batch_size=batch_size,
            num_threads=options.decoder_threads if options.decoder != "ffmpeg" else max(options.workers, 1),
            device_id=options.device.index or 0 if options.device.type == "cuda" else None,
            py_num_workers=workers,
            prefetch_queue_depth=2,
        )
        pipeline.build()
        if pool := pool_of(pipeline):
            pool.start()
    except Exception as error:  # DALI raises many kinds for a graph that is wrong
        raise UserError(f"{graph_name(graph)} of the pipe file does not build: {error_summary(error)}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    return pipeline


def shut_down(pipelines: list[Any]) -> None:
    """Ends pipelines in order, which Python's garbage collector would not keep: first DALI's threads, then the workers."""
    while pipelines:
        pipeline = pipelines.pop()
        pipeline._shutdown()
        if pool := pool_of(pipeline):
            pool.close()


def graph_name(graph: Graph) -> str:
    """Returns a graph's name, for messages."""
    return getattr(graph, "__name__", "a graph")


def error_summary(error: Exception) -> str:
    """Returns what DALI's many lines of an error come down to."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("C++ context", "Current pipeline", "Critical error"))]
    return telling[-1] if telling else type(error).__name__
