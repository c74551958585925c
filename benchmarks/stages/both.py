"""Stage both: loader alone, model alone, and training steps on the loader's batches; how close they come to the slower.

Of the first recipe also with fewer workers, which leave CPUs to the trainer: its own thread waits for one where all decode.
"""

import os
from pathlib import Path
from typing import Any

from recipes import load_recipe, pipe_row, verdict
from tables import tables

from stages.cache import inductor_cache
from stages.child import Child, LostError
from stages.settings import BATCH, for_training
from stages.stage import Stage
from stages.videos import forms_of

ROOT = Path(__file__).parents[2]
RECIPE_S = 40.0
"""What a recipe takes with a warm cache; with an empty one it is ended by the budget."""
STEP_S = 5.0
_LEFT_TO_THE_TRAINER = {False: (2, 4), True: (1,)}
"""CPUs."""
ROUNDS, ROUND_S = 3, {False: 1.2, True: 0.2}


def run(stage: Stage) -> None:
    """Measures recipe after recipe, the most used first."""
    rehearse = stage.asked.rehearse
    names = ["demo"] if rehearse else ["k400_8x8", "k400_8x8_nopool", "k400_16x4", "k400_8x8_nopool_r101"]
    size = 2 if rehearse else BATCH
    chosen, source = for_training(stage.asked.out, size, rehearse=rehearse)
    cache, cached = inductor_cache()
    stage.result |= {
        "settings": chosen | {"model_batch_size": size, "from": source},
        "inductor_cache": {"folder": cache["TORCHINDUCTOR_CACHE_DIR"], "graphs_before": cached},
        "pipes": [],
    }
    stage.save()
    forms = forms_of(stage)
    env = cache | ({"OMP_NUM_THREADS": "1"} if rehearse else {})
    child: Child | None = None
    loaders: dict[Any, Any] = {}
    for name in names:
        if not forms:
            stage.leave_out(f"{name}.py")
        elif stage.allows(f"{name}.py", 1 if rehearse else RECIPE_S):
            child = child or stage.child("both", env)
            child = _measure(stage, child, ROOT / "dali_pipes" / f"{name}.py", forms, chosen, loaders)
    print("\n".join(tables(stage.result)), flush=True)


def _measure(
    stage: Stage, child: Child, pipe: Path, forms: dict[str, str], chosen: dict[str, Any], loaders: dict[Any, Any]
) -> Child | None:
    """Measures a recipe; returns the child, if it has lived."""
    recipe = load_recipe(pipe)
    row, clips = pipe_row(pipe, recipe), (recipe.clip, recipe.crop)
    stage.result["pipes"].append(row)
    how = (1, 2, 1) if stage.asked.rehearse else (3, 8, 2)
    size, round_s = chosen["batch-size"], ROUND_S[stage.asked.rehearse]
    try:
        stage.result["forms"] = _ask(stage, child, "open_pipe", pipe, forms, *how)
        if clips not in loaders:  # recipes that draw the same clips share a loader's figures
            loaders[clips] = _ask(stage, child, "loader_alone", chosen)
        row["loader"] = loaders[clips]
        _note(stage, row, "loader")
        figures = _ask(stage, child, "model_alone", size, round_s)
        row |= {name: figures.pop(name) for name in ("precision", "transfer_ms_per_clip") if name in figures}
        row["model"] = figures
        _note(stage, row, "model")
        row["both"] = _ask(stage, child, "both_together", chosen, figures["steps"], ROUNDS)
        if "stages_ms_per_clip" not in stage.result:
            stage.result["stages_ms_per_clip"] = {name: _ask(stage, child, "costs", name) for name in forms}
        _note(stage, row, "both")
        if len(stage.result["pipes"]) == 1:
            _with_fewer_workers(stage, child, chosen, row, figures["steps"])
    except LostError as error:
        row["missing"] = str(error)
        stage.say(f"{pipe.name}: {error}")
        stage.save()
        return None if error.is_gone else child
    return child


def _with_fewer_workers(stage: Stage, child: Child, chosen: dict[str, Any], row: dict[str, Any], steps: int) -> None:
    cpus, found = len(os.sched_getaffinity(0)), []
    row["both_with_fewer_workers"] = found
    for workers in (cpus - left for left in _LEFT_TO_THE_TRAINER[stage.asked.rehearse]):
        if 0 < workers < chosen["workers"] and stage.allows(f"{row['pipe']}, {workers} workers", STEP_S):
            figures = _ask(stage, child, "both_together", chosen | {"workers": workers}, steps, ROUNDS)
            found.append({"workers": workers} | figures)
            stage.say(f"{row['pipe']}, both with {workers} workers: {figures['clips_per_s']} clips/s")
            stage.save()


def _ask(stage: Stage, child: Child, job: str, *args: Any) -> Any:
    return child.ask(f"stages.loader_jobs.{job}", *args, limit_s=stage.left_s - 1)


def _note(stage: Stage, row: dict[str, Any], what: str) -> None:
    row |= verdict(row, stage.result.get("stages_ms_per_clip", {}).get(stage.result["settings"]["form"], {}))
    row["at_s"] = stage.at_s
    stage.say(f"{row['pipe']}, {what}: {row[what]['clips_per_s']} clips/s")
    stage.save()
