"""Batches that two decoders share, and batches that are decoded by other numbers than the model takes: the same clips."""

import dataclasses
import json
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loaders import CLIP, CROP, GRAPH_CROPS, PIPE, dataset, options
from media import WholeFrames, make_dataset, read_numbers, spoil
from runs import run

from c2d_fast.commands import dataset as chosen
from c2d_fast.commands.run_train import _decoding_before
from c2d_fast.errors import UserError
from c2d_fast.loading import decode, reading_options, sampler
from c2d_fast.loading.hybrid import Rates, measure_share
from c2d_fast.loading.loader import EvalLoader, TrainLoader
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.source import ClipSource
from c2d_fast.train import parse


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("vp9"), codec="vp9", count=7, sizes=((160, 96), (96, 160)), num_frames=(40, 25))


def how(decoder="hybrid", share=0.5, **changes):
    return dataclasses.replace(options(decoder), hybrid_share=share if decoder == "hybrid" else 0.0, **changes)


def plan_of(bad, batch_size=3, **changes):
    return TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=1, batch_size=batch_size, **changes)


def clips(bad, options, epochs=2, first=(0, 0), graph=GRAPH_CROPS, plan=None):
    """Returns the clips and videos of some epochs from a step on, one by one."""
    loader = TrainLoader(graph.train_pipe, plan or plan_of(bad), options, bad)
    batches = [b for e in range(first[0], epochs) for b in loader.epoch(e, first[1] if e == first[0] else 0)]
    return torch.cat([b.clip for b in batches]).clone(), torch.cat([b.index for b in batches]).tolist()


@pytest.fixture(scope="module")
def alone(vp9):
    """What each decoder makes of the same plan."""
    return {decoder: clips(vp9, how(decoder)) for decoder in ("dali", "ffmpeg")}


def test_each_sample_is_decoded_by_the_decoder_that_its_lot_says(vp9, alone):
    mixed, videos = clips(vp9, how(share=0.4))
    plan = plan_of(vp9)
    lots = [plan.lot(step, slot) for step in range(2 * plan.steps_per_epoch) for slot in range(plan.batch_size)]
    assert videos == alone["dali"][1] == alone["ffmpeg"][1]
    taken = {lot < 0.4 for lot in lots}
    assert taken == {True, False}
    for clip, lot, dali, ffmpeg in zip(mixed, lots, alone["dali"][0], alone["ffmpeg"][0], strict=True):
        assert torch.equal(clip, dali if lot < 0.4 else ffmpeg)
        assert not torch.equal(dali, ffmpeg)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_may_go_to_one_of_them(vp9, alone, share):
    assert torch.equal(clips(vp9, how(share=share))[0], alone["dali" if share else "ffmpeg"][0])


def test_a_lot_is_of_the_video_and_the_epoch_and_of_nothing_else(vp9):
    by_place = {}
    for size in (1, 2, 3):
        plan = plan_of(vp9, size)
        for step in range(plan.steps_per_epoch):
            for slot in range(size):
                assert by_place.setdefault(plan.index(step, slot), plan.lot(step, slot)) == plan.lot(step, slot)
    draws = [sampler.lot(seed, epoch, index) for seed in range(3) for epoch in range(10) for index in range(100)]
    assert len(set(draws)) == 3000
    assert 0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1
    assert abs(np.mean(draws) - 0.5) < 0.02


def test_frames_come_in_their_order_in_evaluation_too(vp9):
    plan = WholeFrames(videos=vp9.manifest.videos(), clip=CLIP, crop=CROP, batch_size=7)
    lots = [plan.lot(0, slot) < 0.5 for slot in range(7)]
    assert any(lots)
    assert not all(lots)
    (batch,) = EvalLoader(PIPE.eval_pipe, plan, how(), vp9, views_per_batch=7).views()
    assert read_numbers(batch.clip) == plan.planned_numbers()
    views = EvalPlan(videos=vp9.manifest.videos(), clip=CLIP, crop=CROP, batch_size=2, num_clips=10)
    loader = EvalLoader(PIPE.eval_pipe, views, how(), vp9, views_per_batch=30)
    assert torch.cat([b.index for b in loader.views()]).tolist() == [i for i in range(7) for _ in range(30)]


@pytest.mark.parametrize("decoder", ["hybrid", "dali", "ffmpeg"])
@pytest.mark.parametrize("together", [1, 2, 4, 6, 8])
def test_clips_are_the_same_however_many_are_decoded_together(vp9, decoder, together):
    expected = clips(vp9, how(decoder))
    found = clips(vp9, how(decoder, decode_batch=together))
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1]
    after = clips(vp9, how(decoder, decode_batch=together), first=(0, 1))
    assert torch.equal(after[0], expected[0][3:])


