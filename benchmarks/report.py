"""Draws what benchmarks/throughput.py has measured, and writes its tables into the README and the docs. Measures nothing.

    python benchmarks/report.py                                      # all benchmarks/results/throughput-*.json, and the README
    python benchmarks/report.py benchmarks/results/throughput-cpu.json --plots /tmp/plots --no-readme

Plots: loaders side by side, clips per second against published accuracy, a bar for each stage, clips per second over workers.
"""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from in_words import in_words
from result_file import THROUGHPUT
from tables import NOT_SWEPT, OUR_MAIN, WITHOUT_INDEX, in_groups, other_frames

HERE = Path(__file__).parent
DOCUMENTS = (HERE.parent / "README.md", HERE.parent / "docs" / "benchmarks.md")
"""Their tables stand between marks such as <!-- throughput-cpu: begin -->, which is that of the loaders; throughput-cpu-all is
with our loader's variants, throughput-cpu-recipes of the recipes."""
_PAGES = {"remote": "remote", "duplicates": "duplicates", "many_machines": "many-machines", "large_list": "lists"}
_PAGES |= {"long_video": "long-videos", "streams": "streams", "exported_accuracy": "deploy"}
_PAGES |= dict.fromkeys(("ablation", "ingredients", "labels", "exported", "on_gpu"), "benchmarks")
"""Other benchmarks -> the pages that show their tables."""
OURS, GREY = "#1f6fb4", "#9a9a9a"
PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "nvidia-dali-cuda120": "DALI",
    "av": "PyAV",
    "opencv-python-headless": "OpenCV",
    "decord": "decord",
    "decord2": "decord2",
    "torchcodec": "torchcodec",
    "spdl-io": "SPDL",
    "PyNvVideoCodec": "PyNvVideoCodec",
}
"""What the line below a table names: key of the result's machine -> name."""


def main() -> None:
    """Draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="JSON files (default: benchmarks/results/throughput-*.json)")
    parser.add_argument("--plots", type=Path, default=HERE / "results" / "plots", help="folder for the pictures")
    parser.add_argument(
        "--readme", action=argparse.BooleanOptionalAction, default=True, help="also write the tables of README and docs"
    )
    args = parser.parse_args()
    paths = args.results or sorted((HERE / "results").glob("throughput-*.json"))
    if not paths:
        sys.exit("error: there are no results: run python benchmarks/throughput.py first, or name a JSON file")
    results = {path.stem.removeprefix("throughput-"): read(path) for path in paths}
    for name, result in results.items():
        for path in draw(result, args.plots, name):
            print(f"drawn: {path}")
    if args.readme and not args.results:
        write_several_clips()
        write_pages()
    for document in DOCUMENTS if args.readme else ():
        before = text = document.read_text()
        for name, result in results.items():
            text = with_tables(text, name, result)
        if text != before:
            document.write_text(text)
            print(f"written: {document}")


def write_several_clips() -> None:
    """Puts what several clips of a decode cost into the loader's guide."""
    from several_clips import RESULT, table

    guide = HERE.parent / "docs" / "loader.md"
    guide.write_text(between_marks(guide.read_text(), "repeated-augmentation", table(json.loads(RESULT.read_text()))))


def write_pages() -> None:
    """Puts into their pages what the other benchmarks have measured."""
    for name, page_name in _PAGES.items():
        benchmark, page = importlib.import_module(name), HERE.parent / "docs" / f"{page_name}.md"
        text, result = page.read_text(), json.loads(benchmark.RESULT.read_text())
        for mark, table in benchmark.TABLES.items():
            text = between_marks(text, mark, table(result))
        page.write_text(text)


