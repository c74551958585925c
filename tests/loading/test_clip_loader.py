"""ClipLoader as a user has it: what it takes, and what it gives."""

import hashlib
import itertools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_loaders import SMALL, digests, paths_of
from media import make_dataset, read_number

from c2d_fast import Clip, ClipLoader, Crop, Dense
from c2d_fast.errors import UserError
from c2d_fast.loading import sampler
from c2d_fast.loading.pipelines import LoaderOptions

WHOLE = Crop(size=96, train_short_side=96, test_short_side=96, kind="centre", flip=0)


def test_what_a_batch_holds(ten_videos):
    paths, labels = paths_of(ten_videos)
    with ClipLoader(ten_videos, clip=Clip(num_frames=4, interval=3), batch_size=4, **SMALL) as loader:
        assert len(loader) == loader.steps_per_epoch == 2
        assert (loader.num_videos, loader.clips_per_step, loader.classes) == (10, 4, None)
        batches = list(loader)
    assert len(batches) == 2
    for batch in batches:
        assert batch.clip.shape == (4, 4, 32, 32, 3)
        assert batch.clip.dtype == torch.uint8
        assert batch.clip.is_contiguous()
        assert list(batch.path) == [paths[index] for index in batch.index]
        assert batch.label.tolist() == [labels[index] for index in batch.index]
        assert batch.valid.all()
    assert len({index for batch in batches for index in batch.index.tolist()}) == 8


def test_as_ncthw_is_a_view_and_normalizes_as_torchvision(ten_videos):
    from torchvision.transforms import v2

    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        batch = next(iter(loader))
    view = batch.as_NCTHW()
    assert view.shape == (4, 3, 4, 32, 32)
    assert view.data_ptr() == batch.clip.data_ptr()
    assert view.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(view, batch.clip.permute(0, 4, 1, 2, 3))
    assert torch.equal(batch.as_NCTHW(torch.float16), view.to(torch.float16))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    expected = v2.functional.normalize(view.movedim(1, 2).float() / 255, list(mean), list(std)).movedim(1, 2)
    assert torch.allclose(batch.as_NCTHW(normalize=(mean, std)), expected, atol=1e-6)
    half = batch.as_NCTHW(torch.bfloat16, normalize=True)
    assert half.dtype == torch.bfloat16
    assert half.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.allclose(half.float(), batch.as_NCTHW(normalize=True), atol=0.01)
    assert torch.equal(batch.as_NTCHW(), view.transpose(1, 2))
    assert torch.equal(batch.as_NTCHW(normalize=True), batch.as_NCTHW(normalize=True).transpose(1, 2))


def test_what_normalizes_is_no_inference_tensor(ten_videos):
    """Whoever evaluates first may train afterwards."""
    loader = ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL)
    how = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))  # of this test alone
    with torch.inference_mode():
        next(iter(loader)).as_NCTHW(normalize=how)
    weight = torch.ones(1, requires_grad=True)
    (next(iter(loader)).as_NCTHW(normalize=how) * weight).sum().backward()
    assert weight.grad is not None


def test_paths_with_labels_by_number_and_by_name(ten_videos):
    paths, labels = paths_of(ten_videos)
    by_list = ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL)
    by_path = ClipLoader(paths, labels=labels, clip=Dense(4, 3), batch_size=4, **SMALL)
    by_name = ClipLoader(
        [Path(p) for p in paths], labels=["b c" if x else "a" for x in labels], batch_size=4, clip=Dense(4, 3), **SMALL
    )
    assert by_name.classes == ("a", "b c")
    for one, other, third in zip(by_list, by_path, by_name, strict=True):
        assert torch.equal(one.clip, other.clip)
        assert torch.equal(one.clip, third.clip)
        assert one.label.tolist() == other.label.tolist() == third.label.tolist()
        assert one.path == other.path
    below = [os.path.relpath(path, ten_videos.parent) for path in paths]
    without = ClipLoader(below, root=ten_videos.parent, clip=Dense(4, 3), batch_size=10, train=False, **SMALL)
    assert next(iter(without)).label.tolist() == [-1] * 10


def test_classes_give_names_their_numbers(ten_videos):
    paths, labels = paths_of(ten_videos)
    names, how = ["dog" if label else "cat" for label in labels], {"clip": Dense(4, 3), "batch_size": 4} | SMALL
    assert ClipLoader(paths, labels=names, **how).plan.videos.labels.tolist() == labels
    turned = ClipLoader(paths, labels=names, classes=["dog", "cat", "bird"], **how)
    assert turned.plan.videos.labels.tolist() == [1 - label for label in labels]
    assert (turned.classes, turned.num_classes) == (("dog", "cat", "bird"), 3)
    assert ClipLoader(ten_videos, classes=["a", "b"], **how).classes == ("a", "b")
    with pytest.raises(UserError, match=r"labels: class 'cat' is not among the 2 of classes"):
        ClipLoader(paths, labels=names, classes=["dog", "bird"], **how)


