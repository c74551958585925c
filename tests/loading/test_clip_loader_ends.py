"""What goes wrong with a ClipLoader, and how it ends."""

import multiprocessing
import subprocess
import sys
import textwrap
import time

import fork_server
import psutil
import pytest
import torch
from choices import two_of_long_ones
from clip_loaders import SMALL
from fork_server import environment

import c2d_fast
from c2d_fast import ClipLoader, Dense, Frames, Multi
from c2d_fast.errors import UserError


def invert(clip):
    return 255 - clip


def test_a_transform_sees_videos_as_torchvision_has_them_and_may_be_random(ten_videos):
    from torchvision.transforms import v2

    plain = list(ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL))
    shapes = []
    inverted = list(
        ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, transform=lambda c: shapes.append(c.shape) or invert(c), **SMALL)
    )
    assert {tuple(shape) for shape in shapes} == {(4, 4, 3, 32, 32)}
    assert all(torch.equal(255 - a.clip, b.clip) for a, b in zip(plain, inverted, strict=True))
    random = v2.Compose([v2.RandomCrop(24), v2.RandomGrayscale(0.5), v2.ToDtype(torch.float32, scale=True)])
    torch.manual_seed(1)
    first = list(ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, transform=random, **SMALL))
    torch.manual_seed(2)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    again = list(ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, transform=random, **SMALL))
    assert torch.equal(torch.rand(1), drawn), "the user's own generator is left as it was"
    assert first[0].clip.shape == (4, 4, 24, 24, 3)
    assert all(torch.equal(a.clip, b.clip) for a, b in zip(first, again, strict=True))


def children():
    return [p for p in psutil.Process().children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]


def wait_for_end_of(processes):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        time.sleep(0.05)
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def broken_transform(clip):
    raise RuntimeError("a mistake of mine")


def test_an_exception_of_a_transform_is_the_user_s_and_ends_the_workers(ten_videos, monkeypatch):
    from c2d_fast.loading import worker_pool

    monkeypatch.setattr(worker_pool, "_CONTEXT", multiprocessing.get_context("spawn"))
    before = {p.pid for p in children()}
    loader = ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, transform=broken_transform, **SMALL | {"workers": 2})
    batches, seen = iter(loader), []
    loader.start()
    seen = [p for p in children() if p.pid not in before]
    assert len(seen) == 2
    with pytest.raises(RuntimeError, match="a mistake of mine") as caught:
        next(batches)
    assert caught.traceback[-1].name == "broken_transform"
    assert wait_for_end_of(seen) == []


