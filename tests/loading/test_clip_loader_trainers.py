"""What trainers of other libraries look for in a ClipLoader and its batches."""

from itertools import islice

import pytest
import torch
from clip_loaders import SMALL, digests, paths_of

from c2d_fast import ClipLoader, Dense
from c2d_fast.errors import UserError
from c2d_fast.loading.batch import Batch


def open_loader(videos, **kwargs):
    return ClipLoader(videos, **{"clip": Dense(4, 3), "batch_size": 4} | SMALL | kwargs)


def test_who_asks_for_as_many_batches_as_there_are_has_epoch_after_epoch(ten_videos):
    with open_loader(ten_videos) as loader:
        epochs = [digests(loader) for _ in range(3)]
    with open_loader(ten_videos) as loader:
        assert [digests(islice(loader, len(loader))) for _ in range(3)] == epochs
        state = loader.state_dict()
        assert (state["epoch"], state["clips"]) == (2, 8)
        loader.load_state_dict(state)
        assert (digests(loader), loader.current_epoch) == ([], 3)
        for _ in range(2):
            loader.set_epoch(1)
            assert digests(islice(loader, len(loader))) == epochs[1]
        for epoch in range(3):
            assert digests(islice(loader.epoch(epoch), len(loader))) == epochs[epoch]


def test_an_epoch_may_be_left_before_its_end(ten_videos):
    with open_loader(ten_videos) as loader:
        epochs = [digests(loader) for _ in range(2)]
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)  # as Lightning does
            assert digests(islice(loader, 1)) == epochs[epoch][:1]


def test_a_batch_goes_to_a_device_as_a_tensor_does(ten_videos):
    with open_loader(ten_videos, train=False) as loader:
        batch = next(iter(loader))
    assert batch.to("cpu", non_blocking=True) is batch
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in ("clip", "label", "index", "valid")} == {"meta"}
    assert (moved.path, moved.num_valid, moved.clip.shape) == (batch.path, 4, batch.clip.shape)


def test_targets_go_with_a_batch():
    targets = torch.eye(3)
    columns = (torch.zeros(3, 1, 4, 4, 3, dtype=torch.uint8), torch.arange(3), torch.arange(3), torch.arange(3) < 2)
    batch = Batch(*columns, path=("a", "b", "b"), num_valid=2, targets=targets)
    assert batch.to("cpu") is batch
    assert batch.to("meta").targets.is_meta
    assert batch.trimmed().targets.tolist() == targets[:2].tolist()
    without = Batch(*columns, path=("a", "b", "b"), num_valid=2)
    assert without.to("meta").targets is without.trimmed().targets is None


def test_lightning_and_accelerate_move_and_convert_batches(ten_videos):
    apply_func = pytest.importorskip("lightning.fabric.utilities.apply_func")
    operations = pytest.importorskip("accelerate.utils.operations")
    with open_loader(ten_videos) as loader:
        batch = next(iter(loader))
    assert apply_func.move_data_to_device(batch, torch.device("meta")).label.is_meta
    assert operations.send_to_device(batch, torch.device("meta"), non_blocking=True).label.is_meta
    converted = apply_func.apply_to_collection(batch, torch.Tensor, torch.Tensor.double)  # as its precisions do
    assert converted.clip.dtype == torch.float64
    assert converted.path == batch.path


def test_the_number_of_classes_is_known(ten_videos):
    paths, labels = paths_of(ten_videos)
    assert open_loader(ten_videos).num_classes == 1 + max(labels)
    assert open_loader(ten_videos, num_classes=7).num_classes == 7
    assert open_loader(paths, labels=[f"class {label}" for label in labels]).num_classes == len(set(labels))
    assert open_loader(paths).num_classes == 0


def test_ranks_that_are_not_known_yet_are_an_error(ten_videos, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"RANK is not: make the loader once torch\.distributed is initialized"):
        open_loader(ten_videos)
