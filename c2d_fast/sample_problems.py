"""Which samples of a batch cannot be read or decoded: asked one by one, since DALI's message names none."""

import dataclasses
from collections.abc import Mapping, Sequence

from c2d_fast.children import Lost, run_in_children
from c2d_fast.decode import decode_files
from c2d_fast.pipelines import Graph, LoaderOptions, build, last_line, shut_down
from c2d_fast.source import ClipSource, SingleSample, probe

_TIME_LIMIT_S = 30.0

Place = tuple[int, int]
"""Step and slot of a plan."""


def by_reading(source: ClipSource, places: Sequence[Place], *, jobs: int) -> dict[Place, str]:
    """Reads samples in processes of which a video may be the end; returns what is wrong, by place.

    Args:
        source: of the loader.
        places: of the samples.
        jobs: how many are read at a time.
    """
    items = [(source, *place) for place in places]
    found = run_in_children(probe, items, jobs=max(jobs, 1), time_limit_s=_TIME_LIMIT_S)
    texts = {(step, slot): result.reason if isinstance(result, Lost) else result for (_, step, slot), result in found}
    return {place: text for place, text in sorted(texts.items()) if text}


def by_decoding(graph: Graph, sources: Mapping[Place, ClipSource], options: LoaderOptions) -> dict[Place, str]:
    """Decodes samples that DALI decodes, each alone; returns what is wrong, by place.

    Args:
        graph: of the loader.
        sources: for each place one whose first sample it is.
        options: of the loader.
    """
    # By the decoder alone, which is quick; only where that finds nothing by the whole graph, which starts a worker for each.
    found = {place: text for place, source in sources.items() if (text := _by_decoder(source, options))}
    return found or {place: text for place, source in sources.items() if (text := _by_graph(graph, source, options))}


def _by_decoder(source: ClipSource, options: LoaderOptions) -> str:
    device_id = (options.device.index or 0) if options.device.type == "cuda" else None
    file, frames, *_ = source(SingleSample())
    try:
        decode_files([(file, frames)], source.file_decoder, threads=1, device_id=device_id)
    except RuntimeError as error:
        return f"does not decode ({last_line(error)})"
    return ""


def _by_graph(graph: Graph, source: ClipSource, options: LoaderOptions) -> str:
    pipelines = [build(graph, dataclasses.replace(source, clips_at_a_time=1), options, workers=1, batch_size=1)]
    try:
        pipelines[0].run()
    except RuntimeError as error:
        return f"does not decode ({last_line(error)})"
    finally:
        shut_down(pipelines)
    return ""
