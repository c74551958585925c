"""Measures exported models on the CPU beside eager and compiled ones: clips per second, and how far their numbers are.

    python benchmarks/exported.py                                  # minutes on two CPU cores
    python benchmarks/exported.py --pipe k400_8x8_nopool --batch-size 4 --rounds 9

All are of one model with fresh weights, whose norms have seen clips, and compute the same random clips in turns, with the same
number of threads. In each round each is compared with the eager model of that round: what else runs slows both.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_host
from result_file import write_result
from rounds import timed

from c2d_fast.model.c2d import C2D
from c2d_fast.model.compared import Clips, random_clips
from c2d_fast.model.onnx_file import open_onnx, write_onnx
from c2d_fast.model.pt2_file import open_pt2, write_pt2
from c2d_fast.recipe import load_pipe

FORMAT = "c2d_fast.benchmark.exported/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "exported-cpu.json"
"""What docs/benchmarks.md shows."""
CALIBRATION = 8
NAMES = {
    "eager": "PyTorch, eager",
    "compiled": "PyTorch, `torch.compile`",
    "pt2": "`--to pt2`, by torch.export.load",
    "onnx fp32": "`--to onnx`",
    "onnx fp16": "`--to onnx --precision fp16`",
    "onnx int8": "`--to onnx --precision int8`",
}
Logits = Callable[[Clips], Any]


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    lines = ["| model | clips/s | times eager | file | logits differ by at most |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        size = f"{row['megabytes']:.1f} MB" if "megabytes" in row else ""
        lines.append(
            f"| {NAMES[row['name']]} | {row['clips_per_s']:.2f} | {row['times_eager']:.2f} | {size} | {row['difference']:.1e} |"
        )
    machine = result["machine"]
    busy = f" {result['beside']}" if result["beside"] else ""
    where = f"{machine['cpu']}, {machine['cpus']} CPUs, with PyTorch {machine['torch']}, ONNX Runtime {machine['onnxruntime']}"
    text = (
        f"Measured on {result['date']} on {where}: `{result['pipe']}`, batches of {result['batch_size']}, medians of "
        f"{result['rounds']} rounds in turns; the largest logit is {result['largest']:.2g}. int8 is calibrated with "
        f"{result['calibration_clips']} other clips of the kind.{busy}"
    )
    return "\n".join([*lines, "", text])


TABLES = {"exported": table}
"""Marks of docs/benchmarks.md -> what stands between them."""


def main() -> None:
    """Exports, measures, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", default="k400_8x8")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled model out")
    parser.add_argument("--beside", default="", help="a sentence on what else ran meanwhile, for the result")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file")
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    recipe = load_pipe(args.pipe).recipe
    shape = (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size)
    clips = random_clips(args.batch_size, shape, seed=1000)
    model = seen(C2D(recipe.model), shape)
    with tempfile.TemporaryDirectory() as folder:
        models, sizes = made(model, shape, {"recipe": recipe.as_dict()}, Path(folder), compiled=not args.no_compile)
        outputs = {name: np.asarray(run(clips)) for name, run in models.items()}  # the first call is no measure: it compiles
        print("all are made, and compute", flush=True)
        seconds = {name: list[float]() for name in models}
        for number in range(args.rounds):
            for name, run in models.items():
                seconds[name].append(timed(lambda run=run: run(clips)))
            rates = ", ".join(f"{name} {len(clips) / times[-1]:.2f}" for name, times in seconds.items())
            print(f"round {number + 1}, clips/s: {rates}", flush=True)
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_host("onnx", "onnxruntime"),
        "pipe": recipe.name,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "calibration_clips": CALIBRATION,
        "largest": float(np.abs(outputs["eager"]).max()),
        "beside": args.beside,
        "rows": rows(seconds, outputs, sizes, len(clips)),
    }
    write_result(args.out, result)
    print(table(result))


def seen(model: C2D, shape: tuple[int, int, int]) -> C2D:
    """Returns the model with norms that have seen clips, and logits of the order of 5: those of a fresh one are all alike."""
    clips = torch.from_numpy(random_clips(4, shape, seed=2000))
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.3, 1)
    with torch.no_grad():
        model.train()(clips)
        model.eval().fc.weight *= 5 / model(clips).abs().max()
    return model


def made(
    model: C2D, shape: tuple[int, int, int], card: dict[str, Any], folder: Path, *, compiled: bool
) -> tuple[dict[str, Logits], dict[str, int]]:
    """Returns what computes logits, by name, and the sizes of files."""
    models: dict[str, Logits] = {"eager": torch_run(model)}
    if compiled:
        models["compiled"] = torch_run(torch.compile(model, dynamic=False))
    files = {"pt2": folder / "model.pt2"} | {f"onnx {p}": folder / f"{p}.onnx" for p in ("fp32", "fp16", "int8")}
    for name, path in files.items():
        print(f"exporting: {name}", flush=True)
        if name == "pt2":
            write_pt2(model, shape, card, path, features=False)
            models[name] = first(open_pt2(path))
            continue
        batches = (random_clips(1, shape, seed) for seed in range(CALIBRATION))
        write_onnx(model, shape, card, path, features=False, precision=name.split()[1], calibration=batches)
        models[name] = first(open_onnx(path))
    return models, {name: path.stat().st_size for name, path in files.items()}


def torch_run(model: Callable[[torch.Tensor], torch.Tensor]) -> Logits:
    """Returns what runs a model of PyTorch."""

    def run(clips: Clips) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(clips)).numpy()

    return run


def first(run: Callable[[Clips], list[Any]]) -> Logits:
    """Returns what gives the first output of a file."""
    return lambda clips: run(clips)[0]


def rows(seconds: dict[str, list[float]], outputs: dict[str, Any], sizes: dict[str, int], clips: int) -> list[dict[str, Any]]:
    """Returns for each model its median rate, the median of its rounds' ratios to eager, and its largest difference."""
    found = []
    for name, times in seconds.items():
        ratios = [eager / own for eager, own in zip(seconds["eager"], times, strict=True)]
        rates = [round(clips / time_s, 3) for time_s in times]
        row: dict[str, Any] = {
            "name": name,
            "clips_per_s": round(statistics.median(rates), 3),
            "low": min(rates),
            "high": max(rates),
            "times_eager": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "difference": float(np.abs(outputs[name] - outputs["eager"]).max()),
        }
        if name in sizes:
            row["megabytes"] = round(sizes[name] / 1e6, 2)
        found.append(row)
    return found


if __name__ == "__main__":
    main()
