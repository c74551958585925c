"""Several labels a video, from a list or from arguments to the targets of batches."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from clip_loaders import SMALL, digests, paths_of
from runs import PIPE

from c2d_fast import ClipLoader, Dense, Multi
from c2d_fast.commands.dataset import loader_options
from c2d_fast.commands.run_data import prepare_data
from c2d_fast.commands.run_loaders import make_train_loader, make_val_loader
from c2d_fast.errors import UserError
from c2d_fast.train import parse
from c2d_fast.training.batch_log import BatchLog
from c2d_fast.training.distributed import Group

SETS = [{0: 1.0, 2: 1.0}, {1: 0.25, 3: 0.75}, {}, {4: 1.0}, {2: 1.0}, {3: 1.0, 1: 1.0}, {0: 0.5}, {1: 1.0}, {2: 1.0}, {3: 1.0}]
LABELS = [0, 3, -1, 4, 2, 3, 0, 1, 2, 3]
"""The heaviest of each, of like ones the first."""
ALL = torch.zeros(10, 6)
for row, one in enumerate(SETS):
    for label, weight in one.items():
        ALL[row, label] = weight


def open_loader(videos, **kwargs):
    return ClipLoader(videos, **{"clip": Dense(4, 3), "batch_size": 4} | SMALL | kwargs)


@pytest.fixture
def several(ten_videos, tmp_path):
    words = [",".join(f"{label}:{weight}" for label, weight in one.items()) or "-1" for one in SETS]
    path = tmp_path / "several.txt"
    path.write_text("".join(f"{video} {word}\n" for video, word in zip(paths_of(ten_videos)[0], words, strict=True)))
    return path


def check(batch):
    assert batch.targets.dtype == torch.float32
    assert batch.targets.device == batch.clip.device
    assert torch.equal(batch.targets, ALL[batch.index, : batch.targets.shape[1]])
    assert batch.label.dtype == torch.int64
    assert batch.label.tolist() == [LABELS[index] for index in batch.index.tolist()]


def test_training_batches_have_the_targets_of_their_videos(several, ten_videos):
    how = {"drop_last": False, "pad_last": True, "clip": Multi(2, Dense(4, 3))}
    with open_loader(several, num_classes=6, **how) as loader:
        batches = list(loader)
        assert loader.num_classes == 6
    assert {index for batch in batches for index in batch.index.tolist()} == set(range(10))
    for batch in batches:
        assert batch.targets.shape == (4, 6)
        check(batch)
    with open_loader(ten_videos, **how) as loader:  # the labels change nothing else
        plain = list(loader)
    assert digests(plain) == digests(batches)
    assert all(batch.targets is None for batch in plain)


def test_evaluation_pads_targets_with_their_clips(several):
    with open_loader(several, train=False, pad_last=True, batch_size=4) as loader:
        assert loader.num_classes == 5
        batches = list(loader)
    assert torch.cat([batch.trimmed().targets for batch in batches]).tolist() == ALL[:, :5].tolist()
    assert (batches[-1].num_valid, batches[-1].targets.shape) == (2, (4, 5))
    for batch in batches:
        check(batch)
    last = batches[-1]
    assert last.to("cpu") is last
    assert last.to("meta").targets.is_meta
    assert last.trimmed().targets.shape == (2, 5)


def test_ranks_have_their_own_rows(several):
    for rank in (0, 1):
        with open_loader(several, rank=rank, world_size=2, batch_size=2) as loader:
            for batch in loader:
                check(batch)


def test_labels_may_be_given_with_the_paths(several, ten_videos):
    paths, _ = paths_of(ten_videos)
    how = {"num_classes": 6, "train": False, "batch_size": 10}
    names = ["a", "b", "c", "d", "e", "f"]
    given = {
        "mappings": (SETS, how),
        "names": ([{names[label]: weight for label, weight in one.items()} for one in SETS], how | {"classes": names}),
        "mixed": (
            [{0, 2}, SETS[1], [-1], 4, np.int64(2), (3, 1), SETS[6], np.array([1]), torch.tensor([2]), torch.tensor(3)],
            how,
        ),
    }
    for name, (labels, arguments) in given.items():
        with open_loader(paths, labels=labels, **arguments) as loader:
            (batch,) = loader
            assert loader.classes == (tuple(names) if name == "names" else None), name
        check(batch)
    alphabetical = open_loader(paths, labels=["b", ["c", "a"], *"abcabcab"], train=False)
    assert (alphabetical.classes, alphabetical.plan.videos.label_sets.of(1)) == (("a", "b", "c"), [(2, 1.0), (0, 1.0)])
    plain = open_loader(paths, labels=torch.tensor([1, 0] * 5), train=False)
    assert plain.plan.videos.label_sets is None


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        ([0, 6], "labels[0]: 6 must be 0 to 5, or -1 for none"),
        ([0, -2], "labels[0]: -2 must be 0 to 5"),
        ([3, 3], "labels[0]: label 3 is there twice; give each label once"),
        ({3: 1.5}, "labels[0]: label 3 has the weight 1.5"),
    ],
)
def test_labels_that_break_a_rule_are_named(ten_videos, first, problem):
    paths, _ = paths_of(ten_videos)
    with pytest.raises(UserError) as error:
        open_loader(paths, labels=[first, *[[0]] * 9], num_classes=6)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_state_is_of_these_labels_and_workers_get_none(several, ten_videos):
    with open_loader(several) as loader, open_loader(several) as again, open_loader(ten_videos) as plain:
        state, videos = loader.state_dict(), loader.plan.videos
        again.load_state_dict(state)
        with pytest.raises(UserError, match="made with other videos"):
            plain.load_state_dict(state)
    other = several.with_name("other.txt")
    other.write_text(several.read_text().replace("1:0.25", "1:0.5"))
    with open_loader(other) as loader, pytest.raises(UserError, match="made with other videos"):
        loader.load_state_dict(state)
    sent = pickle.loads(pickle.dumps(videos))
    assert (sent.label_sets, len(sent), sent.file(3)) == (None, 10, videos.file(3))


def pipe(tmp_path, kind):
    path = tmp_path / f"{kind}_pipe.py"
    head = f"import sys\nsys.path.insert(0, {str(PIPE.parent)!r})\nfrom dataclasses import replace\n"
    changes = f"RECIPE = replace(RECIPE, labels=Labels(kind={kind!r}), model=replace(RECIPE.model, num_classes=6))\n"
    path.write_text(head + "from tiny_pipe import *\nfrom c2d_fast.recipe import Labels\n" + changes)
    return path


def prepared(videos, tmp_path, kind, then):
    """Reads a run's data as the command does; returns what a function makes of them."""
    words = ["--pipe", pipe(tmp_path, kind), "--train-list", videos, "--val-list", videos, "--out", tmp_path / "run"]
    args = parse([*map(str, words), "--batch-size", "2", "--workers", "1"])
    with prepare_data(args, Group()) as data:
        return then(args, data)


