from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from c2d_fast.model.c2d import C2D
from c2d_fast.model.nonlocal_block import NonlocalBlock
from c2d_fast.model.weights import load_weights
from c2d_fast.recipe import load_pipe

RECIPE = load_pipe("dali_pipes/k400_8x8_nonlocal.py").recipe
DEMO = load_pipe("dali_pipes/demo.py").recipe.model
AFFINITIES = ("embedded_gaussian", "dot_product")


def reference(block, x, num_frames):
    """The paper's formula, position by position, on [N, C, T, H, W] tensors with 3-D operations."""
    folded = x.unflatten(0, (-1, num_frames)).transpose(1, 2)
    pooled = F.max_pool3d(folded, (1, 2, 2))

    def embed(layer, tensor):
        return F.conv3d(tensor, layer.weight[..., None], layer.bias).flatten(2)  # [N, C / 2, positions]

    theta, phi, g = embed(block.theta, folded), embed(block.phi, pooled), embed(block.g, pooled)
    affinity = torch.einsum("ncp,ncq->npq", theta, phi) * theta.shape[1] ** -0.5
    affinity = affinity.softmax(2) if block.affinity == "embedded_gaussian" else affinity / phi.shape[2]
    seen = torch.einsum("npq,ncq->ncp", affinity, g).unflatten(2, folded.shape[2:])
    out = F.conv3d(seen, block.out.weight[..., None], block.out.bias)
    bn = block.bn
    out = F.batch_norm(out, None, None, bn.weight, bn.bias, training=True, eps=bn.eps)
    return (folded + out).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_is_the_paper_s_formula(affinity, size):
    torch.manual_seed(0)
    block = NonlocalBlock(8, affinity)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2 * 3, 8, *size).to(memory_format=torch.channels_last)
    ours = block(x, 3)
    torch.testing.assert_close(ours, reference(block, x, 3), rtol=1e-4, atol=1e-4)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_fresh_blocks_change_nothing_and_learn(affinity):
    plain = C2D(DEMO).eval()
    model = replace(DEMO, nonlocal_after=((2, 1), (3, 0)), nonlocal_affinity=affinity)
    blocks = C2D(model).eval()
    assert set(blocks.nonlocal_blocks) == {"layer2_1", "layer3_0"}
    blocks.load_state_dict(plain.state_dict(), strict=False)
    clip = torch.randint(0, 256, (2, 4, 56, 56, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(plain(clip), blocks(clip))
    blocks.train()(clip).square().sum().backward()
    assert all(block.bn.weight.grad.abs().max() > 0 for block in blocks.nonlocal_blocks.values())


def test_placement_of_the_recipe():
    with torch.device("meta"):
        model = C2D(RECIPE.model)
    widths = {name: block.theta.in_channels for name, block in model.nonlocal_blocks.items()}
    assert widths == {"layer2_1": 512, "layer2_3": 512, "layer3_1": 1024, "layer3_3": 1024, "layer3_5": 1024}
    assert all(block.theta.out_channels == block.theta.in_channels // 2 for block in model.nonlocal_blocks.values())
    seen = {}
    for name, block in model.nonlocal_blocks.items():
        block.register_forward_hook(lambda m, inputs, o, name=name: seen.__setitem__(name, (inputs[0].shape, inputs[1])))
    model.eval()(torch.empty(2, 8, 224, 224, 3, dtype=torch.uint8, device="meta"))
    # Two clips; the temporal pool leaves four frames of eight.
    assert seen["layer2_1"] == (torch.Size([8, 512, 28, 28]), 4)
    assert seen["layer3_5"] == (torch.Size([8, 1024, 14, 14]), 4)


def test_weights_without_blocks_leave_them_new_and_half_of_them_are_refused(tmp_path):
    recipe = replace(DEMO, nonlocal_after=((2, 1), (3, 0)))
    torch.save(C2D(DEMO).state_dict(), tmp_path / "plain.pth")
    assert "2 non-local blocks new" in load_weights(C2D(recipe), str(tmp_path / "plain.pth"), 18)
    state = C2D(recipe).state_dict()
    torch.save(state, tmp_path / "whole.pth")
    assert "new" not in load_weights(C2D(recipe), str(tmp_path / "whole.pth"), 18)
    torch.save({key: value for key, value in state.items() if "layer3_0" not in key}, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"missing \(nonlocal_blocks.layer3_0"):
        load_weights(C2D(recipe), str(tmp_path / "half.pth"), 18)


def test_a_place_or_an_affinity_that_does_not_exist():
    with pytest.raises(ValueError, match=r"nonlocal_after \(2, 2\): ResNet-18 has no such block"):
        C2D(replace(DEMO, nonlocal_after=((2, 2),)))
    with pytest.raises(ValueError, match=r"affinity \(gaussian\) must be"):
        NonlocalBlock(8, "gaussian")