def test_an_exception_of_a_strategy_shows_its_own_traceback(ten_videos):
    with (
        ClipLoader(ten_videos, clip=Frames(two_of_long_ones), batch_size=4, **SMALL) as loader,
        pytest.raises(KeyError, match="a mistake of mine") as caught,
    ):
        list(loader)
    assert caught.traceback[-1].name == "two_of_long_ones"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 or a multiple of it"),
        ({"batch_size": 3, "clip": Multi(2)}, "batch_size=3: must be 2 or a multiple of it, for 2 clips of each decode"),
        ({"batch_size": 16}, "10 usable videos are fewer than one global batch of 16 clips; lower batch_size or give more"),
        ({"workers": 1, "num_workers": 2}, "workers=1, num_workers=2: are the same thing"),
        ({"workers": -1}, "workers=-1: must be 1 or more"),
        ({"shuffle": True, "train": False}, "shuffle=True: evaluation reads the list in its order"),
        ({"accumulate": 2, "train": False}, "accumulate=2: is of training"),
        ({"classes": ["only one"]}, "label 1 is out of range"),
        ({"decoder": "dali"}, r'decoder="dali": .*use decoder="auto" or ffmpeg'),
        ({"decoder": "gpu"}, r'decoder="gpu": must be one of auto, nvdec'),
        ({"device": "tpu"}, "device"),
        ({"rank": 2, "world_size": 2}, "rank=2, world_size=2: rank must be 0 or more, and below"),
        ({"rank": 1}, "rank=1, world_size=None: belong together"),
        ({"labels": [1]}, "labels: the list .* has labels of its own"),
        ({"drop_last": False, "accumulate": 2}, "drop_last=False: with accumulate=2"),
        ({"num_classes": 1}, "label 1 is out of range"),
        ({"max_bad_videos": "some"}, "max_bad_videos"),
    ],
)
def test_wrong_arguments_are_one_line_in_their_own_words(ten_videos, wrong, message):
    arguments = {"clip": Dense(4, 3), "batch_size": 4} | SMALL | wrong
    with pytest.raises(ValueError, match=message) as caught:
        ClipLoader(ten_videos, **arguments)
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("videos", "labels", "message"),
    [
        ([], None, "videos: there are none"),
        (["a.mp4", "b.mp4"], [0], "labels: there are 1 for 2 videos"),
        (["a.mp4"], ["cat"], "no such file"),
        (["a.mp4"], [-2], r"labels\[0\]: -2 must be 0 to"),
        (["a.mp4"], [0], "videos: a.mp4: no such file below ."),
        ("nowhere.txt", None, "list nowhere.txt: cannot be read"),
    ],
)
def test_wrong_videos_are_named(videos, labels, message):
    with pytest.raises(UserError, match=message) as caught:
        ClipLoader(videos, labels=labels, batch_size=1, **SMALL)
    assert "--" not in str(caught.value)


def test_the_package_gives_its_names_without_loading_torch():
    code = """
    import sys, c2d_fast
    c2d_fast.Clip, c2d_fast.Crop, c2d_fast.Dense, c2d_fast.Uniform, c2d_fast.Multi, c2d_fast.Frames
    assert "torch" not in sys.modules and "nvidia.dali" not in sys.modules
    assert "ClipLoader" in dir(c2d_fast)
    from c2d_fast import *
    print(ClipLoader.__name__, Batch.__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split() == ["ClipLoader", "Batch"], done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'Loader'"):
        c2d_fast.Loader  # noqa: B018


def test_a_script_needs_no_guard_and_runs_once(ten_videos, tmp_path):
    """Workers do not import the script, which may begin to train at its top level; the program ends by itself."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        print("the script runs")
        from c2d_fast import ClipLoader, Crop, Dense
        loader = ClipLoader({str(ten_videos)!r}, clip=Dense(4, 3), crop=Crop(size=32), batch_size=4, num_workers=2)
        print(sum(len(batch.clip) for batch in loader))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "the script runs"
    assert lines[-1] == "8"
    assert lines.count("the script runs") == 1
    assert not done.stderr


def test_a_function_of_the_script_reaches_the_workers(ten_videos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from c2d_fast import ClipLoader, Crop, Frames
        def last_two(n, rng):
            return [n - 2, n - 1]
        if __name__ == "__main__":
            loader = ClipLoader({str(ten_videos)!r}, clip=Frames(last_two), crop=Crop(size=32), batch_size=4, workers=1)
            print("shapes", *(tuple(batch.clip.shape) for batch in loader))
        """)
    )
    done = fork_server.run([sys.executable, str(script)], environment(), timeout=120)
    assert done.stdout.splitlines()[-1] == "shapes (4, 2, 32, 32, 3) (4, 2, 32, 32, 3)", done.stderr


def test_a_function_of_a_script_without_a_guard_is_refused_at_once(tmp_path):
    """Each worker would run the script, and end."""
    script = tmp_path / "script.py"
    script.write_text("from c2d_fast import Frames\ndef first(n, rng):\n    return [0]\nFrames(first)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    message = f"ValueError: Frames(first): stands in {script}, which worker processes import, and would run: begin what it does"
    assert message in done.stderr.splitlines()[-1]