def test_a_batch_that_lies_in_one_run_is_not_copied(vp9):
    loader = TrainLoader(PIPE.train_pipe, plan_of(vp9, 2), how("dali", decode_batch=4), vp9)
    first, second = islice(loader.epoch(0), 2)
    assert second.clip.data_ptr() - first.clip.data_ptr() == first.clip.numel()


@pytest.mark.parametrize(
    ("decoder", "damage"),
    [
        ("hybrid", "gone"),
        ("dali", "spoilt"),
        *(pytest.param(*words, marks=pytest.mark.slow) for words in (("hybrid", "spoilt"), ("dali", "gone"))),
    ],
)
def test_a_video_that_breaks_is_replaced_as_if_it_had_never_been_there(tmp_path, decoder, damage):
    bad = dataset(tmp_path, codec="vp9", count=6)
    setting = how(decoder, decode_batch=5)
    victim = plan_of(bad, 2).index(1, 1)
    expected = clips(bad, setting, plan=plan_of(bad, 2, quarantined=frozenset({victim})), epochs=1)
    file = bad.manifest.listing.file(victim)
    file.unlink() if damage == "gone" else spoil(file)
    found = clips(bad, setting, plan=plan_of(bad, 2), epochs=1)
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1]
    assert len(bad.found) == 1


def test_the_share_follows_the_rates(vp9, monkeypatch):
    setting = how()
    for seconds, least, most in ((1e-9, 0.95, 0.95), (1e9, 0.05, 0.05)):
        monkeypatch.setattr("c2d_fast.loading.hybrid.time_files", lambda *args, s=seconds, **kwargs: s)
        assert least <= measure_share(vp9.manifest.videos(), CLIP, CROP, setting).of_dali <= most
    monkeypatch.undo()
    measured = measure_share(vp9.manifest.videos(), CLIP, CROP, setting)
    assert 0.05 <= measured.of_dali <= 0.95
    assert measured.line.startswith("hybrid: dali ")
    assert f"--hybrid-share {measured.of_dali:g}" in measured.line


def test_no_share_is_measured_of_videos_that_are_gone(tmp_path):
    bad = dataset(tmp_path, codec="vp9", count=2)
    videos = bad.manifest.videos()
    for i in range(2):
        bad.manifest.listing.file(i).unlink()
    with pytest.raises(UserError, match="no video of the list that was tried is decoded by dali"):
        measure_share(videos, CLIP, CROP, how())


@pytest.mark.parametrize(
    ("nvdec", "ffmpeg", "training", "scoring"),
    [
        (44.5, 129.7, "hybrid", "ffmpeg"),  # as downloaded on an H100 with 16 CPUs
        (900, 1000, "hybrid", "ffmpeg"),
        (1000, 900, "hybrid", "nvdec"),
        (10, 900, "ffmpeg", "ffmpeg"),
        (900, 10, "nvdec", "nvdec"),
        (0, 900, "ffmpeg", "ffmpeg"),  # NVDEC decodes none of those tried
        (0, 0, "ffmpeg", "ffmpeg"),
    ],
)
def test_auto_goes_by_the_rates(tmp_path, monkeypatch, capsys, nvdec, ffmpeg, training, scoring):
    bad = dataset(tmp_path, codec="h264", count=2)
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    monkeypatch.setattr(reading_options, "check_decoder", lambda *args, **kwargs: "")
    monkeypatch.setattr(chosen, "measure_rates", lambda *args: Rates("nvdec", nvdec, args[3].workers, ffmpeg))

    def decoder(*flags, **more):
        args = parse(["--pipe", "x", "--workers", "3", "--cache", str(tmp_path / "cache"), *flags])
        return chosen.loader_options(bad, args, torch.device("cuda", 0), PIPE.recipe, batch_size=8, **more)

    both, one = decoder(measures="shared"), decoder(measures="faster")
    assert (both.decoder, one.decoder) == (training, scoring)
    said = capsys.readouterr().out
    assert f"nvdec {nvdec:.0f} clips/s, 3 FFmpeg workers {ffmpeg:.0f}" in said
    assert said.count("note: --cache") == 2, "once for each list, whatever is tried"
    assert both.hybrid_share == (pytest.approx(nvdec / (nvdec + ffmpeg), abs=0.006) if training == "hybrid" else 0)
    # What is measured would be another run's choice: these know theirs.
    assert decoder("--deterministic", measures="shared").decoder == "nvdec"
    again = decoder(measures="shared", before=chosen.Decoding("hybrid", 0.4))
    assert (again.decoder, again.hybrid_share) == ("hybrid", 0.4)
    assert decoder(measures="shared", before=chosen.Decoding("nvdec", 0.0)).decoder == "nvdec"
    assert decoder("--decoder", "nvdec", measures="shared").decoder == "nvdec"
    assert decoder().decoder == "nvdec"


