import pytest
import torch

from c2d_fast.commands.run_info import count
from c2d_fast.model.c2d import C2D, halve_frames
from c2d_fast.recipe import Model, load_pipe

PIPES = ("k400_8x8", "k400_8x8_nopool", "k400_8x8_nopool_r101", "k400_16x4")


def small(**kwargs):
    return C2D(Model(**{"depth": 18, "temporal_pool": True, "dropout": 0.0, "num_classes": 5} | kwargs))


@pytest.mark.parametrize("name", PIPES)
def test_published_size_and_cost(name):
    recipe = load_pipe(f"dali_pipes/{name}.py").recipe
    parameters, gmac = count(recipe)
    assert parameters == recipe.published.parameters
    assert round(gmac, 2) == recipe.published.gmac_per_clip


@pytest.mark.parametrize("num_frames", [2, 4, 5])
def test_halve_frames_is_max_pooling_over_time(num_frames):
    x = torch.randn(3, num_frames, 6, 7, 9)
    folded = x.flatten(0, 1).to(memory_format=torch.channels_last)
    ours = halve_frames(folded, num_frames)
    reference = torch.nn.functional.max_pool3d(x.transpose(1, 2), (2, 1, 1)).transpose(1, 2).flatten(0, 1)
    assert torch.equal(ours, reference)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("temporal_pool", [True, False])
def test_stays_channels_last_from_the_loader_s_bytes_to_the_last_layer(temporal_pool):
    model, strides = small(temporal_pool=temporal_pool), {}

    def note(name):
        return lambda module, inputs, output: strides.__setitem__(name, [inputs[0], output])

    for name in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        getattr(model, name).register_forward_hook(note(name))
    model(torch.zeros(2, 4, 64, 64, 3, dtype=torch.uint8)).sum().backward()
    for name, tensors in strides.items():
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors), name
    weights = [p for p in model.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert all(p.grad.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_stem_pools_with_padding_only_without_temporal_pool():
    sizes = {}
    for pool in (True, False):
        model = small(temporal_pool=pool)
        model.maxpool.register_forward_hook(lambda m, i, o, pool=pool: sizes.__setitem__(pool, o.shape[-1]))
        model(torch.zeros(1, 2, 224, 224, 3, dtype=torch.uint8))
    assert sizes == {True: 55, False: 56}


def test_without_pool_averaging_logits_is_averaging_features():
    model = small(temporal_pool=False).eval()
    clips = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        views = model(clips)
        both = model(clips.flatten(0, 1)[None])  # one clip of all eight frames: features averaged over all
    torch.testing.assert_close(views.mean(0, keepdim=True), both, rtol=1e-5, atol=1e-6)


def test_initialisation_and_autocast():
    model = small(num_classes=400)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.fc.bias.abs().max() == 0
    clip = torch.randint(0, 256, (1, 2, 64, 64, 3), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.eval()(clip)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(clip), rtol=0.05, atol=0.05)


def test_unknown_depth():
    with pytest.raises(ValueError, match="depth"):
        small(depth=34)
