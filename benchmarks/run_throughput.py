"""Puts the benchmark of throughput together from its flags: what is measured, in which order, and what is written."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from libraries import DECORD2
from loaders import measure_loaders
from machine import describe_machine, version
from measure import Setting, stage_costs
from result_file import THROUGHPUT, write_result
from rounds import Clock
from stored import Form, make_forms
from sweep import Shares, measure_sweep
from tables import tables
from together import measure_models, measure_pipes

from c2d_fast.commands.dataset import choose_device
from c2d_fast.errors import UserError
from c2d_fast.recipe import PipeFile, load_pipe

PACKAGES = ("torchvision", "decord", "torchcodec", "spdl-io", "opencv-python-headless", "PyNvVideoCodec")


def run_throughput(args: argparse.Namespace) -> None:
    """Measures, writes the JSON after everything that has been measured, and prints the tables."""
    started_s, device, clock = time.monotonic(), choose_device(), Clock(args.budget)
    try:
        pipes = [load_pipe(path) for path in args.pipe]
    except UserError as error:
        sys.exit(f"error: {error}")
    swept = args.sweep.get("form", [])
    forms = {form.name: form for form in make_forms(args, list(dict.fromkeys([*args.form, *swept])))}
    main_form = forms[args.form[0]]
    setting = Shares(pipes[0], args.warmup, args.steps).fill_in(main_form, starting_point(args, device))
    result: dict[str, Any] = {
        "format": THROUGHPUT,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", "benchmarks/throughput.py", *sys.argv[1:]]),
        "machine": describe_machine(*PACKAGES) | {"decord2": version("decord2", DECORD2)},
        "settings": setting.facts()
        | {name: getattr(args, name) for name in ("model_batch_size", "warmup", "steps", "rounds", "precision", "compile")}
        | {"model_threads": torch.get_num_threads()},
        "forms": {name: form.facts() for name, form in forms.items()},
        "pipes": [],
        "left_out": clock.left_out,
    }
    for phase in phases(args, pipes, forms, setting, result, clock):
        result["seconds"] = round(time.monotonic() - started_s, 1)
        write_result(args.out, result)
        print(f"{result['seconds']:.0f} s: {phase}", file=sys.stderr, flush=True)
    print("\n".join(tables(result)))
    print(f"\nwritten to {args.out} after {result['seconds']:.0f} s; draw it with python benchmarks/report.py {args.out}")


def starting_point(args: argparse.Namespace, device: torch.device) -> Setting:
    """Returns the setting that the flags give."""
    return Setting(
        device=device,
        decoder=args.decoder,
        workers=args.workers,
        decoder_threads=args.decoder_threads,
        batch_size=args.batch_size,
        hybrid_share=args.hybrid_share,
    )


def phases(
    args: argparse.Namespace,
    pipes: list[PipeFile],
    forms: dict[str, Form],
    setting: Setting,
    result: dict[str, Any],
    clock: Clock,
) -> Iterator[str]:
    """Measures into the result; yields what has just been measured. What is slow to compile comes last."""
    chosen = [forms[name] for name in args.form]
    if args.mode != "model":
        for result["loaders"] in measure_loaders(args, pipes[0], chosen, setting, clock):
            yield "loaders"
        result["stages_ms_per_clip"] = {name: stage_costs(pipes[0], form, setting) for name, form in forms.items()}
        yield "what a clip costs"
    if args.sweep:
        result["sweep"] = []
        for row in measure_sweep(args, pipes[0], forms, setting, clock):
            result["sweep"].append(row)
            yield "sweep"
    for row in measure_pipes(args, pipes, chosen[0], setting, result, clock):
        yield row["pipe"]
    if args.mode in ("model", "all"):
        result["models"] = []
        for row in measure_models(args, pipes[0], setting.device, clock):
            result["models"].append(row)
            yield row["name"]
    yield "all"
