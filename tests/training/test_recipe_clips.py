"""What recipes ask of the training loader: whole runs of real processes, interrupted and resumed, and one-line refusals."""

import dataclasses
import json
import multiprocessing
from collections import Counter

import pytest
import torch
from changed_pipe import changed_pipe
from media import make_dataset
from runs import PIPE, batches, flags, last, metrics, one_line, run, same_weights, train

from c2d_fast import ClipLoader
from c2d_fast.errors import UserError
from c2d_fast.loading.batch import Batch
from c2d_fast.loading.shape_schedule import ShapeSchedule, Stage, stages_of
from c2d_fast.recipe import Clip, Crop, load_pipe
from c2d_fast.training import batch_finder
from c2d_fast.training.batch_norm import check_batch_size

TINY = load_pipe(PIPE).recipe
AUGMENT = 'Augment(policy="randaugment", color=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, erase=0.25)'
GRID = "epochs=4, milestones=(3,), grid=((1, 2, 24), (2, 4, 20))"


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Eight videos, two of them of class 1."""
    path = make_dataset(tmp_path_factory.mktemp("uneven"), count=8, num_frames=(20, 31))
    lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{line} {int(number in (2, 5))}\n" for number, line in enumerate(lines)))
    return path


CASES = {
    "several clips": ({"training": "clips_per_video=2"}, 2, 3, {"batch_size": 4}),
    "augment": ({"augment": AUGMENT}, 2, 3, {}),
    "balance": ({"labels": "Labels(balance=True)"}, 2, 5, {}),
    "grid": ({"training": GRID}, 4, 6, {}),
}
CASES["all"] = ({name: text for parts, *_ in CASES.values() for name, text in parts.items()}, 4, 6, {"batch_size": 4})
CASES["all"][0]["training"] = f"clips_per_video=2, {GRID}"


@pytest.mark.parametrize(
    "name", [name if name in ("grid", "several clips") else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_run_goes_on_exactly(uneven, tmp_path, monkeypatch, name):
    parts, epochs, stop_after, more = CASES[name]
    pipe = changed_pipe(tmp_path / "pipe.py", **parts)
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = run(*flags(uneven, whole, "--pipe", pipe, epochs=epochs, **more))
    assert done.returncode == 0, done.stderr
    words = flags(uneven, out, "--pipe", pipe, "--resume", "auto", epochs=epochs, **more)
    assert train(*words, stop_after=stop_after, monkeypatch=monkeypatch) == 143
    assert run(*words).returncode == 0
    assert same_weights(last(out), last(whole))
    assert batches(out) == batches(whole)
    assert metrics(out) == metrics(whole)
    fed = batches(whole)
    assert len(fed) == 4 * epochs, "eight videos, two in each step, one or more clips of each"
    if name == "several clips":
        assert all(len(videos) == 4 and videos[::2] == videos[1::2] for videos, _ in fed.values())
    if name == "balance":
        counts = Counter(video.split(":")[1] for (epoch, *_), (videos, _) in fed.items() if epoch == 1 for video in videos)
        assert counts["3"] == counts["6"] == 2, "lines of class 1"
        assert sum(counts.values()) == 8


def test_the_first_of_several_clips_are_those_of_a_plain_run(uneven, tmp_path):
    found = {}
    for clips in (1, 2):
        pipe = changed_pipe(tmp_path / f"{clips}.py", training=f"clips_per_video={clips}")
        done = run(*flags(uneven, tmp_path / str(clips), "--pipe", pipe, epochs=1, batch_size=2 * clips))
        assert done.returncode == 0, done.stderr
        found[clips] = [videos[::clips] for videos, _ in batches(tmp_path / str(clips)).values()]
        config = json.loads((tmp_path / str(clips) / "config.json").read_text())
        assert config["used"]["global_batch"] == 2 * clips
        assert last(tmp_path / str(clips))["progress"]["step"] == 4
    assert found[1] == found[2]


def test_augmentation_is_of_training_only(uneven, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("c2d_fast.commands.run_loaders.make_transform", lambda augment: lambda clips: seen.append(1) or clips)
    assert train(*flags(uneven, tmp_path / "run", epochs=1), monkeypatch=monkeypatch) == 0
    assert len(seen) == 4, "a batch each; the validation's are left as they are"


def test_a_run_augments_by_the_recipe(uneven, tmp_path):
    pipe = changed_pipe(tmp_path / "pipe.py", augment="Augment(grayscale=1.0)")
    for name, words in {"plain": (), "grey": ("--pipe", pipe)}.items():
        assert run(*flags(uneven, tmp_path / name, *words, epochs=1)).returncode == 0
    plain, grey = batches(tmp_path / "plain"), batches(tmp_path / "grey")
    assert [videos for videos, _ in plain.values()] == [videos for videos, _ in grey.values()]
    assert not {sha256 for _, sha256 in plain.values()} & {sha256 for _, sha256 in grey.values()}


def test_several_ranks_share_a_balanced_order(uneven, tmp_path):
    pipe = changed_pipe(tmp_path / "pipe.py", labels="Labels(balance=True)")
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(*flags(uneven, one, "--pipe", pipe, batch_size=4, epochs=1)).returncode == 0
    done = run(*flags(uneven, two, "--pipe", pipe, batch_size=2, epochs=1), ranks=2)
    assert done.returncode == 0, done.stderr
    ranks = [batches(two, rank) for rank in range(2)]
    assert {place: ranks[0][place][0] + ranks[1][place][0] for place in ranks[0]} == {
        place: videos for place, (videos, _) in batches(one).items()
    }


def test_a_batch_of_no_whole_videos_is_refused(uneven, tmp_path):
    pipe = changed_pipe(tmp_path / "pipe.py", training="clips_per_video=4")
    done = run(*flags(uneven, tmp_path / "run", "--pipe", pipe, batch_size=6))
    one_line(done, 2, "--batch-size 6: must be a multiple of 4", "training.clips_per_video", "give --batch-size 8")


def test_an_automatic_batch_has_whole_videos(monkeypatch):
    def measured(recipe, device, precision, size):
        return batch_finder.Trial(size, float(min(size, 12)), 0.0)

    monkeypatch.setattr(batch_finder, "_measure", measured)
    training = dataclasses.replace(TINY.training, clips_per_video=3, clips_per_gpu=1000)
    recipe = dataclasses.replace(TINY, training=training)
    size, line = batch_finder.find_batch_size(recipe, torch.device("cpu"), batch_finder.Precision("fp32"), 5)
    assert size == 12
    assert "3: 3.0, 6: 6.0, 12: 12.0;" in line


def of_grid(**changes):
    return dataclasses.replace(TINY, training=dataclasses.replace(TINY.training, **changes))


def test_a_stage_spans_the_recipe_s_time_and_scales_its_frame():
    recipe = dataclasses.replace(
        TINY,
        clip=Clip(num_frames=8, interval=8),
        crop=Crop(short_sides=(256, 320)),
        training=dataclasses.replace(TINY.training, epochs=9, grid=((1, 4, 112), (2, 8, 160), (1, 6, 224))),
    )
    first, second, third, own = stages_of(recipe)
    assert (first.clip.num_frames, first.clip.interval) == (4, 16)
    assert (first.crop.size, first.crop.train_short_side, first.crop.short_sides) == (112, 128, (128, 160))
    assert (second.clip, second.crop.train_short_side) == (recipe.clip, 183)
    assert (third.clip.num_frames, third.clip.interval, third.crop) == (6, 11, recipe.crop)
    assert (own.clip, own.crop) == (recipe.clip, recipe.crop)
    uniform = dataclasses.replace(recipe, clip=Clip(num_frames=8, sampling="uniform"))
    assert [stage.clip.num_frames for stage in stages_of(uniform)] == [4, 8, 6, 8]
    assert {stage.clip.interval for stage in stages_of(uniform)} == {1}


def test_shapes_that_no_model_takes_are_refused():
    with pytest.raises(ValueError, match=r"training grid \(\(1, 1, 32\)\) must have 2 frames and 5 pixels at least"):
        of_grid(epochs=3, grid=((1, 1, 32),))
    with pytest.raises(ValueError, match=r"training grid \(\(1, 2, 4\)\) must have 2 frames and 5 pixels at least"):
        of_grid(epochs=3, grid=((1, 2, 4),))
    crop = dataclasses.replace(TINY.crop, size=64)
    recipe = dataclasses.replace(of_grid(epochs=3, grid=((1, 2, 20),)), crop=crop)
    with pytest.raises(UserError, match="--batch-size 1: 2 frames of 20 pixels leave the last layer one value"):
        check_batch_size(recipe, 1)
    assert check_batch_size(recipe, 2) == 2


def test_a_stage_whose_frames_leave_a_non_local_block_nothing_is_refused(uneven, tmp_path):
    parts = {"model": "nonlocal_after=((3, 0),)", "crop": "size=64, train_short_side=64", "training": "grid=((1, 2, 16),)"}
    pipe = changed_pipe(tmp_path / "pipe.py", **parts)
    done = run(*flags(uneven, tmp_path / "run", "--pipe", pipe))
    one_line(done, 2, "training.grid (1, 2, 16): the model does not take 2 frames of 16 pixels", "give larger ones")


def test_real_loaders_of_stages_give_the_same_videos_in_their_shapes(uneven):
    recipe = of_grid(epochs=5, grid=((1, 2, 24), (2, 4, 20)))
    how = {"batch_size": 2, "seed": 3, "workers": 1, "verbose": False, "balance": True}

    def open_loader(stage):
        return ClipLoader(uneven, clip=stage.clip, crop=stage.crop, **how)

    schedule, plain = ShapeSchedule(stages_of(recipe), open_loader), open_loader(stages_of(recipe)[-1])
    before = {*multiprocessing.active_children()}
    schedule.start()
    try:
        for epoch, shape in enumerate([(2, 24), (4, 20), (4, 20), (2, 32)]):
            found = [(batch.clip.shape, batch.index.tolist(), batch.label.tolist()) for batch in schedule.epoch(epoch)]
            assert len({*multiprocessing.active_children()} - before) == 1, "of one stage alone"
            assert {tuple(given) for given, *_ in found} == {(2, shape[0], shape[1], shape[1], 3)}
            expected = [plain.plan.index(4 * epoch + step, slot) for step in range(4) for slot in range(2)]
            assert [index for _, indices, _ in found for index in indices] == expected
    finally:
        schedule.close()
        plain.close()


def test_more_shapes_than_are_compiled_are_refused(uneven, tmp_path):
    pipe = changed_pipe(tmp_path / "pipe.py", training="epochs=9, grid=tuple((1, 2, size) for size in range(21, 28))")
    done = run(*flags(uneven, tmp_path / "run", "--pipe", pipe, epochs=9))
    one_line(done, 2, "training.grid: has 8 shapes with the recipe's own", "give 7 at most")


class Loader:
    """Stands for a ClipLoader; tells what is done to it."""

    def __init__(self, name, told):
        self.number, self.told, self.known = name, told, frozenset()
        self.steps_per_epoch, self.clips_per_step = 3, 4

    def start(self, epoch, first_step):
        self.told.append((self.number, "start", epoch, first_step))

    def epoch(self, epoch, first_step):
        self.told.append((self.number, "epoch", epoch, first_step))
        yield Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1), torch.zeros(1))

    def close(self):
        self.told.append((self.number, "close"))

    def exclude(self, indices):
        self.known |= indices

    def quarantined(self):
        return self.known


def test_one_stage_is_read_at_a_time_and_broken_videos_stay_known():
    told, loaders = [], []

    def open_loader(stage):
        loaders.append(Loader(len(loaders), told))
        return loaders[-1]

    clip, crop = Clip(num_frames=2), Crop()
    schedule = ShapeSchedule([Stage(2, clip, crop), Stage(1, clip, crop), Stage(0, clip, crop)], open_loader)
    schedule.exclude(frozenset({7}))
    schedule.start(1, 3)  # the end of epoch 1 is the beginning of epoch 2
    assert told == [(0, "close"), (1, "start", 2, 0)]
    loaders[1].known |= {9}  # found while it was read
    told.clear()
    for epoch in (2, 3, 4):
        assert len(list(schedule.epoch(epoch))) == 1
    assert told == [(1, "epoch", 2, 0), (1, "close"), (2, "epoch", 3, 0), (2, "epoch", 4, 0)]
    assert schedule.quarantined() == loaders[2].known == {7, 9}


def test_a_compiled_model_is_compiled_once_for_each_shape():
    from torch._dynamo.testing import CompileCounter

    from c2d_fast.model.c2d import C2D

    counter = CompileCounter()
    torch._dynamo.reset()
    model = torch.compile(C2D(TINY.model).eval(), dynamic=False, backend=counter)
    stages = stages_of(of_grid(epochs=9, grid=((1, 2, 24), (1, 4, 20))))
    with torch.no_grad():
        for _ in range(2):
            for number, stage in enumerate(stages, start=1):
                shape = (2, stage.clip.num_frames, stage.crop.size, stage.crop.size, 3)
                for _ in range(2):
                    model(torch.zeros(shape, dtype=torch.uint8))
                assert counter.frame_count >= number
    assert counter.frame_count == len(stages) == 3
