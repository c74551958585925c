"""What the benchmark of throughput has measured, as tables for people: no measuring here."""

from typing import Any

NOT_SWEPT = (
    "clips_per_s", "low", "high", "rounds", "gpu_percent", "decoder_percent", "hybrid_share", "missing", "at_s",
)  # fmt: skip
"""What a sweep's row says beside the values that were chosen."""
WITHOUT_INDEX = ("none", "manifest (facts)")
"""What a row has that is told no places of frames in its files (libraries.py)."""
OUR_MAIN = ("c2d-fast without a packet table", "c2d-fast")
"""Our loader, as against its own variants: the first is compared with peers without an index, the second with those that have
one."""


def tables(result: dict[str, Any]) -> list[str]:
    """Returns the lines that `benchmarks/throughput.py` prints."""
    machine, settings = result["machine"], result["settings"]
    where = machine["gpu"] or f"no GPU; {machine['cpus']} CPUs, {machine['cpu']}"
    lines = ["", f"measured on: {where}; torch {machine['torch']}"]
    if result.get("loaders"):
        lines += ["", *loader_lines(result)]
    if result.get("sweep"):
        lines += ["", *sweep_lines(result["sweep"])]
    if any("model" in row or "loader" in row for row in result["pipes"]):
        lines += ["", *pipe_lines(result)]
    if result.get("models"):
        lines += ["", f"models, clips/s (batches of {settings['model_batch_size']}, training steps):"]
        for row in result["models"]:
            rate = f"{row['clips_per_s']:>9.2f}" if "clips_per_s" in row else f"missing: {row['missing']}"
            lines.append(f"  {row['name']:<36} {row['pipe']:<26} {row['precision'] or '':<6} {rate}")
    if result["left_out"]:
        lines += ["", f"left out for lack of time: {'; '.join(result['left_out'])}"]
    return lines


def loader_lines(result: dict[str, Any]) -> list[str]:
    """Returns loaders by stored form."""
    settings, rows = result["settings"], in_groups(result["loaders"])
    forms = list(dict.fromkeys(row["form"] for row in result["loaders"]))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        text = row.get("missing") or f"{row['clips_per_s']:.1f} ({row['low']:.1f} to {row['high']:.1f}){other_frames(row)}"
        cells.setdefault((row["name"], row["index"]), {})[row["form"]] = f"missing: {text}" if row.get("missing") else text
    lines = [
        f"loaders, clips/s (batches of {settings['batch_size']}, {settings['workers']} processes or threads):",
        f"  {'':<40} {'index':<17} " + " ".join(f"{form:<24}" for form in forms),
    ]
    for (name, index), row in cells.items():
        lines.append(f"  {name:<40} {index:<17} " + " ".join(f"{row.get(form, ''):<24}" for form in forms))
    for name, ratio in ratios(result).items():
        lines.append(f"  {name}: {ratio:.2f}x")
    for form, stages in result.get("stages_ms_per_clip", {}).items():
        lines.append(f"  a clip of {form}, in one process: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in stages.items()))
    return lines


def in_groups(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the loaders' rows, those without an index first; in both groups ours come first."""
    return sorted(rows, key=lambda row: (row["index"] not in WITHOUT_INDEX, not row["ours"]))


def other_frames(row: dict[str, Any]) -> str:
    """Returns what is to be said beside a row's figure; nothing where its frames are those that it was asked for."""
    differ = row.get("frames_differ", 0)
    return f", {differ} of {row['frames_checked']} frames are others" if differ else ""


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Returns our loader against the decord baseline, neither with an index, on the same files and across forms."""
    rates = {(row["name"], row["form"]): row["clips_per_s"] for row in result["loaders"] if "clips_per_s" in row}
    baseline = next((name for name, _ in rates if name.startswith("decord ")), None)
    found: dict[str, float] = {}
    if baseline is None or (baseline, "stored") not in rates:
        return found
    base = rates[baseline, "stored"]
    for form in dict.fromkeys(form for _, form in rates):
        ours = rates.get((OUR_MAIN[0], form))
        if ours:
            found[f"{OUR_MAIN[0]} on {form} against decord on stored"] = ours / base
            if form != "stored" and (baseline, form) in rates:
                found[f"{OUR_MAIN[0]} on {form} against decord on {form}"] = ours / rates[baseline, form]
    return found


def pipe_lines(result: dict[str, Any]) -> list[str]:
    """Returns clips per second against published accuracy."""
    size = result["settings"]["model_batch_size"]
    head = f"  {'':<26} {'top-1':>6} {'top-5':>6} {'loader':>9} {'model':>9} {'both':>9} {'both/slower':>12}  bound by"
    lines = [f"recipes: published accuracy, and clips/s of training (model and both: batches of {size}):", head]
    for row in result["pipes"]:
        rates = [f"{row[name]['clips_per_s']:>9.2f}" if name in row else f"{'':>9}" for name in ("loader", "model", "both")]
        share = f"{100 * row['both_to_slower']:.0f} %" if "both_to_slower" in row else ""
        top = [f"{row[key]:>6.2f}" if row[key] else f"{'':>6}" for key in ("published_top1", "published_top5")]
        lines.append(f"  {row['pipe']:<26} {' '.join(top)} {' '.join(rates)} {share:>12}  {row.get('bound_by', '')}")
    return lines


def sweep_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the sweep, the fastest first."""
    lines = ["sweep of the loader, clips/s:"]
    for row in sorted(rows, key=lambda row: -row.get("clips_per_s", 0)):
        what = ", ".join(f"{key} {value}" for key, value in row.items() if key not in NOT_SWEPT)
        lines.append(
            f"  {what:<60} " + (f"{row['clips_per_s']:>9.1f}" if "clips_per_s" in row else f"missing: {row['missing']}")
        )
    return lines
