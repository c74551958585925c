"""A plugin of pytest: writes a line of JSON as soon as something is known of a test, so that it outlives a run that is ended.

`pytest -p stages.pytest_lines`, with the file in C2D_TEST_LINES. Works with and without pytest-xdist. A junit.xml comes at the
end only, and does not say what has begun.
"""

import json
import os
from typing import Any

import pytest

_LONGEST = 600


def pytest_configure(config: Any) -> None:
    """Registers the writer in the process that hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Lines(os.environ["C2D_TEST_LINES"]))


class _Lines:
    def __init__(self, path: str):
        self._path = path

    def pytest_collection_finish(self, session: Any) -> None:
        for item in session.items:
            self._write(item.nodeid, "not begun")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        for name in ids:
            self._write(name, "not begun")

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._write(nodeid, "begun")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            message = {} if report.outcome == "passed" else {"message": _shortened(report)}
            self._write(report.nodeid, report.outcome, seconds=round(report.duration, 1), **message)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._write(report.nodeid, "failed", message=_shortened(report))

    def _write(self, test: str, outcome: str, **more: Any) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps({"test": test, "outcome": outcome} | more) + "\n")


def _shortened(report: Any) -> str:
    """Returns why a test failed or was skipped: the lines of the error itself."""
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        return str(report.longrepr[2])[:_LONGEST]
    lines = report.longreprtext.splitlines()
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return " | ".join(errors or lines[-3:])[:_LONGEST]
