"""A recipe of uniform sampling (TSN) in every command: real processes, real files."""

import json

import numpy as np
import pytest
from changed_pipe import changed_pipe
from media import decode_all, make_dataset
from runs import flags, last, run

FRAMES = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("videos"), count=4, num_frames=(40, 31), sizes=((160, 96),))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    parts = {"clip": f'Clip(num_frames={FRAMES}, sampling="uniform")', "crop": 'size=96, train_short_side=96, kind="centre"'}
    return changed_pipe(tmp_path_factory.mktemp("pipe") / "pipe.py", **parts)


@pytest.fixture(scope="module")
def trained(videos, pipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    done = run(*flags(videos, out, "--pipe", pipe, epochs=1))
    assert done.returncode == 0, done.stderr
    return out


def test_train_test_and_predict_agree(videos, pipe, trained, tmp_path, run_command):
    recorded = last(trained)["recipe"]["clip"]
    assert (recorded["sampling"], recorded["interval"]) == ("uniform", 1)
    words = ["--pipe", pipe, "--checkpoint", trained / "best.pt"]
    for views in ("1x1", "10x3"):
        dump = tmp_path / f"{views}.json"
        done = run_command("test", *words, "--list", videos, "--views", views, "--dump", dump)
        assert done.returncode == 0, done.stderr
        done = run_command("predict", *words, videos.parent, "--views", views, "--json", "--top", 2)
        assert done.returncode == 0, done.stderr
        assert "another clip" not in done.stdout + done.stderr
        predicted = {entry["path"].rsplit("/", 1)[1]: entry["predictions"] for entry in json.loads(done.stdout)}
        scores = {row["path"].rsplit("/", 1)[-1]: row["scores"] for row in json.loads(dump.read_text())}
        assert predicted.keys() == scores.keys()
        for path, best in predicted.items():
            ours = {one["label"]: one["probability"] for one in best}
            assert [ours[label] for label in range(2)] == pytest.approx(scores[path], abs=1e-5)


def test_the_frames_that_browse_shows_are_those_of_the_parts(videos, pipe, tmp_path, run_command):
    for split in ("train", "val"):
        done = run_command("browse", "--pipe", pipe, "--list", videos, "--split", split, "--npz", tmp_path / f"{split}.npz")
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / f"{split}.npz") as file:
            clips, paths, rows = file["clips"], file["path"].tolist(), file["index"].tolist()
        assert clips.shape == (4, FRAMES, 96, 96, 3)
        for path, row, clip in zip(paths, rows, clips.astype(int), strict=True):
            frames = decode_all(videos.parent / path)[:, :, 32:128].astype(int)
            seen = np.stack([frames, frames[:, :, ::-1]])  # as they are, and mirrored
            found = [int(np.abs(seen - image).mean((2, 3, 4)).min(0).argmin()) for image in clip]
            count, parts = len(frames), np.arange(FRAMES)
            drawn = parts * (count // FRAMES) + np.random.default_rng([0, 0, row]).integers(count // FRAMES, size=FRAMES)
            expected = drawn if split == "train" else ((parts + 0.5) * count / FRAMES).astype(int)
            assert [number // 2 for number in found] == (expected // 2).tolist()  # a crop does not show the last bit


def test_browse_says_which_frames_they_are(videos, pipe):
    from c2d_fast.commands.run_browse import _lines
    from c2d_fast.lists.listing import read_list
    from c2d_fast.loading.frame_sampling import Multi
    from c2d_fast.loading.plan import EvalPlan, TrainPlan
    from c2d_fast.manifest.manifest import read_manifest
    from c2d_fast.recipe import load_pipe

    recipe, listing = load_pipe(pipe).recipe, read_list(videos, None, 2)
    found = read_manifest(listing, allow_missing=False, jobs=1).videos()
    facts = {"planned": 0, "view": 0, "label": 0, "path": "a.mp4"}
    train = TrainPlan(videos=found, clip=recipe.clip, crop=recipe.crop, seed=0, batch_size=1)
    frames = train.draw(0, 0).frames
    text = _lines(train, facts, listing, 0)[2][0]
    assert text == f"4 frames, {frames[0]} to {frames[-1]}"
    evaluated = EvalPlan(videos=found, clip=Multi(1, recipe.clip), crop=recipe.crop, batch_size=1)
    assert _lines(evaluated, facts, listing, 0)[2][0] == "centre, 4 frames, 5 to 35"


def test_info_and_export_know_it(videos, pipe, trained, tmp_path, run_command):
    manifest = tmp_path / "videos.npz"
    assert run_command("prepare", "scan", "--list", videos, "--out", manifest, "--packets").returncode == 0
    done = run_command("info", "--pipe", pipe, "--list", manifest, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["recipe"]["clip"] == {"num_frames": FRAMES, "interval": 1, "sampling": "uniform"}
    assert 0 < facts["list"]["bytes_per_clip"] <= facts["list"]["bytes_per_video"]
    out = tmp_path / "model.safetensors"
    done = run_command("export", "--pipe", pipe, "--checkpoint", trained / "best.pt", "--out", out)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "model.safetensors.card.json").read_text())
    assert card["recipe"]["clip"]["sampling"] == "uniform"
    done = run_command("test", "--pipe", pipe, "--checkpoint", out, "--list", videos, "--views", "1x1")
    assert done.returncode == 0, done.stderr
    assert "another clip" not in done.stdout + done.stderr
