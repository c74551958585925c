"""Of `analyze`: all of it as one page, `--html`."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import c2d_fast
from c2d_fast.commands.analysis_folder import AnalysisFolder, short_names
from c2d_fast.commands.analyze_runs import changes, curve_panels, median, runs_table, speed_panels
from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write, check_is_no_input, check_writable
from c2d_fast.reporting import html_parts as parts
from c2d_fast.reporting.charts import encode_png
from c2d_fast.reporting.curves import Panel, curves_figure
from c2d_fast.reporting.dump_file import Result
from c2d_fast.reporting.hardest_cards import hardest_cards
from c2d_fast.reporting.history import History, finite
from c2d_fast.reporting.html_report import HtmlReport
from c2d_fast.reporting.run_notes import FILES, RunNotes, read_notes
from c2d_fast.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENDINGS = (".html", ".htm")
_PANEL_WIDE = 0.72  # of the usual width: legible on a phone
_ROWS, _OPEN_ROWS, _NAMED = 400, 20, 20
_LINE_FORMATS = {"step": "d", "epoch": "d", "loss": ".4f", "top1": ".2f", "top5": ".2f", "mAP": ".2f"}
_TITLES = {"top1": "top-1, %", "top5": "top-5, %", "mAP": "mAP, %", "mean_class_accuracy": "mean class accuracy, %"}
_MACHINE = {
    "step_ms": ("step, ms", ".1f"),
    "cpu_percent": ("CPUs busy, %", ".1f"),
    "gpu_percent": ("GPU busy, %", ".1f"),
    "decoder_percent": ("NVDEC busy, %", ".1f"),
    "gpu_memory_mb": ("GPU memory, MB", ".0f"),
    "rss_mb": ("RSS, MB", ".0f"),
    "decoded_frames_per_s": ("frames decoded per s", ".1f"),
    "recording_percent": ("recording, %", ".3f"),
}


def check_page(path: Path, runs: Sequence[Path], results: Sequence[Path], label_map: str | None) -> None:
    """Says early that a page cannot be written.

    Raises:
        UserError: its name or place does not do, or it is a file that is read.
    """
    if path.suffix not in _ENDINGS:
        raise UserError(f"--html {path}: must end in .html")
    check_writable(path, "--html")
    summaries = [result.with_name(f"{result.name}.summary.json") for result in results]
    of_runs = [file for run in runs for file in (*(run / name for name in FILES), *run.glob("config-resumed-*.json"))]
    check_is_no_input(path, "--html", [*results, *summaries, *of_runs, label_map])


def write_page(path: Path, runs: list[History], results: list[Result], folder: AnalysisFolder) -> None:
    """Writes runs and results as a page, whole or not at all.

    Args:
        path: ends in .html.
        runs: any number.
        results: any number, beside runs at least one.
        folder: has the tables and charts of the results.

    Raises:
        UserError: it cannot be written.
    """
    names = short_names([run.folder for run in runs])
    of_results = short_names([result.path for result in results])
    page = HtmlReport(_title([*names, *of_results]))
    page.section("")
    made = f"Made {time.strftime('%F %T')} by c2d_fast {c2d_fast.__version__}, of {_count(len(runs), 'run')}"
    page.add(parts.paragraph(f"{made} and {_count(len(results), 'result')} of test.", "faint"), "when it was made")
    if runs:
        notes = [read_notes(run.folder) for run in runs]
        _add_runs(page, runs, names)
        _add_speed(page, runs, notes, names)
        _add_left_out(page, notes, names)
    if results:
        _add_results(page, results, of_results, folder)
    page.section("Versions and commands")
    page.add(parts.facts([("this page", shlex.join([os.path.basename(sys.executable), *sys.orig_argv[1:]]))]), "its command")
    for run, name in zip(runs, names, strict=True):
        page.add(parts.heading(name) + parts.facts(_run_facts(run)), f"versions and command of {name}")
    for result, name in zip(results, of_results, strict=True):
        page.add(parts.heading(name) + parts.facts(_summary_facts(result)), f"versions and command of {name}")
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(page.encode())
    except OSError as error:
        raise UserError(f"--html {path}: cannot be written ({error.strerror}); free the disk or give another file") from error


def _title(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _add_runs(page: HtmlReport, runs: list[History], names: list[str]) -> None:
    page.section("Runs")
    compared = runs_table(runs, names)
    overrides = [", ".join(map(str, found)) if isinstance(found := run.fact("overrides"), list) else None for run in runs]
    columns = [*compared.columns[:2], ("overrides", ""), *compared.columns[2:]]
    rows = [[*row[:2], changed or None, *row[2:]] for row, changed in zip(compared.rows, overrides, strict=True)]
    page.add(parts.table(_known(Table(columns, rows)), "Runs side by side", sideways=True), "the table of runs")
    for run, name in zip(runs, names, strict=True):
        if not run.has_record():
            page.add(parts.paragraph(f"{name} has no record yet, or none that is whole."), f"a note on {name}")
    page.section("Curves")
    validated = any(len(run.validation["step"]) for run in runs)
    _add_panels(page, curve_panels(runs), names, " Thin lines are training, lines with dots validation." if validated else "")
    for run, name in zip(runs, names, strict=True):
        if len(run.validation["step"]):
            page.add(parts.folded(f"{name}: figures of each validation", _validations(run, name)), f"validations of {name}")


def _add_panels(page: HtmlReport, panels: list[Panel], names: list[str], note: str) -> None:
    if not panels:
        return
    page.add(parts.legend(names) + parts.paragraph(f"Charts have a curve for each run.{note}", "faint"), "the legend of charts")
    drawn = [
        _figure(curves_figure([panel], names, wide=_PANEL_WIDE, names=False), _curve_text(panel, names)) for panel in panels
    ]
    page.add(parts.grid(drawn, "charts"), "charts of runs")


def _figure(figure: "Figure", alt: str, scale: float = 2, *, large: bool = False) -> str:
    width, height = (figure.get_size_inches() * figure.dpi).round().astype(int).tolist()
    return parts.figure(encode_png(figure, scale), alt, (width, height), large=large)


def _curve_text(panel: Panel, names: list[str]) -> str:
    """Returns what a chart shows, for those who do not see it."""
    texts = []
    for line in panel.lines[:_NAMED]:
        if len(values := finite(line.y)):
            kind = "validation " if line.validation else ""
            texts.append(f"{kind}{names[line.run]} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"Chart, {panel.title} by {panel.x_title}: {'; '.join(texts)}"


def _validations(run: History, name: str) -> str:
    known = [key for key in _LINE_FORMATS if key in run.validation]
    keys = [*known, *sorted(set(run.validation) - {*known, "time_s"})][:12]
    rows = []
    for values in zip(*(run.validation[key][-_ROWS:].tolist() for key in keys), strict=True):
        pairs = zip(keys, values, strict=True)
        rows.append([None if not np.isfinite(v) else int(v) if _LINE_FORMATS.get(key) == "d" else v for key, v in pairs])
    columns = [(_TITLES.get(key, key), _LINE_FORMATS.get(key, ".4g")) for key in keys]
    left = len(run.validation["step"]) - len(rows)
    return parts.table(Table(columns, rows), f"{name}: validations{f', the last {len(rows)}' if left else ''}")


def _add_speed(page: HtmlReport, runs: list[History], notes: list[RunNotes], names: list[str]) -> None:
    page.section("Speed, and what bounded it")
    keys = list(dict.fromkeys([key for key in _MACHINE if any(key in note.machine for note in notes)]))
    keys += sorted({key for note in notes for key in note.machine} - {*_MACHINE, "step", "epoch", "time_s"})[:8]
    columns = [("run", ""), ("clips/s", ".1f"), ("data wait, %", ".1f")]
    columns += [_MACHINE.get(key, (key, ".4g")) for key in keys]
    columns += [(key, "") for key in ("device", "decoder", "workers", "precision", "batch size", "ranks", "GPU", "host")]
    rows, bounds = [], []
    for run, note, name in zip(runs, notes, names, strict=True):
        wait = median(run.train.get("data_wait_percent"))
        used = [changes(run.facts("used", key)) for key in ("device", "decoder", "workers", "precision", "batch_size", "ranks")]
        machine = [changes(run.facts("machine", key)) for key in ("gpu", "host")]
        speed = [median(run.train.get("clips_per_s")), wait, *(note.machine.get(key) for key in keys)]
        rows.append([name, *speed, *used, *machine])
        bounds.append((name, note.bound(wait)))
    page.add(parts.paragraph("What bounded each run:") + parts.facts(bounds), "what bounded the runs")
    table = _known(Table(columns, rows))
    page.add(parts.table(table, "Speed: medians of what was recorded", sideways=True), "the table of speed")
    _add_panels(page, speed_panels(runs), names, "")


def _known(table: Table) -> Table:
    """Returns the columns of which at least one row has something."""
    kept = [index for index in range(len(table.columns)) if any(row[index] is not None for row in table.rows)]
    return Table([table.columns[index] for index in kept], [[row[index] for index in kept] for row in table.rows])


def _add_left_out(page: HtmlReport, notes: list[RunNotes], names: list[str]) -> None:
    page.section("Left out")
    rows = [[name, len(note.quarantined), len(note.skipped)] for note, name in zip(notes, names, strict=True)]
    columns = [("run", ""), ("videos that broke while they were read", "d"), ("steps not applied", "d")]
    page.add(parts.table(Table(columns, rows), "What the runs did without"), "the table of what was left out")
    for note, name in zip(notes, names, strict=True):
        if note.quarantined:
            table = Table([("list", ""), ("video", ""), ("why", "")], note.quarantined[:_ROWS])
            part = _long_table(table, f"{name}: videos in quarantine", len(note.quarantined))
            page.add(part, f"the quarantine of {name}")
        if note.skipped:
            more = f" and {len(note.skipped) - _NAMED} more" if len(note.skipped) > _NAMED else ""
            steps = ", ".join(map(str, note.skipped[:_NAMED]))
            text = f"{name}: steps that were not applied, their gradient was not finite: {steps}{more}."
            page.add(parts.paragraph(text), f"skipped steps of {name}")


def _long_table(table: Table, caption: str, number: int) -> str:
    """Returns a table, folded away where it has many rows."""
    shown = Table(table.columns, table.rows[:_ROWS])
    caption += f", {len(shown.rows)} of {number}" if number > len(shown.rows) else ""
    drawn = parts.table(shown, caption)
    return parts.folded(f"{caption} ({len(shown.rows)} rows)", drawn) if len(shown.rows) > _OPEN_ROWS else drawn


def _add_results(page: HtmlReport, results: list[Result], names: list[str], folder: AnalysisFolder) -> None:
    page.section("Results")
    page.add(parts.table(folder.tables["results"], "Results side by side", sideways=True), "the table of results")
    for result, name in zip(results, names, strict=True):
        page.section(f"Result {name}")
        facts = f"{len(result.labels)} videos of {result.scores.shape[1]} classes"
        large = result.scores.shape[1] > 100
        drawn = []
        for file, what in ((f"confusion-{name}.png", "Confusion matrix"), (f"classes-{name}.png", "Figures by class")):
            if file in folder.figures:
                drawn.append(_figure(folder.figures[file](), f"{what} of {name}: {facts}", 1 if large else 2, large=True))
        page.add(parts.grid(drawn, "pair"), f"charts of {name}")
        for table, what in (
            (f"classes-{name}", "classes, the worst first"),
            (f"confusion-{name}", "classes mixed up most often"),
        ):
            if table in folder.tables:
                content = folder.tables[table]
                page.add(_long_table(content, f"{name}: {what}", len(content.rows)), f"{what} of {name}")
        page.add(parts.heading("Hardest videos"), "a heading")
        hardest_cards(page, result, folder.tables[f"hardest-{name}"], name)


def _run_facts(run: History) -> list[tuple[str, Any]]:
    commands = run.facts("command")
    pairs: list[tuple[str, Any]] = [("command" if n == 0 else "resumed by", command) for n, command in enumerate(commands[:20])]
    pairs += [("recipe", changes(run.facts("recipe", "name"))), ("recipe's sha256", changes(run.facts("recipe_sha256")))]
    pairs += [("pipe file", changes(run.facts("pipe_file", "path")))]
    lists = run.fact("lists")
    for of_list in lists[:2] if isinstance(lists, list) else ():
        pairs.append(("list", _joined(of_list)))
    left_out = run.fact("left_out")
    pairs += [("videos left out beforehand", len(left_out) if isinstance(left_out, list) else None)]
    return [*pairs, *_surroundings(run.fact("versions"), run.fact("machine")), ("folder", run.folder)]


def _summary_facts(result: Result) -> list[tuple[str, Any]]:
    summary = result.summary
    if not summary:
        return [("file", result.path), ("note", f"{result.path.name}.summary.json, which says more, is not beside it")]
    facts = summary.get("result")
    of_list = facts.get("list") if isinstance(facts, dict) else None
    pairs = [("command", summary.get("command")), ("list", _joined(of_list))]
    return [*pairs, *_surroundings(summary.get("versions"), summary.get("machine")), ("file", result.path)]


def _surroundings(versions: Any, machine: Any) -> list[tuple[str, Any]]:
    return [("versions", _joined(versions)), ("machine", _joined(machine))]


def _joined(facts: Any) -> str | None:
    if not isinstance(facts, dict):
        return None
    return ", ".join(f"{str(key)[:60]} {str(value)[:300]}" for key, value in list(facts.items())[:40] if value is not None)
