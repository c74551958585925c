"""Runs a file of tests for a stage; what became of each is in the stage's JSON as soon as it is known."""

import json
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.cache import inductor_cache
from stages.child import LostError
from stages.stage import Stage

ROOT = Path(__file__).parents[2]
_LEAST_S = 20.0
_ORDER = ("not begun", "begun", "passed", "skipped", "failed")


def run_tests(stage: Stage, file: str, processes: int) -> None:
    """Runs the tests of a file, side by side where pytest-xdist is there, for as long as there is time."""
    if not find_spec("pytest"):
        stage.leave_out(f"{file}: pytest is not installed")
        return
    if not stage.allows(file, 1 if stage.asked.rehearse else _LEAST_S):
        return
    side_by_side = ["-n", str(processes)] if find_spec("xdist") else []
    arguments = ["-q", "-p", "stages.pytest_lines", "-p", "no:cacheprovider", *side_by_side, file]
    tests: dict[str, Any] = {}
    stage.result |= {"pytest": arguments, "tests": tests}
    with tempfile.NamedTemporaryFile(prefix="gpu-stage-", suffix=".lines") as lines:
        env = {"C2D_TEST_LINES": lines.name, **inductor_cache()[0]}
        env |= {} if stage.asked.rehearse else {"C2D_REQUIRE_GPU": "1"}
        child = stage.child(file, env)
        child.call("stages.pytest_jobs.run", str(ROOT), arguments)
        while stage.left_s > 2 and not child.waits_for.poll(0.5):
            _read(stage, Path(lines.name), tests)
        _read(stage, Path(lines.name), tests)
        said = child.last_words()
        try:
            code = child.answer(0)
        except LostError as error:
            code = str(error)
    stage.result["pytest_exit_code"] = code
    if not tests or code not in (0, 1):
        stage.result["pytest_said"] = said
    _sum_up(stage, tests)


def _read(stage: Stage, lines: Path, tests: dict[str, Any]) -> None:
    """Takes over what the plugin has written, and writes the JSON if any of it is new."""
    text, before = lines.read_text(), json.dumps(tests)
    for line in text[: text.rfind("\n") + 1].splitlines():
        told = json.loads(line)
        test = tests.setdefault(told.pop("test"), {"outcome": "not begun"})
        if _ORDER.index(told["outcome"]) >= _ORDER.index(test["outcome"]):
            test |= told
    if json.dumps(tests) != before:
        stage.save()


def _sum_up(stage: Stage, tests: dict[str, Any]) -> None:
    for name, test in tests.items():
        if test["outcome"] in ("begun", "not begun"):
            stage.leave_out(f"{name} ({test['outcome']})")
        elif test["outcome"] == "failed":
            stage.say(f"FAILED {name}: {test.get('message', '')}")
    stage.result["outcomes"] = dict(Counter(test["outcome"] for test in tests.values()))
    stage.save()
    stage.say(f"tests: {stage.result['outcomes']}")
