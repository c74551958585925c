"""Machines that lack msgspec, as those with a GPU may."""

import os

from runs import environment, flags, last, run


def test_runs_start_and_go_on_without_msgspec(eight_videos, tmp_path):
    """Machines without a registry lack it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "msgspec.py").write_text("raise ModuleNotFoundError('no msgspec')")
    path = os.pathsep.join([str(tmp_path / "site"), environment()["PYTHONPATH"]])
    words = flags(eight_videos, tmp_path / "run")
    for more in (["--epochs", "1"], ["--resume", "auto"]):
        done = run(*words, *more, env={"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")})
        assert done.returncode == 0, done.stderr
    assert last(tmp_path / "run")["progress"]["epoch"] == 2
