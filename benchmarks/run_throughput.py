"""Puts the benchmark of throughput together from its flags: what is measured, in which order, and what is written."""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from machine import GpuWatch, describe_machine
from measure import Setting, chosen_decoder, clips_for_peers, loader_round, stage_costs
from peers import DECODERS, MOST_ROUNDS, TITLES, Peer
from result_file import THROUGHPUT, write_result
from rounds import Clock, Rounds
from stored import Form, make_forms
from sweep import LOADER_S, Shares, measure_sweep
from tables import tables
from together import measure_models, measure_pipes

from c2d_fast.commands.dataset import choose_device
from c2d_fast.errors import UserError
from c2d_fast.recipe import PipeFile, load_pipe

OUR_LOADERS: dict[str, dict[str, Any]] = {
    "c2d-fast": {},
    "c2d-fast without a packet table": {"table": False},
}
BEFORE: dict[str, dict[str, Any]] = {
    "c2d-fast, files read whole": {"whole_files": True},
    "c2d-fast, crops by DALI on the CPU": {"graph_crops": True},
    "c2d-fast, whole files and crops by DALI": {"whole_files": True, "graph_crops": True},
}


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
        "machine": describe_machine("torchvision", "decord", "torchcodec", "spdl-io", "opencv-python-headless"),
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


def measure_loaders(
    args: argparse.Namespace, pipe: PipeFile, forms: list[Form], setting: Setting, clock: Clock
) -> Iterator[list[dict[str, Any]]]:
    """Measures our loader and the peers' in turns, with one recipe's clips; yields the rows so far, round after round."""
    ours = OUR_LOADERS | (BEFORE if args.before else {})
    peers = [Peer(name) for name in (DECODERS if args.peers else ())]
    found: dict[tuple[str, str], Rounds] = {}
    needs_s = LOADER_S[setting.device.type]
    for number, form in itertools.product(range(args.rounds), forms):
        for name, changes in ours.items():
            if clock.allows(f"{name} on {form.name}, round {number + 1}", needs_s):
                changed = dataclasses.replace(setting, **changes)
                with GpuWatch() as watch:
                    rate = loader_round(pipe, form, changed, args.warmup, args.steps, number)
                rounds = found.setdefault((name, form.name), Rounds())
                rounds.values.append(rate)
                rounds.more = {"decoder": chosen_decoder(form, changed), **watch.read()}
        for peer in peers:
            if not peer.missing and clock.allows(f"{peer.name} on {form.name}, round {number + 1}", needs_s):
                rate_or_none = peer.measure(peer_request(args, pipe, form, setting, number))
                if rate_or_none is not None:
                    found.setdefault((TITLES[peer.name], form.name), Rounds()).values.append(rate_or_none)
        yield [{"name": name, "form": form, "ours": name in ours, **r.facts()} for (name, form), r in found.items()]
    rows = [{"name": name, "form": form, "ours": name in ours, **r.facts()} for (name, form), r in found.items()]
    for peer in peers:
        if peer.missing:
            rows.append({"name": TITLES[peer.name], "form": forms[0].name, "ours": False, "missing": peer.missing})
        peer.close()
    yield rows


def peer_request(args: argparse.Namespace, pipe: PipeFile, form: Form, setting: Setting, number: int) -> dict[str, Any]:
    """Returns what a peer is asked to measure: plain values."""
    # More clips than are timed: what a loader has prepared ahead when the clock stops, it had when it started, too.
    batches = args.warmup + MOST_ROUNDS * args.steps + 2 * setting.workers + 4
    request = {"batch_size": setting.batch_size, "workers": setting.workers, "warmup": args.warmup, "steps": args.steps}
    return request | clips_for_peers(pipe, form, setting, batches, number)
