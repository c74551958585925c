"""Joins what the stages of gpu_stages.py wrote on a GPU into one JSON, which docs/benchmarks.md shows. Measures nothing.

python benchmarks/on_gpu.py results                # the folder with gpu-STAGE.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from result_file import write_result

FORMAT = "c2d_fast.benchmark.on_gpu/1"
RESULT = Path(__file__).parent / "results" / "h100.json"
"""What docs/benchmarks.md shows."""
STAGES = ("probe", "models", "decode", "loaders", "both", "train")
_FORMS = {"stored": "as downloaded (GOP 250)", "intra": "all-intra (`prepare transcode`)"}


def main() -> None:
    """Joins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with gpu-STAGE.json")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"JSON file (default {RESULT.name} among the results)")
    args = parser.parse_args()
    written = {name: path for name in STAGES if (path := args.folder / f"gpu-{name}.json").exists()}
    here = str(Path.home())
    stages = {name: json.loads(path.read_text().replace(here, "~")) for name, path in written.items()}
    before = json.loads(args.out.read_text()) if args.out.exists() else {}
    write_result(args.out, {"format": FORMAT, "stages": stages, "seen": before.get("seen", {})})
    print(f"written: {args.out}")


def models_table(result: dict[str, Any]) -> str:
    """Returns training steps on a cached batch: recipes, and other ways of running the first of them."""
    stage = result["stages"]["models"]
    lines = ["| model, training steps | published top-1 | precision | batch | clips/s | lowest, highest | J a clip | GB |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in stage["pipes"]:
        if "model" in row:
            lines.append(_model_line(f"`{row['pipe']}`, compiled", row["published_top1"], row["precision"], row["model"]))
    for row in stage["models"]:
        if "clips_per_s" in row:
            lines.append(_model_line(f"`{row['pipe']}`, {row['name']}", "", row["precision"], row))
    return "\n".join([*lines, "", _measured_on(stage)])


def _model_line(name: str, published: Any, precision: str, figures: dict[str, Any]) -> str:
    rates = f"{figures['clips_per_s']:.0f} | {figures['low']:.0f}, {figures['high']:.0f}"
    joules = figures.get("joules_per_clip", "")
    return f"| {name} | {published} | {precision} | {figures['batch_size']} | {rates} | {joules} | {figures['gpu_memory_gb']} |"


def loaders_table(result: dict[str, Any]) -> str:
    """Returns the loader by stored form and decoder."""
    stage = result["stages"]["loaders"]
    lines = ["| stored | decoder | workers | threads | batch | clips/s |", "|---|---|---|---|---|---|"]
    for row in sorted(stage["sweep"], key=lambda row: (row["form"] == "stored", -row.get("clips_per_s", 0))):
        share = f" ({100 * row['hybrid_share']:.0f} % by NVDEC)" if "hybrid_share" in row else ""
        kept = ", cropping kept" if row["cropping"] == "kept" else ""
        rate = f"{row['clips_per_s']:.0f}" if "clips_per_s" in row else "failed, see below"
        how = f"{row['workers']} | {row['decoder-threads']} | {row['batch-size']}"
        lines.append(f"| {_FORMS[row['form']]} | `{row['decoder']}`{share}{kept} | {how} | {rate} |")
    return "\n".join(lines)


def both_table(result: dict[str, Any]) -> str:
    """Returns loader, model, and training on the loader's batches."""
    stage = result["stages"]["both"]
    lines = ["| recipe | loader | model | both | both / slower | GPU busy | J a clip |", "|---|---|---|---|---|---|---|"]
    for row in stage["pipes"]:
        if "both" in row:
            rates = " | ".join(f"{row[key]['clips_per_s']:.0f}" for key in ("loader", "model", "both"))
            both = row["both"]
            more = f"{100 * row['both_to_slower']:.0f} % | {both['gpu_percent']:.0f} % | {both.get('joules_per_clip', '')}"
            lines.append(f"| `{row['pipe']}` | {rates} | {more} |")
    chosen = stage["settings"]
    how = f"{chosen['form']} files, `{chosen['decoder']}`, {chosen['workers']} workers, batches of {chosen['batch-size']}"
    return "\n".join([*lines, "", f"With {how}; the model alone is measured again in the same process."])


def tests_table(result: dict[str, Any]) -> str:
    """Returns how the tests of the GPU ended, and which did not."""
    lines = ["| tests | passed | failed | not ended in time |", "|---|---|---|---|"]
    for name, path in (("decode", "tests/gpu/test_gpu_decode.py"), ("train", "tests/gpu/test_gpu_train.py")):
        outcomes = [test["outcome"] for test in result["stages"][name]["tests"].values()]
        passed, failed = outcomes.count("passed"), outcomes.count("failed")
        lines.append(f"| `{path}` | {passed} | {failed} | {len(outcomes) - passed - failed} |")
    return "\n".join(lines)


def _measured_on(stage: dict[str, Any]) -> str:
    machine = stage["machine"]
    versions = f"driver {machine['driver']}, PyTorch {machine['torch']}, Triton {machine['triton']}"
    return f"Measured on {stage['date']} on {machine['gpu']}, {machine['cpus']} CPUs, with {versions}."


TABLES = {"h100-models": models_table, "h100-loaders": loaders_table, "h100-both": both_table, "h100-tests": tests_table}
"""Marks of docs/benchmarks.md -> what stands between them."""


if __name__ == "__main__":
    main()