def read(path: Path) -> dict[str, Any]:
    """Reads a result."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {path}: cannot be read ({error}); give a JSON file that benchmarks/throughput.py has written")
    if result.get("format") != THROUGHPUT:
        sys.exit(f"error: {path}: is {result.get('format')}, not {THROUGHPUT}; measure again with benchmarks/throughput.py")
    return result


def loaders_table(result: dict[str, Any], variants: bool = False) -> str:
    """Returns the loaders by stored form, the same in words, and what they were measured on.

    Args:
        result: of the benchmark.
        variants: also our loader without what makes it fast.
    """
    rows = [row for row in result.get("loaders", []) if "clips_per_s" in row]
    rows = in_groups([row for row in rows if variants or is_main(row)])
    forms = list(dict.fromkeys(row["form"] for row in rows))
    if not forms:
        return ""
    lines = [f"| loader, clips/s | index | {' | '.join(map(form_title, forms))} |", "|---|---|" + "---|" * len(forms)]
    for name, index in dict.fromkeys((row["name"], row["index"]) for row in rows):
        rates = {row["form"]: f"{row['clips_per_s']:.1f}{other_frames(row)}" for row in rows if row["name"] == name}
        shown = f"**{name}**" if name in OUR_MAIN else name
        lines.append(f"| {shown} | {index} | {' | '.join(rates.get(form, '') for form in forms)} |")
    return "\n".join([*lines, "", in_words(result), "", measured_on(result)])


def is_main(row: dict[str, Any]) -> bool:
    """Says whether a row is a peer's or our loader's, and not one of our loader's variants."""
    return not row["ours"] or row["name"] in OUR_MAIN


def measured_on(result: dict[str, Any]) -> str:
    """Returns the date, the machine, and the versions of what was measured."""
    machine = result["machine"]
    versions = ", ".join(f"{title} {machine[key]}" for key, title in PACKAGES.items() if machine.get(key))
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cpus']} CPUs"
    return f"Measured on {result['date']} on {where}, with {versions}."


def recipes_table(result: dict[str, Any]) -> str:
    """Returns the recipes' loader, model and both together, beside the published accuracy."""
    trained = [row for row in result["pipes"] if "model" in row]
    if not trained:
        return ""
    lines = ["| recipe | published top-1 | loader | model | both | both / slower |", "|---|---|---|---|---|---|"]
    for row in trained:
        cells = [f"{row[key]['clips_per_s']:.2f}" if key in row else "" for key in ("loader", "model", "both")]
        share = f"{100 * row['both_to_slower']:.0f} %" if "both_to_slower" in row else ""
        lines.append(f"| `{row['pipe']}` | {row['published_top1'] or ''} | {' | '.join(cells)} | {share} |")
    return "\n".join(lines)


def form_title(form: str) -> str:
    """Returns a form's name for people."""
    return {"stored": "as downloaded (GOP 250)", "intra": "all-intra (`prepare transcode`)"}.get(form, form)


def with_tables(text: str, name: str, result: dict[str, Any]) -> str:
    """Puts a result's tables where a text has marks for them."""
    for marks, table in marked_tables(name, result).items():
        text = with_table(text, marks, table)
    return text


def marked_tables(name: str, result: dict[str, Any]) -> dict[str, str]:
    """Returns a result's tables by the names of their marks."""
    loaders, every_loader = loaders_table(result), loaders_table(result, variants=True)
    return {name: loaders, f"{name}-all": every_loader, f"{name}-recipes": recipes_table(result)}


def with_table(text: str, name: str, table: str) -> str:
    """Puts a table between the marks that a text has for it; a text without such marks stays as it is."""
    return between_marks(text, f"throughput-{name}", table)


def between_marks(text: str, name: str, table: str) -> str:
    """Puts a table between the marks of a name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def draw(result: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Draws a result; returns the pictures."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    where = result["machine"]["gpu"] or f"{result['machine']['cpus']} CPUs, no GPU"
    drawn = []
    for title, function in _PLOTS.items():
        figure = function(result, where)
        if figure is not None:
            drawn.append(folder / f"{name}-{title}.png")
            figure.savefig(drawn[-1], dpi=120, bbox_inches="tight")
    return drawn


def draw_loaders(result: dict[str, Any], where: str) -> Any:
    """Our loader beside the peers', by stored form."""
    from matplotlib import pyplot as plt

    rows = in_groups([row for row in result.get("loaders", []) if "clips_per_s" in row and is_main(row)])
    with_index = {row["name"] for row in rows if row["index"] not in WITHOUT_INDEX}
    names, forms = (list(dict.fromkeys(row[key] for row in rows)) for key in ("name", "form"))
    if len(names) < 2 or not any(row["published_top1"] for row in result["pipes"]):
        return None  # nothing to compare with, or clips of a size that nobody trains on
    figure, parts = plt.subplots(1, len(forms), figsize=(9, 0.33 * len(names) + 1.2), sharey=True, squeeze=False)
    for axes, form in zip(parts[0], forms, strict=True):
        rates = {row["name"]: row["clips_per_s"] for row in rows if row["form"] == form}
        for place, name in enumerate(names):
            axes.barh(place, rates.get(name, 0), color=OURS if name in OUR_MAIN else GREY)
            axes.annotate(f"{rates[name]:.0f}" if name in rates else "-", (rates.get(name, 0), place), xytext=(4, -3),
                          textcoords="offset points", fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(names)), [f"{name} *" if name in with_index else name for name in names], fontsize=9)
        axes.set_title(form_title(form).replace("`", ""), fontsize=10)
        axes.set_xlabel("clips/s")
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    parts[0][0].invert_yaxis()
    title = f"Loading clips of 8 frames from H.264 files ({where})"
    figure.suptitle(f"{title}\n* with an index of the files' frames, made beforehand", fontsize=11)
    figure.tight_layout()
    return figure


