"""The examples in Python of the loader's guide and of the README: run as they stand, one after the other, in one script."""

import os
import re
import sys

import pytest
import torch
from conftest import ROOT
from media import make_dataset

YOURS = """
import torch

num_classes, num_epochs, device = 2, 1, "cpu"
model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))
criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)
"""
"""What the pages say is the reader's."""
SHOW = 'shown = next(iter(loader)).clip\nprint("batch", *shown.shape, shown.dtype)\nloader.close()\n'
GUIDE = ROOT / "docs/loader.md"


def examples(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A folder with lists as the examples name them: 32 files, of which some are the same video, and six."""
    folder = tmp_path_factory.mktemp("lists")
    lines = make_dataset(folder, count=6, num_frames=(40, 30, 70), name="val.txt").read_text().splitlines()
    more = []
    for number in range(32):
        video, label = lines[number % 6].rsplit(" ", 1)
        os.link(folder / video, folder / f"{number}.mp4")
        more.append(f"{number}.mp4 {label}\n")
    (folder / "train.txt").write_text("".join(more))
    return folder


@pytest.fixture
def run(lists, monkeypatch, capsys):
    """Runs a script in that folder; returns the lines that begin with "batch", without the word."""

    def run_here(script):
        exec(compile(script, "script", "exec"), {"__name__": "script"})
        return [line.removeprefix("batch ") for line in capsys.readouterr().out.splitlines() if line.startswith("batch ")]

    monkeypatch.chdir(lists)
    monkeypatch.syspath_prepend(lists)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return run_here


def test_the_examples_of_the_guide_run_as_they_stand(lists, run):
    script = YOURS
    for block in examples(GUIDE):
        if name := re.match(r"# (\w+\.py)\n", block):
            (lists / name[1]).write_text(block)
        else:
            script += block + (SHOW if re.search(r"^loader = ", block, re.MULTILINE) else "")
    batches = run(script + 'print("batch", tuple(targets.shape), accuracy, loader.current_epoch)\n')
    assert batches[:-1] == [
        "32 8 224 224 3 torch.uint8",  # the first example
        "8 16 224 224 3 torch.uint8",  # Frames
        "32 8 224 224 3 torch.uint8",  # Multi
        "32 8 224 224 3 torch.uint8",  # balance
        "16 16 112 112 3 torch.uint8",  # crops
        "32 8 224 224 3 torch.uint8",  # transforms
        "32 8 224 224 3 torch.uint8",  # a graph
    ]
    shape, accuracy, epoch = re.fullmatch(r"\((.*)\) (\S+) (\d+)", batches[-1]).groups()
    assert shape == "32, 2"
    assert 0 <= float(accuracy) <= 1
    assert epoch == "1"


def test_the_scan_of_the_guide_makes_what_the_loader_takes(lists, monkeypatch):
    from c2d_fast import ClipLoader
    from c2d_fast.prepare.command_line import main

    (command,) = re.findall(r"^```sh\npython -m c2d_fast\.prepare (.*)\n```", GUIDE.read_text(), re.MULTILINE)
    monkeypatch.chdir(lists)
    monkeypatch.setattr(sys, "argv", ["prepare", *command.split()])
    main()
    assert ClipLoader("train.npz", batch_size=32, workers=1, verbose=False).num_videos == 32
    assert (lists / "train.packets.npz").is_file()


def test_the_example_of_the_readme_runs(run):
    (block,) = [block for block in examples(ROOT / "README.md") if "ClipLoader" in block]
    assert run(YOURS + block + SHOW) == ["32 8 224 224 3 torch.uint8"]


def section(heading):
    """The text of the reference below a heading."""
    text = (ROOT / "docs/loader-reference.md").read_text()
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def names_below(heading):
    """The code in the first column of its tables."""
    rows = re.findall(r"^\| (`.*?) \|", section(heading), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)", row)]


def test_the_reference_has_every_argument_field_and_key():
    import dataclasses
    import inspect

    from c2d_fast import Batch, ClipLoader, Crop

    parameters = inspect.signature(ClipLoader).parameters
    assert names_below("Arguments") == list(parameters)
    defaults = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| ([^|]*?) \|", section("Arguments"), re.MULTILINE))
    for name in ("seed", "train", "pad_last", "accumulate", "allow_missing", "max_bad_videos", "decoder", "verbose"):
        assert defaults[name].strip("`").strip('"') == str(parameters[name].default)
    fields = [field.name for field in dataclasses.fields(Batch)]
    assert names_below("Batch")[: len(fields)] == fields
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \| [^|]* \|$", section("Crops"), re.MULTILINE))
    for field in dataclasses.fields(Crop):
        default = "(3/4, 4/3)" if field.default == (3 / 4, 4 / 3) else str(field.default)
        assert shown[field.name].strip("`").strip('"') == default, field.name
    public = {name for name in vars(ClipLoader) if not name.startswith("_")}
    of_commands = {"epoch", "views", "set_heartbeat"}
    assert public - of_commands <= set(names_below("Methods and properties of ClipLoader"))


def test_the_reference_has_every_key_of_a_state(ten_videos):
    from clip_loaders import SMALL

    from c2d_fast import ClipLoader, Dense

    loaders = [ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, train=train, **SMALL) for train in (True, False)]
    assert set().union(*(loader.state_dict() for loader in loaders)) == set(names_below("state_dict"))
