"""Grad-CAM's maps against the formula, and where their cells lie."""

import numpy as np
import pytest
import torch
from saved_models import c2d
from tiny_pipe import DEPTH

from c2d_fast.model.grad_cam import class_maps, map_centres

FRAMES, SIZE = 5, 96


def clip_of(seed=0):
    return torch.randint(0, 256, (1, FRAMES, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def last_stage(model, clip, module):
    found = []
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        model(clip)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("temporal_pool", [True, False])
@pytest.mark.parametrize("nonlocal_after", [(), ((4, 0),)], ids=["plain", "non-local"])
def test_maps_are_the_formulas(temporal_pool, nonlocal_after):
    model = c2d(depth=DEPTH, temporal_pool=temporal_pool, nonlocal_after=nonlocal_after)
    for block in model.nonlocal_blocks.values():  # a fresh one changes nothing
        torch.nn.init.normal_(block.bn.weight)
    module = model.nonlocal_blocks["layer4_0"] if nonlocal_after else model.layer4[-1]
    # Features are a mean, so the gradient of a class is its row of the classifier, the same at every place.
    of_all = torch.einsum("tchw,kc->kthw", last_stage(model.eval(), clip_of(), module), model.fc.weight.detach()).relu()
    label = int(of_all.flatten(1).max(1).values.argmax())
    expected = of_all[label] - of_all[label].min()
    model.train().fc.weight.requires_grad_(False)
    maps = class_maps(model, clip_of(), label)
    assert model.training
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["fc.weight"]
    assert all(parameter.grad is None for parameter in model.parameters())
    expected = (expected / expected.max()).numpy()
    assert maps.dtype == np.float32
    assert (maps.min(), maps.max()) == (0, 1)
    if temporal_pool:
        assert np.array_equal(maps[0:4:2], maps[1:4:2])
        assert not maps[4].any()  # of five frames the model sees two pairs
        maps = maps[0:4:2]
    assert np.abs(maps - expected).max() < 1e-4


def test_a_class_that_nothing_speaks_for_has_zeros():
    model = c2d(depth=DEPTH)
    with torch.no_grad():
        model.fc.weight[2] = -1
    assert not class_maps(model, clip_of(), 2).any()


@pytest.mark.parametrize("temporal_pool", [True, False])
def test_cells_lie_in_the_middle_of_what_they_see(temporal_pool):
    # Contiguous: PyTorch 2.14's CPU convolutions damage memory in the gradient of a channels-last picture.
    model = c2d(depth=DEPTH, temporal_pool=temporal_pool).eval().to(memory_format=torch.contiguous_format)
    size, cell = 448, (6, 7)  # what these see is 195 pixels wide, all of it in the picture
    pixels = torch.full((1, 3, size, size), 0.5, requires_grad=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    stem = torch.nn.AvgPool2d(3, 2, model.maxpool.padding)  # a maximum's gradient would go one way
    output = stem(model.relu(model.conv1(pixels)))
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        output = stage(output)
    output[0, :, cell[0], cell[1]].sum().backward()
    centres = map_centres(size, output.shape[2], temporal_pool=temporal_pool)
    for axis, place in zip((2, 1), cell, strict=True):
        seen = pixels.grad[0].sum((0, axis)).numpy()
        (touched,) = np.nonzero(seen)
        assert (touched[0] + touched[-1] + 1) / 2 == centres[place]
        assert np.average(np.arange(size) + 0.5, weights=seen) == pytest.approx(centres[place], abs=0.01)
