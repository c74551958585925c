"""Reads runs and results, and writes charts and tables of them, or a page."""

import argparse
import os
from pathlib import Path

from c2d_fast.commands.analysis_folder import DUMPS, AnalysisFolder
from c2d_fast.commands.analyze_page import check_page, write_page
from c2d_fast.commands.analyze_results import analyze_results, class_names, read_results
from c2d_fast.commands.analyze_runs import analyze_runs
from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.reporting.history import read_history

_FOLDER = Path("analysis")


def run_analyze(args: argparse.Namespace) -> None:
    """Analyzes as the flags of `c2d_fast.analyze` say.

    Raises:
        UserError: anything that the user can mend.
    """
    out = args.out or (None if args.html else _FOLDER)
    if out and os.path.lexists(out) and not out.is_dir():
        raise UserError(f"--out {out}: is not a folder; give another")
    classes = read_label_map(args.label_map) if args.label_map else None
    is_run = [_is_run(path) for path in args.paths]
    run_paths, result_paths = (
        [path for path, run in zip(args.paths, is_run, strict=True) if run is kind] for kind in (True, False)
    )
    if args.html:
        check_page(args.html, run_paths, result_paths, args.label_map)
    runs = [read_history(path) for path in run_paths]
    results = read_results(result_paths)
    names = [class_names(result, classes, args.label_map) for result in results]
    if args.html and not results and not any(run.has_record() for run in runs):
        raise UserError(
            f"--html {args.html}: there is nothing to show, {runs[0].folder} has no record yet; give a run that has trained, "
            "or what test --dump wrote"
        )
    folder = AnalysisFolder(out)
    if runs:
        analyze_runs(runs, folder)
    if results:
        analyze_results(results, names, args.top, folder)
    written = folder.written
    if args.html:
        write_page(args.html, runs, results, folder)
        written = [*written, args.html]
    print("\n".join(f"written: {path}" for path in written))


def _is_run(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give run folders, or what test --dump wrote")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix not in DUMPS or not path.is_file():
        raise UserError(f"{path}: is neither a run folder nor a file that ends in .pkl or .json, as test --dump writes them")
    return False
