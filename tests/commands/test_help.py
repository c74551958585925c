"""The help of all commands."""

import contextlib
import importlib
import io
import re

import pytest

COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info", "prepare")


def test_help_ends_with_an_example(run_command):
    words = [[name] for name in COMMANDS] + [
        ["prepare", name] for name in ("demo", "list", "scan", "check", "transcode", "show")
    ]
    for command in words:
        done = run_command(*command, "--help", env={"COLUMNS": "120"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "\nexample: python -m c2d_fast." in done.stdout
        assert "exit codes: 0 done; 2 " in done.stdout
        assert len(done.stdout.splitlines()) <= 55, "it fits a screen"
        assert max(map(len, done.stdout.splitlines())) <= 140
        assert done.stdout.splitlines()[0].startswith(f"usage: python -m c2d_fast.{' '.join(command)} ")


def test_the_same_flags_mean_the_same_everywhere():
    flags = {}
    for name in COMMANDS:
        with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
            importlib.import_module(f"c2d_fast.{name}").parse(["--help"])
        for flag, metavar in re.findall(r"^  (--[\w-]+)(?: (\S+))?(?=  |$|\n)", text.getvalue(), re.MULTILINE):
            flags.setdefault(flag, {})[name] = metavar
    del flags["--precision"]["export"]  # of a file, not of computing: it has int8 and no bf16
    for flag in (
        "--pipe",
        "--checkpoint",
        "--label-map",
        "--num-classes",
        "--data-root",
        "--list",
        "--seed",
        "--decoder",
        "--precision",
    ):
        assert len(set(flags[flag].values())) == 1, (flag, flags[flag])
    assert set(flags["--quiet"]) == set(COMMANDS) - {"prepare"}  # whose subcommands have it