def test_a_run_is_fed_what_the_list_says(several, ten_videos, tmp_path):
    def first_batches(args, data):
        options = loader_options(data.train, args, torch.device("cpu"), data.recipe, batch_size=2)
        with make_train_loader(args, data, 2, options, frozenset(), Group()) as loader:
            lines = list(BatchLog(loader, tmp_path, 0, 1).epoch(0))
        with make_val_loader(data, data.val, 4, options, Group()) as loader:
            return lines, list(loader)

    train, val = prepared(several, tmp_path, "several", first_batches)
    lines = list(map(json.loads, (tmp_path / "batches-rank0.jsonl").read_text().splitlines()))
    assert (len(train), len(val)) == (5, 3)
    for batch, line in zip(train, lines, strict=True):
        check(batch)
        rows = [int(video.split(":")[1]) - 1 for video in line["videos"]]
        assert line["targets"] == hashlib.sha256(ALL[rows].numpy().tobytes()).hexdigest()
    for batch in val:
        check(batch)
    # Of one label each, too, where the recipe is of several: they are targets all the same.
    train, _ = prepared(ten_videos, tmp_path, "several", first_batches)
    assert all(torch.equal(batch.targets, torch.nn.functional.one_hot(batch.label, 6).float()) for batch in train)
    train, _ = prepared(ten_videos, tmp_path, "single", first_batches)
    assert all(batch.targets is None for batch in train)
    assert "targets" not in json.loads((tmp_path / "batches-rank0.jsonl").read_text().splitlines()[-1])


def test_a_recipe_of_single_labels_refuses_the_list(several, tmp_path):
    with pytest.raises(UserError, match=r"several.txt:1: .* has the labels 0,2 .*--set labels.kind=several") as error:
        prepared(several, tmp_path, "single", lambda *_: None)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"several.txt:3: .* has no label"):
        prepared(several, tmp_path, "soft", lambda *_: None)
