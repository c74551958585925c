import dataclasses

import torch

from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Augment, load_pipe
from c2d_fast.training import batch_finder
from c2d_fast.training.batch_finder import Trial, find_batch_size

RECIPE = load_pipe("dali_pipes/demo.py").recipe
CPU = torch.device("cpu")


def find(monkeypatch, rates, memory=lambda size: 0.0, device=CPU, most=1000, clips_per_gpu=1000, recipe=RECIPE, clips=1):
    def measured(recipe, device, precision, size):
        if size not in rates:
            raise torch.OutOfMemoryError("no more")
        return Trial(size, rates[size], memory(size))

    monkeypatch.setattr(batch_finder, "_measure", measured)
    training = dataclasses.replace(RECIPE.training, clips_per_gpu=clips_per_gpu, clips_per_video=clips)
    return find_batch_size(dataclasses.replace(recipe, training=training), device, Precision("fp32"), most)


def test_the_smallest_batch_that_is_nearly_the_fastest_is_taken(monkeypatch):
    rates = {1: 10.0, 2: 19.0, 4: 30.0, 8: 39.0, 16: 40.0, 32: 40.1}
    size, line = find(monkeypatch, rates)
    assert size == 8
    assert "16: 40.0" in line
    assert line.endswith("taken: 8")


def test_a_batch_that_does_not_fit_ends_the_search(monkeypatch):
    assert find(monkeypatch, {1: 10.0, 2: 20.0})[0] == 2
    assert find(monkeypatch, {})[0] == 1


def test_a_batch_that_is_mixed_has_two_videos_at_least(monkeypatch):
    mixes = dataclasses.replace(RECIPE, augment=Augment(mixup=0.2))
    rates = {1: 100.0, 2: 20.0, 4: 20.0, 8: 20.0}
    assert find(monkeypatch, rates)[0] == 1
    assert find(monkeypatch, rates, recipe=mixes)[0] == 2
    assert find(monkeypatch, rates, recipe=mixes, clips=2)[0] == 4
    assert find(monkeypatch, rates, recipe=mixes, clips_per_gpu=1)[0] == 2
    size, line = find(monkeypatch, {}, recipe=mixes, clips=2)
    assert (size, line) == (4, "batch size auto: not even 4 clips fit; taken: 4")


def test_no_batch_is_tried_that_would_fill_the_memory_or_have_more_clips_than_there_are(monkeypatch):
    rates = {2**i: 10.0 * 2**i for i in range(12)}
    assert find(monkeypatch, rates, memory=lambda size: size / 100)[0] == 64
    assert find(monkeypatch, rates, most=20)[0] == 16
    assert find(monkeypatch, rates, clips_per_gpu=8)[0] == 8


def test_it_really_trains_and_leaves_the_run_s_draws_alone():
    recipe = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, clips_per_gpu=4))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    size, line = find_batch_size(recipe, CPU, Precision("fp32"), 100)
    assert size in (1, 2, 4)
    assert "clips/s by batch size 1: " in line
    assert torch.equal(torch.rand(2), expected)


def test_the_command_takes_auto_and_a_resumed_run_keeps_its_batch(tmp_path, run_command):
    import tiny_pipe
    from media import make_dataset

    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    args = ["--pipe", tiny_pipe.__file__, "--train-list", data, "--num-classes", 2, "--out", tmp_path / "run"]
    first = run_command("train", *args, "--batch-size", "auto", "--epochs", 1)
    assert first.returncode == 0, first.stderr
    taken = next(line for line in first.stdout.splitlines() if line.startswith("batch size auto")).rsplit(" ", 1)[1]
    again = run_command("train", *args, "--batch-size", "auto", "--epochs", 2, "--resume", "auto")
    assert again.returncode == 0, again.stderr
    assert f"batch size auto: {taken}, as the run had it before" in again.stdout
    wrong = run_command("train", *args, "--batch-size", "most")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
