"""Measures reading from a server: clips per second beside local files, requests and bytes of a clip, and what a gap may cost.

    python benchmarks/remote.py                            # generated videos, and nginx, also 50 ms late
    python benchmarks/remote.py --list val.npz --data-root /data/k400/val --url https://host/k400/val

The loader alone, in turns. Without --url nginx serves the videos on this machine: client and server share the CPUs, so that a
real server costs the loader less. nginx holds the late answers back itself (Debian's libnginx-mod-http-lua); where it cannot,
the tests' proxy before it does, which takes more of the CPUs.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from measure import Setting, loader_round
from report import form_title
from result_file import write_result
from rounds import Rounds
from stored import Form, make_forms
from throughput import add_videos

from c2d_fast.commands.remote_facts import parts_of_clips
from c2d_fast.loading.worker_pool import ASKED_AHEAD
from c2d_fast.processes import worker_counts
from c2d_fast.recipe import PipeFile, load_pipe
from c2d_fast.remote import event_loop, ranges
from c2d_fast.remote.remote_path import user_location
from c2d_fast.remote.requests import read_part
from c2d_fast.remote.throttle import MOST_IN_FLIGHT

FORMAT = "c2d_fast.benchmark.remote/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "remote-cpu.json"
"""What docs/remote.md shows."""
KINETICS = 240_000
"""Training videos of Kinetics-400, about."""
GAPS = (0, 16, 64, 256, 1024)  # KiB


def table(result: dict[str, Any]) -> str:
    """Returns the loaders' figures as a table of Markdown, and what they were measured on."""
    places = list(dict.fromkeys(row["place"] for row in result["rows"]))
    head = ("", "clips/s", "of local", "requests/clip", "KB/clip", "fewer bytes than whole files")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for form in dict.fromkeys(row["form"] for row in result["rows"]):
        rows = {row["place"]: row for row in result["rows"] if row["form"] == form}
        for place in places:
            row = rows[place]
            asked = (
                [f"{row['requests_per_clip']:.2f}", f"{row['bytes_per_clip'] / 1e3:.0f}"] if row["requests_per_clip"] else "--"
            )
            fewer = f"{row['whole_file_bytes'] / row['bytes_per_clip']:.1f} times" if row["bytes_per_clip"] else "-"
            cells = [f"{row['clips_per_s']:.1f}", f"{row['of_local']:.2f}", *asked, fewer]
            lines.append(f"| {form_title(form)}, {place} | {' | '.join(cells)} |")
    where = f"{result['machine']['cpu']}, {result['machine']['cpus']} CPUs, which the server shares"
    late = f"; late answers are held back by {result['delayed_by']}" if result["delayed_by"] else ""
    how = (
        f"clips of `{result['pipe']}`, {result['settings']['workers']} workers, each with {result['asked_ahead']} clips asked "
        f"for ahead and {result['most_in_flight']} requests in flight at most"
    )
    return "\n".join([*lines, "", f"Measured on {result['date']} on {where}: {how}{late}; medians of rounds in turns."])


def gaps_table(result: dict[str, Any]) -> str:
    """Returns what bridging gaps of several sizes costs as a table of Markdown."""
    lines = ["| gap that is bridged | requests/clip | KB/clip | clips/s | CPU ms/clip |", "|---|---|---|---|---|"]
    for row in result["gaps"]:
        lines.append(
            f"| {row['bridged_kib']} KiB | {row['requests_per_clip']:.2f} | {row['bytes_per_clip'] / 1e3:.0f} | "
            f"{row['clips_per_s']:.0f} | {row['cpu_ms_per_clip']:.2f} |"
        )
    text = (
        f"All-intra videos, reading alone, in one process, {result['gap_clips_at_a_time']} clips at a time, answers "
        f"{result['delay_ms']} ms late. CPU time is the client's."
    )
    return "\n".join([*lines, "", text])


