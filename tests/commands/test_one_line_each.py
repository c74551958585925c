"""Mishaps that end a command with one line, an exit code and nothing half written."""

import json
import sys

import fork_server
import pytest
from runs import PIPE, environment, flags, one_line, run

from c2d_fast.errors import UserError
from c2d_fast.recipe import load_pipe
from c2d_fast.training.batch_norm import check_batch_size, fewest_values

TINY = load_pipe(PIPE).recipe


def test_a_batch_that_leaves_one_value_to_normalise_is_refused(eight_videos, tmp_path):
    out = tmp_path / "run"
    done = run(*flags(eight_videos, out, batch_size=1))
    one_line(done, 2, "--batch-size 1: 2 frames of 32 pixels", "needs two at least; give --batch-size 2")
    assert not out.exists()


def test_what_is_refused_is_what_torch_would_refuse():
    from dataclasses import replace

    import torch

    from c2d_fast.model.c2d import C2D

    cases = [(True, 2, 32, 1), (True, 2, 36, 1), (True, 4, 32, 1), (False, 1, 32, 1)]
    cases += [(False, 1, 33, 1), (False, 2, 1, 1), (True, 3, 5, 1), (False, 1, 1, 2)]
    for pool, frames, size, clips in cases:
        model, crop = replace(TINY.model, temporal_pool=pool), replace(TINY.crop, size=size)
        recipe = replace(TINY, model=model, clip=replace(TINY.clip, num_frames=frames), crop=crop)
        refuses = False
        with torch.device("meta"):
            try:
                C2D(recipe.model).train()(torch.zeros(clips, frames, size, size, 3, dtype=torch.uint8))
            except ValueError as error:
                refuses = "more than 1 value per channel" in str(error)
        assert refuses == (fewest_values(recipe, clips) == 1), (pool, frames, size, clips)
        if refuses:
            with pytest.raises(UserError, match="give --batch-size 2"):
                check_batch_size(recipe, clips)
        assert check_batch_size(recipe, clips, 2) == clips


def test_crops_that_the_stem_leaves_nothing_of_are_no_recipe():
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"crop size \(4\) must be 5 pixels at least"):
        replace(TINY, crop=replace(TINY.crop, size=4))


EVAL_FAULTY = """
from faulty_source import faulty
from dali_pipes.k400_8x8 import eval_pipe as sound, train_pipe
from tests.tiny_pipe import RECIPE
def eval_pipe(source, **kwargs):
    return sound(faulty(source), **kwargs)
"""


@pytest.mark.parametrize("command", ["test", "predict"])
def test_workers_that_die_are_told_of_without_flags_of_others(eight_videos, whole_run, tmp_path, command, run_command):
    (tmp_path / "pipe.py").write_text(EVAL_FAULTY)
    words = ["--pipe", tmp_path / "pipe.py", "--checkpoint", whole_run / "best.pt", "--workers", 2]
    words += ["--list", eight_videos] if command == "test" else [eight_videos.parent]
    env = environment(FAULT=json.dumps({"kind": "die", "video": 3}))
    done = run_command(command, *words, env=env)
    one_line(done, 75, "3 times in a row", "lower --workers if memory is short, and give the same command again")
    assert "--resume" not in done.stderr + done.stdout


SMALL_DISK = """
import resource, sys
from c2d_fast import cli, test
from c2d_fast.commands import run_test
room, write = int(sys.argv.pop(1)), run_test._dump
def write_where_there_is_little_room(*args):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    write(*args)
run_test._dump = write_where_there_is_little_room
cli.run(test.main)
"""


@pytest.mark.parametrize(
    ("suffix", "room"),
    [
        ("pkl", 300),
        ("json", 1200),
        *(pytest.param(*words, marks=pytest.mark.slow) for words in (("pkl", 0), ("pkl", 1200), ("json", 0), ("json", 300))),
    ],
)
def test_a_full_disk_leaves_no_dump_without_its_summary(eight_videos, whole_run, tmp_path, suffix, room):
    """Room for nothing, for the scores but not for their summary, and for less than that."""
    dump = tmp_path / f"scores.{suffix}"
    words = ["--pipe", PIPE, "--checkpoint", whole_run / "best.pt", "--list", eight_videos, "--views", "1x1", "--dump", dump]
    command = [sys.executable, "-c", SMALL_DISK, str(room), *map(str, words), "--workers", "1"]
    done = fork_server.run(command, environment(), timeout=240)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: --dump {dump}: it and its summary cannot be written (File too large); free the disk")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert "top-1" in done.stdout  # the scores are not lost