@pytest.mark.parametrize(
    ("used", "known"),
    [
        ({"decoder": "hybrid", "hybrid_share": 0.4}, ("hybrid", 0.4)),
        ({"decoder": "hybrid"}, ("", 0)),  # older; measured anew
        ({"decoder": "hybrid", "hybrid_share": 7}, ("", 0)),
        ({"decoder": "hybrid", "hybrid_share": "much"}, ("", 0)),
        ({"decoder": "nvdec", "hybrid_share": 0.0}, ("nvdec", 0)),
        ({"decoder": "dali"}, ("", 0)),  # asked for then: auto has not checked whether it decodes these
        ({"decoder": ["nvdec"]}, ("", 0)),
        ({}, ("", 0)),
        ("nonsense", ("", 0)),
        (None, ("", 0)),
    ],
)
def test_what_a_checkpoint_says_of_decoding_is_taken_where_auto_may_have_chosen_it(used, known):
    data = SimpleNamespace(resumed={"used": used})
    assert _decoding_before(data, "") == known
    of_validation = {f"val_{name}": value for name, value in used.items()} if isinstance(used, dict) else used
    assert _decoding_before(SimpleNamespace(resumed={"used": of_validation}), "val_") == known


def test_a_run_of_both_goes_on_exactly(tmp_path):
    """The share that was measured is the run's: it is kept in the checkpoint."""
    data = make_dataset(tmp_path / "data", codec="vp9", count=6, num_frames=(24,))
    common = ["--pipe", "tests/tiny_pipe.py", "--train-list", data, "--val-list", data, "--batch-size", 2, "--workers", 2]
    common += ["--decoder", "hybrid", "--decode-batch", 3]
    whole = run(*common, "--epochs", 2, "--hybrid-share", 0.5, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    half = run(*common, "--epochs", 1, "--hybrid-share", 0.5, "--out", tmp_path / "half")
    assert half.returncode == 0, half.stderr
    rest = run(*common, "--epochs", 2, "--out", tmp_path / "half", "--resume", "auto")
    assert rest.returncode == 0, rest.stderr
    assert "takes" not in rest.stdout, "nothing is measured anew"
    assert "goes on with" not in rest.stdout
    contents = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "half")]
    assert all(torch.equal(value, contents[1]["model"][key]) for key, value in contents[0]["model"].items())
    used = json.loads((tmp_path / "whole" / "config.json").read_text())["used"]
    assert (used["decoder"], used["hybrid_share"], used["decode_batch"]) == ("hybrid", 0.5, 3)


def test_what_has_no_effect_is_refused(tmp_path, run_command, eight_videos):
    common = ["train", "--pipe", "tests/tiny_pipe.py", "--train-list", eight_videos, "--out", tmp_path / "run"]
    common += ["--batch-size", 2]
    done = run_command(*common, "--hybrid-share", 0.5)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --hybrid-share 0.5: is of --decoder hybrid, not auto; leave it out"
    done = run_command(*common, "--decoder", "hybrid")
    assert done.returncode == 2
    assert "--decoder hybrid: without a CUDA GPU" in done.stderr
    assert "is h264; DALI's CPU decoder has VP8, VP9 and MJPEG only" in done.stderr


def test_a_graph_with_conditionals_of_its_own_may_be_shared_too(vp9):
    from nvidia.dali import fn, pipeline_def

    from c2d_fast.loading.decode import read_clips

    @pipeline_def(enable_conditionals=True)
    def graph(source):
        clip, _, _, flip, index, problem = read_clips(source)
        if flip == 1:
            clip = fn.flip(clip)
        clip = fn.resize(clip, size=[8, 8])
        return clip, index, problem

    class Pipe:
        train_pipe = staticmethod(graph)

    found = clips(vp9, how(), graph=Pipe, epochs=1)
    assert found[0].shape == (6, CLIP.num_frames, 8, 8, 3)


def test_a_sample_is_a_file_or_images(vp9):
    plan = plan_of(vp9)
    source = ClipSource(plan=plan, decoder="hybrid", device="cpu", decoder_threads=1, hybrid_share=0.5, clear_cropping=True)
    kinds = {}
    for step in range(plan.steps_per_epoch):
        for slot in range(plan.batch_size):

            class Info:
                iteration, idx_in_batch = step, slot

            file, frames, shown, images, is_file, *_ = source(Info())
            assert bool(is_file) == (plan.lot(step, slot) < 0.5)
            kinds[bool(is_file)] = (len(file) > 1, len(frames), images.shape[0], images.dtype)
            assert shown.tolist() == [plan.videos.height[plan.index(step, slot)], plan.videos.width[plan.index(step, slot)]]
    assert kinds[True] == (True, CLIP.num_frames, 1, np.uint8)
    assert kinds[False] == (False, 1, CLIP.num_frames, np.uint8)
