"""Puts the benchmark of throughput together from its flags: what is measured, in which order, and what is written."""

import argparse
import dataclasses
import itertools
import json
import sys
import time
from typing import Any

import torch
from machine import GpuWatch, describe_machine
from measure import (
    EagerNCHW,
    Rounds,
    Setting,
    Trained,
    both_rounds,
    cached_batch,
    chosen_decoder,
    clips_for_peers,
    loader_round,
    model_rounds,
    open_loader,
    stage_costs,
    timed,
)
from peers import DECODERS, MOST_ROUNDS, TITLES, Peer
from stored import Form, make_forms
from tables import tables

from c2d_fast.dataset import choose_device
from c2d_fast.errors import UserError
from c2d_fast.recipe import PipeFile, load_pipe

FORMAT = "c2d_fast.benchmark.throughput/1"
OUR_LOADERS: dict[str, dict[str, Any]] = {
    "c2d-fast": {},
    "c2d-fast without a packet table": {"table": False},
}
BEFORE: dict[str, dict[str, Any]] = {
    "c2d-fast, files read whole": {"whole_files": True},
    "c2d-fast, crops by DALI on the CPU": {"graph_crops": True},
    "c2d-fast, whole files and crops by DALI": {"whole_files": True, "graph_crops": True},
}


class Clock:
    """Time that is left; what does not fit is left out, and named."""

    def __init__(self, budget_s: float | None):
        self._end_s = time.monotonic() + budget_s if budget_s else None
        self.left_out: list[str] = []

    def allows(self, what: str) -> bool:
        """Says whether there is time for a further measurement."""
        if self._end_s is None or time.monotonic() < self._end_s:
            return True
        self.left_out.append(what)
        return False


def run_throughput(args: argparse.Namespace) -> None:
    """Measures, writes the JSON and prints the tables."""
    started_s, device, clock = time.monotonic(), choose_device(), Clock(args.budget)
    try:
        pipes = [load_pipe(path) for path in args.pipe]
    except UserError as error:
        sys.exit(f"error: {error}")
    swept = args.sweep.get("form", [])
    forms = {form.name: form for form in make_forms(args, list(dict.fromkeys([*args.form, *swept])))}
    setting = Setting(
        device=device,
        decoder=args.decoder,
        workers=args.workers,
        decoder_threads=args.decoder_threads,
        batch_size=args.batch_size,
    )
    result: dict[str, Any] = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", "benchmarks/throughput.py", *sys.argv[1:]]),
        "machine": describe_machine("torchvision", "decord", "torchcodec", "spdl-io", "opencv-python-headless"),
        "settings": setting.facts()
        | {name: getattr(args, name) for name in ("model_batch_size", "warmup", "steps", "rounds", "precision", "compile")}
        | {"model_threads": torch.get_num_threads()},
        "forms": {name: form.facts() for name, form in forms.items()},
    }
    main_form = forms[args.form[0]]
    if args.mode != "model":
        result["loaders"] = measure_loaders(args, pipes[0], [forms[name] for name in args.form], setting, clock)
        result["stages_ms_per_clip"] = {name: stage_costs(pipes[0], form, setting) for name, form in forms.items()}
    result["pipes"] = measure_pipes(args, pipes, main_form, setting, result, clock)
    if args.sweep:
        result["sweep"] = measure_sweep(args, pipes[0], forms, setting, clock)
    if args.mode in ("model", "all") and clock.allows("models as peers train them"):
        result["models"] = measure_models(args, pipes[0], device, clock)
    result |= {"left_out": clock.left_out, "seconds": round(time.monotonic() - started_s, 1)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(tables(result)))
    print(f"\nwritten to {args.out} after {result['seconds']:.0f} s; draw it with python benchmarks/report.py {args.out}")