def costs_table(result: dict[str, Any]) -> str:
    """Returns what an epoch of Kinetics-400 asks of a server, computed from the bytes and requests of a clip, as Markdown."""
    head = ("stored as, read as", "requests", "data", "requests at 0.40 USD a million", "data at 0.09 USD a GB")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for form in dict.fromkeys(row["form"] for row in result["rows"]):
        row = next(row for row in result["rows"] if row["form"] == form and row["bytes_per_clip"])
        whole = (1.0, row["whole_file_bytes"])
        for how, (requests, size) in {"clips": (row["requests_per_clip"], row["bytes_per_clip"]), "whole files": whole}.items():
            million, gigabytes = requests * KINETICS / 1e6, size * KINETICS / 1e9
            cells = (f"{million:.2f} million", f"{gigabytes:.0f} GB", f"{0.4 * million:.2f} USD", f"{0.09 * gigabytes:.1f} USD")
            lines.append(f"| {form_title(form)}, {how} | {' | '.join(cells)} |")
    text = (
        f"Computed, not measured: {KINETICS:,} videos, one clip of each, with the bytes and requests of a clip of the table "
        "above (generated videos of 300 frames, 340x256). The prices are AWS's list prices for S3 Standard (GET requests, and "
        "data out to the internet); data to a machine in the same region costs nothing."
    )
    return "\n".join([*lines, "", text])


TABLES = {"remote": table, "remote-gaps": gaps_table, "remote-costs": costs_table}
"""Marks of docs/remote.md -> what stands between them."""


@contextlib.contextmanager
def served(folder: Path, delay_s: float) -> Iterator[tuple[str, str, str]]:
    """Gives the addresses of a server of a folder, and of one that answers so much later, and what holds its answers back."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from fault_proxy import FaultProxy
    from http_server import HttpServer, can_delay

    with contextlib.ExitStack() as keeper:
        server = keeper.enter_context(HttpServer(folder))
        if can_delay():
            yield server.url, keeper.enter_context(HttpServer(folder, delay_s)).url, "nginx"
        else:
            proxy = keeper.enter_context(FaultProxy(server.url))
            proxy.set(delay_s=delay_s)
            yield server.url, proxy.url, "a proxy of the tests"


def at(form: Form, url: str | None) -> Form:
    """Returns a form whose files are read from a URL; None: as they are."""
    if url is None:
        return form
    listing = dataclasses.replace(form.manifest.listing, root=user_location(url))
    manifest = dataclasses.replace(form.manifest, listing=listing, mtime_ns=np.full_like(form.manifest.mtime_ns, -1))
    return dataclasses.replace(form, manifest=manifest)


def one_round(pipe: PipeFile, form: Form, setting: Setting, args: Any, seed: int) -> tuple[float, worker_counts.Counts]:
    """Returns clips a second, and what was asked of the server for each clip."""
    before = worker_counts.totals()
    rate = loader_round(pipe, form, setting, args.warmup, args.steps, seed)
    return rate, worker_counts.totals().since(before)


def gap_row(pipe: PipeFile, form: Form, kib: int, clips: int) -> dict[str, float]:
    """Reads the parts of clips, many at a time, and returns what that takes."""
    wanted = parts_of_clips(form.manifest.videos(), pipe.recipe.clip, clips, kib * 1024)

    async def read(path: Any, parts: list[tuple[int, int]], turns: asyncio.Semaphore) -> None:
        async with turns:
            await asyncio.gather(*(read_part(path, start, end) for start, end in parts))

    async def read_all() -> None:
        turns = asyncio.Semaphore(ASKED_AHEAD)
        await asyncio.gather(*(read(path, parts, turns) for path, parts in wanted))

    began_s, cpu_s = time.perf_counter(), time.process_time()
    event_loop.run(read_all())
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return {
        "bridged_kib": kib,
        "requests_per_clip": sum(len(parts) for _, parts in wanted) / clips,
        "bytes_per_clip": sum(end - start for _, parts in wanted for start, end in parts) / clips,
        "clips_per_s": clips / elapsed_s,
        "cpu_ms_per_clip": 1000 * cpu_s / clips,
    }


def main() -> None:
    """Measures and writes the JSON after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", default="k400_8x8")
    add_videos(parser, gpu=False)
    parser.add_argument("--url", help="where the videos are, too (default: a server on this machine)")
    parser.add_argument("--delay-ms", type=float, default=50, help="by which late answers are held back")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=min(len(os.sched_getaffinity(0)), 16))
    parser.add_argument("--warmup", type=int, default=12, help="batches of a loader that are not counted")
    parser.add_argument("--steps", type=int, default=40, help="batches that are timed in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gap-clips", type=int, default=400, help="clips that each rule for gaps is measured with")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    args.delayed_by = ""
    pipe, forms = load_pipe(args.pipe), make_forms(args, args.form)
    setting = Setting(
        device=torch.device("cpu"), decoder="ffmpeg", workers=args.workers, decoder_threads=1, batch_size=args.batch_size
    )
    late = f"{args.delay_ms:g} ms late"
    rounds: dict[tuple[str, str], Rounds] = {}
    asked: dict[tuple[str, str], list[worker_counts.Counts]] = {}
    with contextlib.ExitStack() as keeper:
        urls: dict[str, dict[str, str | None]] = {}
        for form in forms:
            urls[form.name] = {"local": None}
            if args.url:
                urls[form.name]["server"] = args.url
            else:
                folder = Path(str(form.manifest.listing.root))
                direct, delayed, args.delayed_by = keeper.enter_context(served(folder, args.delay_ms / 1000))
                urls[form.name] |= {"server": direct, late: delayed}
        gaps: dict[int, list[dict[str, float]]] = {kib: [] for kib in GAPS}
        for number in range(args.rounds):
            for form in forms:
                for place, url in urls[form.name].items():
                    rate, counts = one_round(pipe, at(form, url), setting, args, number)
                    rounds.setdefault((form.name, place), Rounds()).values.append(rate)
                    asked.setdefault((form.name, place), []).append(counts)
                    print(f"round {number + 1}, {form.name}, {place}: {rate:.1f} clips/s", flush=True)
            slowest = list(urls[forms[-1].name].values())[-1]
            for kib in GAPS:
                gaps[kib].append(gap_row(pipe, at(forms[-1], slowest), kib, args.gap_clips))
            write_result(args.out, _result(args, pipe, setting, forms, rounds, asked, gaps))
    print(f"written to {args.out}")