def draw_accuracy(result: dict[str, Any], where: str) -> Any:
    """Clips per second of training against published accuracy; in grey the first recipe's model as peers run it."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    rows = [row for row in result["pipes"] if row["published_top1"] and ("both" in row or "model" in row)]
    if not rows:
        return None
    for row, marker in zip(rows, "osD^vPX*" * len(rows), strict=False):
        rate = row.get("both", row.get("model"))["clips_per_s"]
        axes.plot(rate, row["published_top1"], marker, color=OURS, markersize=9, label=row["pipe"])
    others = [row for row in result.get("models", []) if "clips_per_s" in row]
    for row, marker in zip(others, "+x1234" * 9, strict=False):
        published = next(p["published_top1"] for p in result["pipes"] if p["pipe"] == row["pipe"])
        label = f"{row['pipe']}: {row['name']}, {row['precision']}, model alone"
        axes.plot(row["clips_per_s"], published, marker, color=GREY, markersize=9, label=label)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.set(xlabel="training, clips/s", ylabel="published top-1, % (Kinetics-400, 10 clips x 3 crops)")
    axes.set_title(f"Clips per second against published accuracy ({where})", fontsize=10)
    axes.set_xlim(0, None)
    axes.margins(y=0.4)
    return figure


def draw_stages(result: dict[str, Any], where: str) -> Any:
    """What a clip costs, stage by stage, by stored form."""
    from matplotlib import pyplot as plt

    stages = result.get("stages_ms_per_clip")
    if not stages:
        return None
    figure, axes = plt.subplots(figsize=(7, 0.7 * len(stages) + 1.2))
    colours = {"read": "#b8cfe5", "decode": OURS, "augment": "#e09f3e"}
    for place, costs in enumerate(stages.values()):
        left = 0.0
        for name, cost in costs.items():
            axes.barh(place, cost, left=left, color=colours.get(name), label=name if place == 0 else None)
            left += cost
        axes.annotate(f"{left:.1f} ms", (left, place), xytext=(4, -3), textcoords="offset points")
    axes.set_yticks(range(len(stages)), [form_title(form) for form in stages])
    axes.invert_yaxis()
    axes.set(xlabel="ms a clip, in one process, with the ffmpeg decoder")
    axes.set_title(f"What a clip costs ({where})", fontsize=10)
    axes.margins(x=0.15)
    axes.legend()
    return figure


def draw_workers(result: dict[str, Any], where: str) -> Any:
    """The loader's clips per second over workers (or decoder threads), from a sweep, a line for each other combination."""
    from matplotlib import pyplot as plt

    rows = [row for row in result.get("sweep", []) if "clips_per_s" in row]
    axis = next((name for name in ("workers", "decoder-threads") if len({row.get(name) for row in rows}) > 1), None)
    if axis is None:
        return None
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        label = ", ".join(f"{key} {value}" for key, value in row.items() if key not in (*NOT_SWEPT, axis))
        lines.setdefault(label, []).append((row[axis], row["clips_per_s"]))
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label)
    axes.set(xlabel=axis.replace("-", " "), ylabel="loader, clips/s", ylim=(0, None))
    axes.set_title(f"Scaling of the loader ({where})", fontsize=10)
    axes.legend(fontsize=7)
    return figure


_PLOTS = {"loaders": draw_loaders, "accuracy": draw_accuracy, "stages": draw_stages, "workers": draw_workers}


if __name__ == "__main__":
    main()