def measure_loaders(
    args: argparse.Namespace, pipe: PipeFile, forms: list[Form], setting: Setting, clock: Clock
) -> list[dict[str, Any]]:
    """Measures our loader and the peers' in turns, with one recipe's clips."""
    ours = OUR_LOADERS | (BEFORE if args.before else {})
    peers = [Peer(name) for name in (DECODERS if args.peers else ())]
    request = {"batch_size": setting.batch_size, "workers": setting.workers, "warmup": args.warmup, "steps": args.steps}
    # More clips than are timed: what a loader has prepared ahead when the clock stops, it had when it started, too.
    batches = args.warmup + MOST_ROUNDS * args.steps + 2 * setting.workers + 4
    found: dict[tuple[str, str], Rounds] = {}
    for number, form in itertools.product(range(args.rounds), forms):
        for name, changes in ours.items():
            if clock.allows(f"{name} on {form.name}, round {number + 1}"):
                changed = dataclasses.replace(setting, **changes)
                with GpuWatch() as watch:
                    rate = loader_round(pipe, form, changed, args.warmup, args.steps, number)
                rounds = found.setdefault((name, form.name), Rounds())
                rounds.values.append(rate)
                rounds.more = {"decoder": chosen_decoder(form, changed), **watch.read()}
        for peer in peers:
            if not peer.missing and clock.allows(f"{peer.name} on {form.name}, round {number + 1}"):
                rate_or_none = peer.measure(request | clips_for_peers(pipe, form, setting, batches, number))
                if rate_or_none is not None:
                    found.setdefault((TITLES[peer.name], form.name), Rounds()).values.append(rate_or_none)
    rows = [{"name": name, "form": form, "ours": name in ours, **r.facts()} for (name, form), r in found.items()]
    for peer in peers:
        if peer.missing:
            rows.append({"name": TITLES[peer.name], "form": forms[0].name, "ours": False, "missing": peer.missing})
        peer.close()
    return rows


def measure_pipes(
    args: argparse.Namespace,
    pipes: list[PipeFile],
    form: Form,
    setting: Setting,
    result: dict[str, Any],
    clock: Clock,
) -> list[dict[str, Any]]:
    """Measures every recipe: its loader, its model and both together."""
    rows: list[dict[str, Any]] = []
    loaders: dict[Any, dict[str, Any]] = {}  # recipes that draw the same clips share a loader's figures
    for row in result.get("loaders", ()):
        if row["name"] == "c2d-fast" and row["form"] == form.name:
            figures = {key: value for key, value in row.items() if key not in ("name", "form", "ours")}
            loaders[pipes[0].recipe.clip, pipes[0].recipe.crop] = figures
    for pipe in pipes:
        recipe, published = pipe.recipe, pipe.recipe.published
        row: dict[str, Any] = {
            "pipe": pipe.path.name,
            "published_top1": published.top1 if published else None,
            "published_top5": published.top5 if published else None,
        }
        rows.append(row)
        size, clips = args.model_batch_size, (recipe.clip, recipe.crop)
        if args.mode != "model" and clock.allows(f"loader of {row['pipe']}"):
            if clips not in loaders:
                rates = [loader_round(pipe, form, setting, args.warmup, args.steps, n) for n in range(args.rounds)]
                loaders[clips] = Rounds(rates).facts()
            row["loader"] = loaders[clips]
        if args.mode in ("model", "both", "all") and clock.allows(f"model of {row['pipe']}"):
            trained = Trained(recipe, setting.device, precision=args.precision, compiled=args.compile)
            row["precision"] = trained.precision.name
            warmup, steps, rounds = args.model_warmup, args.model_steps, args.model_rounds
            row["model"] = model_rounds(trained, size, warmup, steps, rounds).facts()
            if args.mode in ("both", "all") and clock.allows(f"both of {row['pipe']}"):
                together = dataclasses.replace(setting, batch_size=size)
                batches = open_loader(pipe, form, together, warmup + steps * rounds + 4)
                row["both"] = both_rounds(trained, batches, size, min(warmup, 3), steps, rounds).facts()
            if setting.device.type == "cuda":
                row["transfer_ms_per_clip"] = transfer_cost(pipe, size, setting.device)
            del trained
            torch.compiler.reset()
        row |= verdict(row, result.get("stages_ms_per_clip", {}).get(form.name, {}))
    return rows


