"""Runs that are interrupted and resumed end as if they had not been: whole commands, real videos, real signals."""

import os
import signal

import pytest
from media import make_dataset
from runs import batches, flags, last, metrics, same_weights, train

from c2d_fast.commands.resume import note_changes
from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.recipe import load_pipe

CODECS = {"ffmpeg": "h264", "dali": "vp9"}


@pytest.fixture(scope="module", params=["ffmpeg", pytest.param("dali", marks=pytest.mark.slow)])
def decoder(request):
    return request.param


@pytest.fixture(scope="module")
def data(decoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"data {decoder}")
    return make_dataset(folder, CODECS[decoder], count=8, num_frames=(20, 31), sizes=((160, 96), (96, 160)))


@pytest.fixture(scope="module")
def whole(decoder, data, tmp_path_factory):
    """The folder of a run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert train(*flags(data, out, "--decoder", decoder), monkeypatch=patch) == 0
    return out


@pytest.mark.parametrize("first", [1, 2, 4, 5], ids=["first step", "middle", "last step", "next epoch"])
def test_interrupted_twice_in_a_row_a_run_ends_as_if_it_had_not_been(decoder, data, whole, tmp_path, monkeypatch, first):
    out = tmp_path / "run"
    words = [*flags(data, out, "--decoder", decoder), "--resume", "auto"]
    for steps, number in ((first, signal.SIGTERM), (1, signal.SIGUSR1)):
        assert train(*words, stop_after=steps, number=number, monkeypatch=monkeypatch) == 128 + number
    assert last(out)["progress"]["step"] == first + 1
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert same_weights(last(out), last(whole))
    assert same_weights(last(out, "best.pt"), last(whole, "best.pt"))
    assert batches(out) == batches(whole)
    assert len(batches(out)) == 8
    assert metrics(out) == metrics(whole)


def test_from_each_of_the_kept_checkpoints_it_goes_on_the_same_way(decoder, data, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    words = flags(data, out, "--decoder", decoder, "--checkpoint-steps", 1, "--keep", 3)
    assert train(*words, stop_after=6, monkeypatch=monkeypatch) == 143
    kept = sorted(path.name for path in out.glob("*.pt"))
    assert kept == ["best.pt", "last.pt", "step-00000004.pt", "step-00000005.pt", "step-00000006.pt"]
    assert train(*words, "--resume", out / "step-00000004.pt", monkeypatch=monkeypatch) == 0
    assert same_weights(last(out), last(whole))
    assert batches(out) == batches(whole)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(decoder, data, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    words = [*flags(data, out, "--decoder", decoder, "--checkpoint-steps", 1), "--resume", "auto"]
    assert train(*words, stop_after=3, monkeypatch=monkeypatch) == 143
    content = bytearray((out / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1  # one bit, which torch.load does not notice
    (out / "last.pt").write_bytes(content)
    capsys.readouterr()
    assert train(*words, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "is damaged" in told
    assert f"resuming from {out / 'step-00000002.pt'}, after epoch 0, step 2" in told
    assert same_weights(last(out), last(whole))
    for path in out.glob("*.pt"):
        os.truncate(path, 1000)
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole: .*last.pt: is damaged"):
        train(*words, monkeypatch=monkeypatch)


def test_what_a_checkpoint_says_of_its_run(whole, decoder):
    content = last(whole)
    assert content["pipe_file"]["text"].startswith('"""The demo\'s recipe, smaller still')
    assert len(content["pipe_file"]["sha256"]) == len(content["videos"]) == 64
    assert content["versions"]["torch"]
    assert [len(item["sha256"]) for item in content["lists"]] == [64, 64]
    assert (content["used"]["global_batch"], content["used"]["decoder"], content["seed"]) == (2, decoder, 0)
    assert content["format"] == checkpoint.FORMAT


@pytest.mark.parametrize("is_older", [True, False])
def test_a_run_from_before_training_crops_had_two_steps_is_told_so_in_one_line(whole, capsys, is_older):
    content = last(whole)
    identity = {**content, "recipe": load_pipe("tests/tiny_pipe.py").recipe.with_num_classes(2).as_dict()}
    if is_older:
        content["recipe"]["crop"].pop("scale_before_crop")
    note_changes(content, identity)
    told = capsys.readouterr().out
    line = "note: its recipe had crop {'scale_before_crop': False}, and goes on with {'scale_before_crop': True}\n"
    assert told == (line if is_older else "")


def test_what_differs_from_the_run_before_is_said(data, decoder, whole, tmp_path, monkeypatch, capsys):
    words = flags(data, tmp_path / "other", "--decoder", decoder, "--seed", 5, "--resume", whole, batch_size=4, epochs=3)
    assert train(*words, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "note: it was trained with --seed 0, and goes on with 5" in told
    assert "note: it was trained with global batch 2, and goes on with 4" in told