def _result(
    args: Any, pipe: PipeFile, setting: Setting, forms: list[Form], rounds: Any, asked: Any, gaps: Any
) -> dict[str, Any]:
    rows = []
    for (form, place), values in rounds.items():
        counts = asked[form, place]
        manifest = next(one.manifest for one in forms if one.name == form)
        requests = sum(one.requests for one in counts)
        clips = _clips_asked(manifest, pipe, place, requests)
        rows.append(
            {
                "form": form,
                "place": place,
                **values.facts(),
                "of_local": round(
                    statistics.median(a / b for a, b in zip(values.values, rounds[form, "local"].values, strict=False)), 3
                ),
                "requests_per_clip": round(clips[0], 3),
                "bytes_per_clip": round(clips[1]),
                "mean_request_bytes": round(sum(one.bytes for one in counts) / max(requests, 1)),
                "retries": sum(one.retries for one in counts),
                "whole_file_bytes": round(float(manifest.size[manifest.kept].mean())),
            }
        )
    return {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine("obstore", "opencv-python-headless"),
        "pipe": pipe.recipe.name,
        "settings": setting.facts(),
        "asked_ahead": ASKED_AHEAD,
        "most_in_flight": MOST_IN_FLIGHT,
        "bridged_bytes": ranges.BRIDGED_BYTES,
        "delay_ms": args.delay_ms,
        "delayed_by": args.delayed_by,
        "forms": {form.name: form.facts() for form in forms},
        "rows": rows,
        "gap_clips_at_a_time": ASKED_AHEAD,
        "gaps": [
            {key: round(statistics.median(row[key] for row in some), 3) for key in some[0]} for some in gaps.values() if some
        ],
    }


def _clips_asked(manifest: Any, pipe: PipeFile, place: str, requests: int) -> tuple[float, float]:
    """Returns requests and bytes of a clip on average, as they are computed from the packet table."""
    if place == "local" or not requests:
        return 0.0, 0.0
    wanted = parts_of_clips(manifest.videos(), pipe.recipe.clip, 400)
    count = sum(len(parts) for _, parts in wanted)
    return count / len(wanted), sum(end - start for _, parts in wanted for start, end in parts) / len(wanted)


if __name__ == "__main__":
    main()
