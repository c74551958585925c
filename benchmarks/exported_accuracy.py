"""Measures what exported files are worth on a validation list: top-1 of a trained model and of its files, by the real commands.

    python benchmarks/exported_accuracy.py          # about ten minutes on two CPU cores; less with --checkpoint

A small model is trained on generated videos (small_64px.py, as in precision.py), then exported as pt2 and as ONNX in fp32, fp16
and int8. Each is checked by `export --check` on a list that neither training nor calibration has seen.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe_host
from result_file import write_result
from subprocesses import run_python

from c2d_fast.prepare.demo_data import CLASSES, make_demo_data

FORMAT = "c2d_fast.benchmark.exported_accuracy/1"
HERE = Path(__file__).parent
PIPE = HERE / "small_64px.py"
RESULT = HERE / "results" / "exported-accuracy-cpu.json"
"""What docs/deploy.md shows."""
FORMS = {
    "pt2": ["--to", "pt2"],
    "onnx fp32": ["--to", "onnx"],
    "onnx fp16": ["--to", "onnx", "--precision", "fp16"],
    "onnx int8": ["--to", "onnx", "--precision", "int8"],
}
"""Name -> the flags of export."""
_TOP1 = re.compile(r"^  (.+): top-1 ([\d.]+) % \((\d+) videos", re.MULTILINE)
_SAME = re.compile(
    r"the best class is the same for (\d+) of \d+ videos .*; logits differ by (\S+) at most, the largest is (\S+)"
)


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    lines = ["| file | top-1 | change | best class the same | logits differ by at most | size |", "|---|---|---|---|---|---|"]
    lines.append(f"| none: PyTorch, fp32 | {result['top1']:.1f} % | | | | |")
    for row in result["rows"]:
        change = f"{row['top1'] - result['top1']:+.1f}".replace("+0.0", "0").replace("-0.0", "0")
        lines.append(
            f"| `{' '.join(FORMS[row['name']])}` | {row['top1']:.1f} % | {change} | {row['same']} of {result['videos']['val']} "
            f"| {row['difference']:.1e} | {row['megabytes']:.1f} MB |"
        )
    machine = result["machine"]
    text = (
        f"Measured on {result['date']} with PyTorch {machine['torch']} and ONNX Runtime {machine['onnxruntime']} on a CPU: "
        f"`{result['pipe']}` (ResNet-18, 2 frames of 64 pixels) after {result['epochs']} epochs on {result['videos']['train']} "
        f"generated videos of {result['classes']} classes, scored on {result['videos']['val']} others; the largest logit is "
        f"{result['largest']:.3g}. int8 is calibrated with {result['calibration_videos']} training videos."
    )
    return "\n".join([*lines, "", text])


TABLES = {"exported-accuracy": table}
"""Marks of docs/deploy.md -> what stands between them."""


def main() -> None:
    """Trains where no checkpoint is given, exports, scores, and writes the JSON."""
    args = parse()
    print(make_demo_data(args.data, {"train": args.train_per_class, "val": args.val_per_class}), flush=True)
    checkpoint = args.checkpoint or train(args)
    with tempfile.TemporaryDirectory() as folder:
        checked = {name: export(args, checkpoint, Path(folder), name) for name in FORMS}
    before = {found["before"] for found in checked.values()}
    assert len(before) == 1, f"PyTorch's score differs between exports: {before}"
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_host("onnx", "onnxruntime"),
        "pipe": PIPE.name,
        "epochs": args.epochs,
        "classes": len(CLASSES),
        "videos": {"train": len(CLASSES) * args.train_per_class, "val": len(CLASSES) * args.val_per_class},
        "calibration_videos": args.calibration_videos,
        "top1": before.pop(),
        "largest": checked["pt2"]["largest"],
        "rows": [
            {"name": name} | {key: found[key] for key in ("top1", "same", "difference", "megabytes")}
            for name, found in checked.items()
        ],
    }
    write_result(args.out, result)
    print(table(result))


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--train-per-class", type=int, default=40)
    parser.add_argument("--val-per-class", type=int, default=100)
    parser.add_argument("--calibration-videos", type=int, default=64)
    parser.add_argument("--checkpoint", type=Path, help="of this pipe file, trained with --epochs; default: trains one")
    parser.add_argument("--data", type=Path, default=Path("data/exported"), help="folder for the generated videos")
    parser.add_argument("--run", type=Path, default=Path("runs/exported"), help="run folder")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file")
    return parser.parse_args()


def train(args: argparse.Namespace) -> Path:
    """Trains the model; returns its last checkpoint: the best one is chosen by the list that is scored here."""
    lists = ["--data-root", args.data, "--train-list", args.data / "train.txt", "--val-list", args.data / "val.txt"]
    run_python("-m", "c2d_fast.train", "--pipe", PIPE, *lists, "--epochs", args.epochs, "--out", args.run)
    return Path(args.run, "last.pt")


def export(args: argparse.Namespace, checkpoint: Path, folder: Path, name: str) -> dict[str, Any]:
    """Exports once; returns what the command says of the file."""
    out = folder / f"{name.replace(' ', '-')}{'.pt2' if name == 'pt2' else '.onnx'}"
    lists = ["--data-root", args.data, "--check", args.data / "val.txt"]
    if name == "onnx int8":
        lists += ["--calibrate", args.data / "train.txt", "--calibration-videos", args.calibration_videos]
    words = ["--checkpoint", checkpoint, "--pipe", PIPE, *FORMS[name], "--out", out, *lists]
    said = run_python("-m", "c2d_fast.export", *words)
    (_, before, _), (_, after, _) = _TOP1.findall(said)
    ((same, difference, largest),) = _SAME.findall(said)
    print(f"{name}: top-1 {before} % -> {after} %, the best class is the same for {same}", flush=True)
    return {
        "before": float(before), "top1": float(after), "same": int(same), "difference": float(difference),
        "largest": float(largest), "megabytes": round(out.stat().st_size / 1e6, 2),
    }  # fmt: skip


if __name__ == "__main__":
    main()
