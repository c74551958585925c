"""Several clips of one decode: the graph of a pipe file made once for each of them, on frames that are decoded once for all."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from nvidia.dali import Pipeline, fn, pipeline_def

from c2d_fast.loading.source import ClipSource

Streams = tuple[Any, dict[str, Any]]
"""Clips, and the source's streams by name."""

_OF_EACH: tuple[str, ...] = ("flip", "scaled")


def keep(clip: Any, streams: dict[str, Any]) -> Streams:
    """Keeps what is made for the first clip of a decode, for the graphs of its others."""
    Pipeline.current().made_once = clip, dict(streams)
    return clip, streams


def made_once() -> Streams:
    """Returns what was made for the first clip."""
    clip, streams = Pipeline.current().made_once
    return clip, dict(streams)


def one_of(number: int, clip: Any, streams: dict[str, Any]) -> Streams:
    """Takes the frames of one clip from those that were decoded for several, and what belongs to it."""
    clip = fn.sequence_rearrange(clip, new_order=streams["order"][number])
    own = {name: streams[name][number] for name in _OF_EACH if name in streams}
    own |= {name: streams[name][number : number + 1] for name in ("start", "end")}
    return clip, streams | own


def each_clip(graph: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a graph that makes several clips of one decode: it does for each what a graph made with @pipeline_def does.

    Its outputs: the clips one after the other, index, problem.
    """
    body = inspect.unwrap(graph)

    @pipeline_def  # type: ignore[untyped-decorator]
    def each(source: ClipSource) -> tuple[Any, ...]:
        outputs = [body(dataclasses.replace(source, clip_number=number)) for number in range(source.num_clips)]
        return (*(clip for clip, *_ in outputs), *outputs[0][1:])

    return functools.wraps(graph)(each)
