"""Stage models: the recipes' models, compiled side by side and timed one after the other. Needs torch and torchvision alone.

Compiling takes a minute or two of CPU for each model and hardly uses the GPU. So every recipe's model is compiled in a child
of its own, and stays there until it is its turn to be timed; those that still compile are paused meanwhile. What needs no
compiling is timed while the GPU would otherwise idle. What has been compiled is in inductor's cache, for the stage both.
"""

import contextlib
import multiprocessing.connection
import os
from typing import Any

from recipes import load_recipe, pipe_row
from tables import tables

from stages.cache import inductor_cache
from stages.lane import Lane
from stages.stage import Stage
from stages.ways import all_ways

ROUND_S = {False: 1.2, True: 0.2}
TIMING_S = 12.0
"""What is kept for timing a model that is ready: it takes about half of it."""
TIMING_LIMIT_S = 60.0
UNKNOWN_S = 75.0
"""What compiling takes at least with an empty cache, where no model has shown it yet."""


def run(stage: Stage) -> None:
    """Compiles and times."""
    cache, cached = inductor_cache()
    cpus = len(os.sched_getaffinity(0))
    ways = all_ways(rehearse=stage.asked.rehearse)
    recipes = [way for way in ways if way.is_recipe]
    # Each child's own compile workers: together they have the CPUs once.
    env = cache | {"TORCHINDUCTOR_COMPILE_THREADS": str(max(cpus // len(recipes), 1))}
    if stage.asked.rehearse:  # on few CPUs threads that wait for each other would make it many times slower
        env |= {"OMP_NUM_THREADS": "1"}
    stage.result |= {
        "settings": {"model_batch_size": recipes[0].batch_size, "compile_children": len(recipes), "cpus": cpus},
        "inductor_cache": {"folder": cache["TORCHINDUCTOR_CACHE_DIR"], "graphs_before": cached},
        "pipes": [],
        "models": [],
    }
    lanes = [Lane(stage, way.name, [way], env) for way in recipes]
    first = lanes[0]
    lanes.append(Lane(stage, "larger batches", [way for way in ways if way.name.startswith("compiled, batch")], env))
    lanes.append(Lane(stage, "eager", [way for way in ways if not way.compiled], env))
    lanes.append(Lane(stage, "max-autotune", [way for way in ways if way.mode], env))
    while any(lane.is_open for lane in lanes) and stage.left_s > 1:
        _start(stage, lanes, first)
        if lane := _next(lanes, first):
            _time(stage, lane, [other for other in lanes if other.is_preparing])
        else:
            _hear(stage, lanes)
    for lane in lanes:
        for what in lane.close():
            stage.leave_out(what)
    print("\n".join(tables(stage.result)), flush=True)


def _start(stage: Stage, lanes: list[Lane], first: Lane) -> None:
    """Has models prepared whose turn it is."""
    for lane in lanes:
        if not lane.may_start or (lane.needs_quiet and _preparing(lanes)):
            continue
        # Recipes and what is eager start at once. Of the others compiling takes as long as the first recipe's, or longer.
        is_late = lane.way.compiled and not lane.way.is_recipe
        last = bool(lane.way.mode)
        if (is_late and first.is_open) or (last and any(other.is_open for other in lanes if other is not lane)):
            continue
        compiling_s = (2 if last else 1) * (first.prepared_s or UNKNOWN_S) if is_late else 0.0
        if stage.allows(lane.way.name, 1.0 if stage.asked.rehearse else compiling_s + TIMING_S):
            lane.start()
        else:
            lane.skip()


def _next(lanes: list[Lane], first: Lane) -> Lane | None:
    """Returns whose model is to be timed now: nothing that is compiled comes before the first recipe."""
    for lane in lanes:
        waits = lane is not first and first.is_open and lane.is_ready and lane.way.compiled
        if lane.is_ready and not waits and not (lane.needs_quiet and _preparing(lanes)):
            return lane
    return None


def _preparing(lanes: list[Lane]) -> list[Lane]:
    return [lane for lane in lanes if lane.is_preparing]


def _hear(stage: Stage, lanes: list[Lane]) -> None:
    """Waits until a model is ready, or fails."""
    preparing = _preparing(lanes)
    ready = multiprocessing.connection.wait([lane.waits_for for lane in preparing], min(stage.left_s - 1, 5))
    for lane in preparing:
        if lane.waits_for in ready and (problem := lane.hear(alone=len(preparing) == 1)):
            _write(stage, lane, {"missing": problem})
            lane.skip()


def _time(stage: Stage, lane: Lane, compiling: list[Lane]) -> None:
    """Times a model while the compilers of others stand still."""
    limit_s = min(TIMING_LIMIT_S, stage.left_s - 1)
    with contextlib.ExitStack() as stack:
        for other in compiling:
            stack.enter_context(other.paused())
        figures = lane.measure(ROUND_S[stage.asked.rehearse], limit_s, alone=not compiling)
    if figures is None:  # for want of memory: again once others are done
        return
    figures |= {"first_step_s": lane.prepared_s, "paused_meanwhile": [other.way.name for other in compiling]}
    _write(stage, lane, figures)
    lane.skip()


def _write(stage: Stage, lane: Lane, figures: dict[str, Any]) -> None:
    way, at = lane.way, {"at_s": stage.at_s}
    missing = {"missing": figures["missing"]} if "missing" in figures else {}
    precision = {"precision": figures.pop("precision", way.precision)}
    if way.is_recipe:
        row = pipe_row(way.pipe, load_recipe(way.pipe)) | precision | at
        stage.result["pipes"].append(row | (missing or {"model": figures}))
    else:
        row = {"name": way.name, "pipe": way.pipe.name} | precision | at | figures
        stage.result["models"].append(row)
    stage.say(f"{way.name}: {figures.get('missing') or str(figures['clips_per_s']) + ' clips/s'}")
    stage.save()
