"""Which samples of a batch cannot be read or decoded: asked one by one, since DALI's message names none."""

import dataclasses
import pickle
from collections.abc import Mapping, Sequence

from c2d_fast.loading.decode import decode_files
from c2d_fast.loading.pipelines import Graph, LoaderOptions, build, error_summary, shut_down
from c2d_fast.loading.sample_info import SingleSample, probe
from c2d_fast.loading.source import ClipSource
from c2d_fast.processes.children import LostItem, run_in_children
from c2d_fast.processes.spawning import needs_main

_TIME_LIMIT_S = 30.0

StepSlot = tuple[int, int]
"""Step and slot of a plan's sample."""


def find_unreadable(
    source: ClipSource, samples: Sequence[StepSlot], *, jobs: int
) -> tuple[dict[StepSlot, str], dict[StepSlot, str]]:
    """Reads samples in processes of which a video may be the end.

    Args:
        source: of the loader.
        samples: their steps and slots.
        jobs: how many are read at a time.

    Returns:
        By step and slot what is wrong with those that could not be read, and how processes ended at the others.
    """
    items = [(source, *key) for key in samples]
    with_main = needs_main(pickle.dumps(source))
    found = run_in_children(probe, items, jobs=max(jobs, 1), time_limit_s=_TIME_LIMIT_S, with_main=with_main)
    results = sorted(((step, slot), result) for (_, step, slot), result in found if result)
    texts = {key: result for key, result in results if not isinstance(result, LostItem)}
    # SIGBUS is of a file that is mapped: its storage has gone, or /dev/shm is full. That is no video's fault.
    lost = {key: result.reason for key, result in results if isinstance(result, LostItem) and "SIGBUS" not in result.reason}
    return texts, lost


def find_undecodable(
    graph: Graph, sources: Mapping[StepSlot, ClipSource], options: LoaderOptions, *, try_graph: bool = True
) -> dict[StepSlot, str]:
    """Decodes samples that DALI decodes, each alone; returns what is wrong, by step and slot.

    Args:
        graph: of the loader.
        sources: for each a source whose first sample it is.
        options: of the loader.
        try_graph: whether the whole graph is tried, too, where the decoder finds nothing: that takes a second for each.
    """
    # By the decoder alone, which is quick; only where that finds nothing by the whole graph, which starts a worker for each.
    found = {key: text for key, source in sources.items() if (text := _by_decoder(source, options))}
    if found or not try_graph:
        return found
    return {key: text for key, source in sources.items() if (text := _by_graph(graph, source, options))}


def _by_decoder(source: ClipSource, options: LoaderOptions) -> str:
    device_id = (options.device.index or 0) if options.device.type == "cuda" else None
    file, frames, *_, problem = source(SingleSample())
    if len(problem):  # it was read a moment ago
        return bytes(problem).decode(errors="replace")
    try:
        decode_files([(file, frames)], source.file_decoder, threads=1, device_id=device_id)
    except RuntimeError as error:
        return f"does not decode ({error_summary(error)})"
    return ""


def _by_graph(graph: Graph, source: ClipSource, options: LoaderOptions) -> str:
    pipelines = [build(graph, dataclasses.replace(source, clips_at_a_time=1), options, workers=1, batch_size=1)]
    try:
        pipelines[0].run()
    except RuntimeError as error:
        return f"does not decode ({error_summary(error)})"
    finally:
        shut_down(pipelines)
    return ""
