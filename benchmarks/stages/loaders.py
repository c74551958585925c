"""Stage loaders: how many clips a second the loader gives, by decoder and setting. The most telling come first."""

import contextlib
from pathlib import Path
from typing import Any

from tables import sweep_lines

from stages.child import Child, LostError
from stages.settings import best, needs_nvdec, nvdec_fails, swept
from stages.stage import Stage
from stages.videos import forms_of

ROOT = Path(__file__).parents[2]
ROW_S, ROW_LIMIT_S = 8.0, 45.0
OPEN_LIMIT_S = 60.0


def run(stage: Stage) -> None:
    """Measures row after row."""
    rows: list[dict[str, Any]] = []
    stage.result |= {"settings": {}, "pipes": [], "sweep": rows, "best": {}}
    forms = forms_of(stage)
    failed, child = nvdec_fails(stage.asked.out), None
    for chosen in swept(rehearse=stage.asked.rehearse):
        what = ", ".join(f"{name} {value}" for name, value in chosen.items())
        if failed and needs_nvdec(chosen):
            stage.leave_out(f"{what} (nvdec {failed})")
            continue
        if not forms:
            stage.leave_out(what)
        if not forms or not stage.allows(what, 1 if stage.asked.rehearse else ROW_S):
            continue
        try:
            child = child or _opened(stage, forms)
            figures = child.ask("stages.loader_jobs.sweep_row", chosen, limit_s=min(ROW_LIMIT_S, stage.left_s - 1))
        except LostError as error:
            figures = {"missing": str(error)}
            child = None if error.is_gone else child
        rows.append(chosen | figures | {"at_s": stage.at_s})
        stage.result["best"] = best(rows)
        stage.say(f"{what}: {figures.get('clips_per_s') or figures['missing']}")
        stage.save()
    print("\n".join(sweep_lines(rows)), flush=True)


def _opened(stage: Stage, forms: dict[str, str]) -> Child:
    """Returns a new child that has opened the videos."""
    child = stage.child("loaders")
    pipe = ROOT / "dali_pipes" / ("demo.py" if stage.asked.rehearse else "k400_8x8.py")
    how = (1, 2, 1) if stage.asked.rehearse else (3, 8, 1)
    with contextlib.ExitStack() as undo:
        undo.callback(child.end)
        limit_s = min(OPEN_LIMIT_S, stage.left_s - 1)
        stage.result["forms"] = child.ask("stages.loader_jobs.open_pipe", pipe, forms, *how, limit_s=limit_s)
        undo.pop_all()
    names = ("warmup", "steps", "rounds")
    stage.result["settings"] = dict(zip(names, how, strict=True))
    return child
