"""ClipLoader on a GPU, with each decoder; without one, what can be run is run on the CPU's decoders by tests/loading."""

import pytest
import torch
from media import make_dataset
from torchvision.transforms import v2

from c2d_fast import ClipLoader, Crop, Dense, Multi, Uniform

CROP = Crop(size=112, train_short_side=128, test_short_side=112, short_sides=(120, 140))
SIZES = ((176, 144), (340, 256))
DECODERS = ("nvdec", "ffmpeg", "hybrid")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("clips"), count=8, sizes=SIZES, num_frames=(40, 25))


def open_loader(listed, decoder, clip, **kwargs):
    arguments = {"crop": CROP, "batch_size": 4, "seed": 3, "device": "cuda", "workers": 2, "verbose": False} | kwargs
    return ClipLoader(listed, clip=clip, decoder=decoder, **arguments)


@pytest.mark.parametrize("decoder", DECODERS)
def test_batches_are_on_the_gpu_and_seen_channels_last(nvdec, listed, decoder):
    with open_loader(listed, decoder, Dense(4, 3)) as loader:
        for batch in loader:
            assert {tensor.device.type for tensor in (batch.clip, batch.label, batch.index, batch.valid)} == {"cuda"}
            view = batch.as_NCTHW()
            assert view.data_ptr() == batch.clip.data_ptr()
            assert view.is_contiguous(memory_format=torch.channels_last_3d)
            assert batch.as_NCTHW(torch.bfloat16, normalize=True).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["multi_scale", "random_resized", "short_side_jitter"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_crops_and_several_clips_are_those_of_the_cpu(nvdec, listed, decoder, kind):
    crop = Crop(size=112, train_short_side=128, short_sides=(120, 140), kind=kind)
    for clip in (Dense(4, 3), Multi(2, Dense(4, 3)), Multi(2, Uniform(5))):
        gpu, cpu = (
            open_loader(listed, how, clip, crop=crop, device=device) for how, device in ((decoder, "cuda"), ("ffmpeg", "cpu"))
        )
        with gpu, cpu:
            for ours, expected in zip(gpu, cpu, strict=True):
                assert torch.equal(ours.index.cpu(), expected.index)
                # Chroma is converted otherwise at hard edges; another frame would differ by whole columns.
                assert (ours.clip.cpu().float() - expected.clip.float()).abs().mean() < 8


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_rest_of_an_epoch_is_the_same(nvdec, listed, decoder):
    how = {"transform": v2.RandomCrop(96)}
    if decoder == "hybrid":
        pytest.skip("its share is measured anew")
    with open_loader(listed, decoder, Multi(2, Dense(4, 3)), **how) as loader:
        batches = iter(loader)
        next(batches)
        state, rest = loader.state_dict(), [batch.clip.clone() for batch in batches]
    with open_loader(listed, decoder, Multi(2, Dense(4, 3)), **how) as loader:
        loader.load_state_dict(state)
        assert all(torch.equal(one.clip, other) for one, other in zip(loader, rest, strict=True))


@pytest.mark.parametrize("decoder", DECODERS)
def test_batches_that_are_kept_stay_as_they_are(nvdec, listed, decoder):
    with open_loader(listed, decoder, Dense(4, 3), batch_size=2) as loader:
        kept, copies = [], []
        for batch in loader:
            kept.append(batch.clip)
            copies.append(batch.clip.cpu())
        list(loader)
    assert all(torch.equal(one.cpu(), other) for one, other in zip(kept, copies, strict=True))