def transfer_cost(pipe: PipeFile, batch_size: int, device: torch.device) -> float:
    """Returns the milliseconds that a clip's bytes take from pinned memory to the GPU."""
    clip = cached_batch(pipe.recipe, batch_size, torch.device("cpu"))[0].pin_memory()
    clip.to(device, non_blocking=True)
    seconds = timed(lambda: [clip.to(device, non_blocking=True) for _ in range(10)], device)
    return round(1000 * seconds / 10 / batch_size, 4)


def verdict(row: dict[str, Any], stages: dict[str, float]) -> dict[str, Any]:
    """Returns how close both together come to the slower alone, and what bounds them."""
    rates = {name: row[name]["clips_per_s"] for name in ("loader", "model", "both") if name in row}
    found: dict[str, Any] = {}
    if len(rates) == 3:
        found["both_to_slower"] = round(rates["both"] / min(rates["loader"], rates["model"]), 3)
    if "loader" in rates and ("model" not in rates or rates["loader"] < rates["model"]):
        costs = {"IO": stages.get("read", 0), "decode": stages.get("decode", 0), "augment": stages.get("augment", 0)}
        costs["transfer"] = row.get("transfer_ms_per_clip", 0)
        found["bound_by"] = max(costs, key=lambda name: costs[name])
    elif "model" in rates:
        found["bound_by"] = "model"
    return found


def measure_sweep(
    args: argparse.Namespace, pipe: PipeFile, forms: dict[str, Form], setting: Setting, clock: Clock
) -> list[dict[str, Any]]:
    """Measures the loader alone under every combination of what is swept."""
    rows = []
    for values in itertools.product(*args.sweep.values()):
        chosen = dict(zip(args.sweep, values, strict=True))
        if not clock.allows(f"sweep {chosen}"):
            continue
        changes = {name.replace("-", "_"): value for name, value in chosen.items() if name not in ("form", "read")}
        changed = dataclasses.replace(setting, **changes, whole_files=chosen.get("read") == "files")
        form = forms[chosen.get("form", args.form[0])]
        row: dict[str, Any] = {**chosen}
        try:
            with GpuWatch() as watch:
                rates = [loader_round(pipe, form, changed, args.warmup, args.steps, n) for n in range(args.sweep_rounds)]
            row |= {"decoder": chosen_decoder(form, changed), **Rounds(rates, watch.read()).facts()}
        except UserError as error:
            row["missing"] = str(error)
        rows.append(row)
        print(" ".join(f"{k}={v}" for k, v in chosen.items()), row.get("clips_per_s", row.get("missing")), flush=True)
    return rows


def measure_models(args: argparse.Namespace, pipe: PipeFile, device: torch.device, clock: Clock) -> list[dict[str, Any]]:
    """Measures the first recipe's model in other ways of running it: eager, and channels first as peers do."""
    rows = []
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("channels first, eager (as peers)", "fp32", {"compiled": False}),
        ("channels last, eager", "fp32", {"compiled": False}),
    ]
    if device.type == "cuda":
        ways += [(name, "bf16", changes) for name, _, changes in ways]
        ways += [("compiled, reduce-overhead", "bf16", {"compiled": True, "mode": "reduce-overhead"})]
    for name, precision, changes in ways:
        if not clock.allows(f"{name}, {precision}"):
            continue
        trained = Trained(pipe.recipe, device, precision=precision, **changes)
        if "first" in name:
            trained.compiled = EagerNCHW(trained.model).train()
        warmup, steps = min(args.model_warmup, 4), args.model_steps
        rounds = model_rounds(trained, args.model_batch_size, warmup, steps, args.model_rounds)
        rows.append({"name": name, "precision": precision, "pipe": pipe.path.name, **rounds.facts()})
        del trained
    return rows
