"""A recipe's Augment on the device: torchvision's own transforms, one draw a clip, the same for all of its frames."""

import numpy as np
import pytest
import torch
from clip_loaders import SMALL, digests
from torchvision.transforms import v2

from c2d_fast import ClipLoader, Dense
from c2d_fast.loading.batch import IMAGENET
from c2d_fast.loading.clip_transforms import make_transform
from c2d_fast.recipe import Augment

ALL = Augment(policy="randaugment", color=(0.4, 0.4, 0.4, 0.1), grayscale=0.5, erase=0.5)
MEAN = [124.0, 116.0, 104.0]
PARTS = {
    "randaugment": (Augment(policy="randaugment", policy_ops=3, policy_magnitude=12), [v2.RandAugment(3, 12)]),
    "trivialaugment": (Augment(policy="trivialaugment"), [v2.TrivialAugmentWide()]),
    "color": (Augment(color=(0.4, 0.3, 0.2, 0.1)), [v2.ColorJitter(0.4, 0.3, 0.2, 0.1)]),
    "grayscale": (Augment(grayscale=0.5), [v2.RandomGrayscale(0.5)]),
    "erase": (Augment(erase=0.5), [v2.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), value=MEAN)]),
    "all": (
        ALL,
        [
            v2.RandAugment(2, 9),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.RandomGrayscale(0.5),
            v2.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), value=MEAN),
        ],
    ),
}


def clips_of(count, frames=3, size=32, seed=0):
    """Clips as a batch has them, [N, T, C, H, W], channels last in memory."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, frames, size, size, 3), generator=generator, dtype=torch.uint8).movedim(-1, 2)


@pytest.mark.parametrize("name", PARTS)
def test_it_is_torchvision_s_composition_to_the_bit(name):
    augment, steps = PARTS[name]
    transform, oracle, clips = make_transform(augment), v2.Compose(steps), clips_of(24)
    before = clips.clone()
    torch.manual_seed(7)
    changed = transform(clips)
    torch.manual_seed(7)
    expected = torch.stack([oracle(clip) for clip in clips.contiguous()])
    assert torch.equal(changed, expected)
    assert not torch.equal(changed, before)
    assert torch.equal(clips, before), "the loader's own memory stays as it is"
    assert changed.dtype == torch.uint8
    assert changed.movedim(2, -1).is_contiguous(), "the model sees it without a copy"


def test_nothing_asked_for_is_nothing_done():
    assert make_transform(Augment()) is None
    assert make_transform(Augment(mixup=0.2, cutmix=1.0)) is None  # of whole batches, elsewhere
    assert make_transform(Augment(policy_ops=4)) is None


@pytest.mark.parametrize("name", PARTS)
def test_all_frames_of_a_clip_are_changed_alike_and_clips_differently(name):
    frame = clips_of(1, frames=1)
    clips = frame.expand(24, 4, *frame.shape[2:]).movedim(2, -1).contiguous().movedim(-1, 2)
    torch.manual_seed(3)
    changed = make_transform(PARTS[name][0])(clips)
    assert (changed == changed[:, :1]).all()
    assert len({clip.numpy().tobytes() for clip in changed}) >= (2 if name == "grayscale" else 8)


def test_as_many_clips_are_grey_and_erased_as_are_asked_for():
    clips, count = clips_of(1, size=16).expand(2000, 3, 3, 16, 16), 2000
    torch.manual_seed(0)
    grey = make_transform(Augment(grayscale=0.2))(clips)
    share = (grey == grey[:, :, :1]).flatten(1).all(1).float().mean().item()
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / count)
    black = torch.zeros(count, 2, 3, 32, 32, dtype=torch.uint8)
    erased = make_transform(Augment(erase=0.3))(black)[:, 0, 0] > 0
    parts = erased.flatten(1).float().mean(1)
    share = (parts > 0).float().mean().item()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / count)
    parts = parts[parts > 0]
    assert parts.min() > 0.01
    assert parts.max() < 0.36  # sides are rounded
    assert abs(parts.mean().item() - (0.02 + 0.33) / 2) < 0.02


def test_what_is_erased_is_about_nothing_to_the_model():
    erased = make_transform(Augment(erase=1.0))(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8))[0, 0]
    colour = erased[:, erased[0] > 0][:, 0].float() / 255
    mean, std = map(torch.tensor, IMAGENET)
    assert ((colour - mean) / std).abs().max() < 0.5 / 255 / min(IMAGENET[1])


def test_a_loader_s_batches_are_contiguous_and_go_on_exactly(ten_videos):
    how = {"clip": Dense(4, 3), "batch_size": 4, "seed": 2} | SMALL
    with ClipLoader(ten_videos, transform=make_transform(ALL), **how) as loader, ClipLoader(ten_videos, **how) as plain:
        batches = iter(loader)
        first, state = next(batches), loader.state_dict()
        rest, without = digests(batches), digests(plain)
        assert first.clip.is_contiguous()
        assert first.clip.shape == (4, 4, 32, 32, 3)
        assert rest[0] != without[1]
    with ClipLoader(ten_videos, transform=make_transform(ALL), **how) as loader:
        loader.load_state_dict(state)
        assert digests(loader) == rest


def test_it_costs_the_model_no_hidden_copy():
    changed = make_transform(Augment(grayscale=0.5))(clips_of(2)).movedim(2, -1)
    seen = changed.flatten(0, 1).permute(0, 3, 1, 2)
    assert seen.data_ptr() == changed.data_ptr()
    assert seen.is_contiguous(memory_format=torch.channels_last)
