"""What a child of the stages loaders and both does: it opens the videos, and measures loaders, models, and both together."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from measure import Setting, loader_round, open_loader, stage_costs
from rounds import Rounds, timed
from stored import Form, read_form
from sweep import Shares, changed, loader_row
from together import transfer_cost
from trained import Trained, both_rounds, cached_batch

from c2d_fast.commands.dataset import choose_device
from c2d_fast.recipe import PipeFile, load_pipe
from stages.model_jobs import tidy, timed_rounds


@dataclasses.dataclass
class _Held:
    """What one call leaves for the next."""

    pipe: PipeFile
    forms: dict[str, Form]
    shares: Shares
    how: dict[str, int]
    trained: Trained | None = None


_held: list[_Held] = []


def open_pipe(pipe: Path, forms: dict[str, str], warmup: int, steps: int, rounds: int) -> dict[str, Any]:
    """Loads a pipe file and the forms' manifests; says how loaders are measured. Returns what is known of the forms."""
    loaded = load_pipe(pipe)
    read = _held[0].forms if _held else {name: read_form(name, Path(path)) for name, path in forms.items()}
    how = {"warmup": warmup, "steps": steps, "rounds": rounds}
    _held[:] = [_Held(loaded, read, Shares(loaded, warmup, steps), how)]
    torch.compiler.reset()
    tidy()
    return {name: form.facts() for name, form in read.items()}


def sweep_row(chosen: dict[str, Any]) -> dict[str, Any]:
    """Measures the loader under a combination of what throughput.py sweeps."""
    (held,) = _held
    return loader_row(held.pipe, held.forms[chosen["form"]], _setting(chosen), held.shares, **held.how)


def costs(form: str) -> dict[str, float]:
    """Returns what a clip costs, stage by stage, in milliseconds of one process."""
    (held,) = _held
    return stage_costs(held.pipe, held.forms[form], _setting({"workers": 1, "decoder-threads": 1, "batch-size": 1}))


def model_alone(batch_size: int, round_s: float) -> dict[str, Any]:
    """Makes the model as the trainer does by default, and measures it on a cached batch."""
    (held,) = _held
    device = _device()
    trained = Trained(held.pipe.recipe, device, precision=None, compiled=True)
    first_step_s = timed(lambda: trained.step(cached_batch(held.pipe.recipe, batch_size, device)), device)
    held.trained = trained
    figures = timed_rounds(trained, batch_size, round_s) | {"first_step_s": round(first_step_s, 1)}
    if device.type == "cuda":
        figures["transfer_ms_per_clip"] = transfer_cost(held.pipe, batch_size, device)
    return {"precision": trained.precision.name} | figures


def loader_alone(chosen: dict[str, Any]) -> dict[str, Any]:
    """Measures the loader that both_together uses; with what it was measured."""
    (held,) = _held
    form = held.forms[chosen["form"]]
    setting = held.shares.fill_in(form, _setting(chosen))
    how = held.how
    rates = [loader_round(held.pipe, form, setting, how["warmup"], how["steps"], n) for n in range(how["rounds"])]
    return Rounds(rates).facts() | {"setting": setting.facts()}


def both_together(chosen: dict[str, Any], steps: int, rounds: int) -> dict[str, Any]:
    """Measures training steps on the loader's batches, with the model of model_alone."""
    (held,) = _held
    assert held.trained, "model_alone comes first"
    form = held.forms[chosen["form"]]
    setting = held.shares.fill_in(form, _setting(chosen))
    warmup = held.how["warmup"]
    batches = open_loader(held.pipe, form, setting, warmup + steps * rounds + 4)
    return both_rounds(held.trained, batches, setting.batch_size, warmup, steps, rounds).facts()


def _setting(chosen: dict[str, Any]) -> Setting:
    return changed(Setting(device=_device(), decoder="auto", workers=1, decoder_threads=1, batch_size=1), chosen)


@functools.cache
def _device() -> torch.device:
    return choose_device()