def test_a_manifest_and_a_folder_of_classes(tmp_path, run_command):
    listed = make_dataset(tmp_path / "videos", count=4)
    done = run_command("prepare", "scan", "--list", listed, "--out", tmp_path / "all.npz")
    assert done.returncode == 0, done.stderr
    one, other = (ClipLoader(path, clip=Dense(4, 3), batch_size=2, **SMALL) for path in (listed, tmp_path / "all.npz"))
    assert digests(one) == digests(other)
    for name in ("cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
    for number, path in enumerate(paths_of(listed)[0]):
        os.link(path, tmp_path / "classes" / ("cat", "dog")[number % 2] / f"{number}.mp4")
    loader = ClipLoader(tmp_path / "classes", clip=Dense(4, 3), batch_size=2, **SMALL)
    assert loader.classes == ("cat", "dog")
    assert {(Path(path).parent.name, label) for b in loader for path, label in zip(b.path, b.label.tolist(), strict=True)} == {
        ("cat", 0),
        ("dog", 1),
    }


def test_batches_that_are_kept_stay_as_they_are(ten_videos):
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=2, **SMALL) as loader:
        seen = []
        kept = [(batch, seen.extend(digests([batch])))[0] for batch in loader]
        list(loader)  # another epoch, in whatever memory
    assert digests(kept) == seen


def test_epochs_follow_each_other_and_set_epoch_goes_to_one(ten_videos):
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        epochs = [digests(loader) for _ in range(3)]
        assert loader.current_epoch == 3
        loader.set_epoch(1)
        assert digests(loader) == epochs[1]
        loader.set_epoch(0)
        next(iter(loader))  # an epoch that is given up begins anew
        assert digests(loader) == epochs[0]
    assert len({*map(tuple, epochs)}) == 3


def test_the_order_of_the_list(ten_videos):
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, shuffle=False, **SMALL) as loader:
        assert [batch.index.tolist() for _ in range(2) for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_last_smaller_batch_is_as_large_on_each_rank(ten_videos, world):
    seen, sizes = [], []
    for rank in range(world):
        loader = ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=3, drop_last=False, rank=rank, world_size=world, **SMALL)
        batches = list(loader)
        assert len(batches) == len(loader) == -(-10 // (3 * world))
        assert all(batch.valid.all() and len(batch.path) == len(batch.clip) for batch in batches)
        sizes.append([len(batch.clip) for batch in batches])
        seen += [index for batch in batches for index in batch.index.tolist()]
    assert all(of_rank == sizes[0] for of_rank in sizes)
    assert set(seen) == set(range(10))
    assert len(seen) < 10 + world  # so few come twice


def test_padding_keeps_the_shape(ten_videos):
    for train in (True, False):
        how = {"clip": Dense(4, 3), "batch_size": 4, "drop_last": False, "pad_last": True, "train": train} | SMALL
        with ClipLoader(ten_videos, **how) as loader:
            batches = list(loader)
        assert [len(batch.clip) for batch in batches] == [4, 4, 4]
        assert torch.cat([batch.valid for batch in batches]).tolist() == [True] * 10 + [False] * 2
        counted = torch.cat([batch.index[batch.valid] for batch in batches]).tolist()
        assert sorted(counted) == list(range(10))


def test_evaluation_shows_each_video_once_in_the_middle(ten_videos):
    with ClipLoader(ten_videos, train=False, clip=Dense(3, 2), crop=WHOLE, batch_size=4, workers=1, verbose=False) as loader:
        assert len(loader) == 3
        for _ in range(2):
            batches = list(loader)
            assert [len(batch.clip) for batch in batches] == [4, 4, 2]
            assert torch.cat([batch.index for batch in batches]).tolist() == list(range(10))
    lengths = [(40, 30, 9)[index % 3] for index in range(10)]
    clips = torch.cat([batch.clip for batch in batches])
    for clip, n in zip(clips, lengths, strict=True):
        whole = np.concatenate([np.zeros((3, 96, 32, 3), np.uint8), clip.numpy(), np.zeros((3, 96, 32, 3), np.uint8)], 2)
        assert whole.shape == (3, 96, 160, 3)
        # Of eight columns the middle four show: bits 2 to 5 of the number.
        expected = sampler.val_frames(n, 3, 2)
        assert [read_number(frame) >> 2 & 15 for frame in whole] == [number >> 2 & 15 for number in expected.tolist()]


def test_options_in_full_are_taken_as_they_are(ten_videos):
    options = LoaderOptions(device=torch.device("cpu"), decoder="ffmpeg", workers=1, decoder_threads=1, whole_files=True)
    loader = ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, options=options, **SMALL)
    assert loader.options is options
    assert digests(loader) == digests(ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL))


def test_very_many_videos_are_shared_with_the_workers(tmp_path, run_command):
    """More than a megabyte of facts, of a manifest and of a list: what is read is the same."""
    make_dataset(tmp_path, count=4)
    lines = (tmp_path / "list.txt").read_text()
    (tmp_path / "long.txt").write_text(lines * 3000)
    done = run_command("prepare", "scan", "--list", tmp_path / "long.txt", "--out", tmp_path / "long.npz")
    assert done.returncode == 0, done.stderr
    expected = {}
    with ClipLoader(tmp_path / "list.txt", clip=Dense(4, 3), batch_size=4, train=False, **SMALL) as loader:
        for batch in loader:
            expected |= dict(zip(batch.path, digests_of_rows(batch), strict=True))
    for name in ("long.txt", "long.npz"):
        with ClipLoader(tmp_path / name, clip=Dense(4, 3), batch_size=6, train=False, **SMALL) as loader:
            assert loader.num_videos == 12000
            assert b"shared" in pickle.dumps(loader.plan.videos)
            for batch in itertools.islice(loader, 2):
                assert [expected[path] for path in batch.path] == digests_of_rows(batch)


def digests_of_rows(batch):
    return [hashlib.sha256(clip.numpy().tobytes()).hexdigest() for clip in batch.clip]
