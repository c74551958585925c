"""The loader alone under many settings; and how clips are shared between two decoders."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from machine import GpuWatch
from measure import Setting, chosen_decoder, loader_round
from rounds import Clock, Rounds
from stored import Form

from c2d_fast.errors import UserError
from c2d_fast.recipe import PipeFile

LOADER_S = {"cuda": 10.0, "cpu": 0.0}
"""What a loader's start and one round of it may take, where a budget is to hold."""


class Shares:
    """Fills in which share of the clips NVDEC gets with the decoder hybrid: each decoder as many as it reads alone.

    Without a GPU DALI's decoder stands in for NVDEC, as it does in a run.
    """

    def __init__(self, pipe: PipeFile, warmup: int, steps: int):
        self._pipe, self._warmup, self._steps = pipe, warmup, steps
        self._rates: dict[tuple[str, Setting], float] = {}

    def note(self, form: Form, setting: Setting, clips_per_s: float) -> None:
        """Hears what a setting was measured to reach, so that it need not be measured again."""
        self._rates[form.name, setting] = clips_per_s

    def fill_in(self, form: Form, setting: Setting) -> Setting:
        """Returns the setting with its share; one that says its share, or has another decoder, as it is.

        Raises:
            UserError: a decoder cannot be had.
        """
        if chosen_decoder(form, setting) != "hybrid" or setting.hybrid_share is not None:
            return setting
        name = "nvdec" if setting.device.type == "cuda" else "dali"
        nvdec = self._rate(form, dataclasses.replace(setting, decoder=name))
        ffmpeg = self._rate(form, dataclasses.replace(setting, decoder="ffmpeg", decoder_threads=1))
        return dataclasses.replace(setting, hybrid_share=round(nvdec / (nvdec + ffmpeg), 3))

    def _rate(self, form: Form, setting: Setting) -> float:
        if (form.name, setting) not in self._rates:
            self.note(form, setting, loader_round(self._pipe, form, setting, self._warmup, self._steps, 0))
        return self._rates[form.name, setting]


def loader_row(
    pipe: PipeFile, form: Form, setting: Setting, shares: Shares, *, warmup: int, steps: int, rounds: int
) -> dict[str, Any]:
    """Measures a setting; returns its figures, or why there are none as "missing"."""
    try:
        filled = shares.fill_in(form, setting)
        with GpuWatch() as watch:
            rates = [loader_round(pipe, form, filled, warmup, steps, number) for number in range(rounds)]
        decoder = chosen_decoder(form, filled)
    except UserError as error:
        return {"missing": str(error)}
    figures = Rounds(rates, watch.read())
    shares.note(form, setting, figures.median)
    share = {"hybrid_share": filled.hybrid_share} if decoder == "hybrid" else {}
    return {"decoder": decoder, **share, **figures.facts()}


def changed(setting: Setting, chosen: dict[str, Any]) -> Setting:
    """Returns a setting with what a combination of --sweep says of it."""
    changes = {name.replace("-", "_"): value for name, value in chosen.items() if name not in ("form", "read", "cropping")}
    return dataclasses.replace(
        setting,
        **changes,
        whole_files=chosen.get("read") == "files",
        clear_cropping=chosen.get("cropping", "cleared") == "cleared",
    )


def measure_sweep(
    args: argparse.Namespace, pipe: PipeFile, forms: dict[str, Form], setting: Setting, clock: Clock
) -> Iterator[dict[str, Any]]:
    """Measures the loader alone under every combination of what is swept; yields a row for each."""
    shares = Shares(pipe, args.warmup, args.steps)
    for values in itertools.product(*args.sweep.values()):
        chosen = dict(zip(args.sweep, values, strict=True))
        if not clock.allows(f"sweep {chosen}", LOADER_S[setting.device.type] * args.sweep_rounds):
            continue
        form = forms[chosen.get("form", args.form[0])]
        how = {"warmup": args.warmup, "steps": args.steps, "rounds": args.sweep_rounds}
        row = chosen | loader_row(pipe, form, changed(setting, chosen), shares, **how)
        print(" ".join(f"{k}={v}" for k, v in chosen.items()), row.get("clips_per_s", row.get("missing")), flush=True)
        yield row
