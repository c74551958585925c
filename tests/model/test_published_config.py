"""What a published checkpoint's training configuration says of its model, read as text."""

import zipfile
from dataclasses import replace

import pytest
import torch
from saved_models import DEMO, c2d, published

from c2d_fast.errors import UserError
from c2d_fast.model.model_file import read_model_file
from c2d_fast.model.published_config import backbone_of
from c2d_fast.model.weights import describe, load_weights, model_for

CONFIG = """
model = dict(
    backbone=dict(
        depth=50,
        norm_cfg=dict(requires_grad=True, type='BN3d'),
        pretrained='https://download.example/resnet50.pth',
        type='{}'),
    cls_head=dict(average_clips='prob', type='I3DHead'),
    type='Recognizer3D')
"""
JSON = '{{"model": {{"backbone": {{"norm_cfg": {{"type": "BN"}}, "type": "{}", "depth": 50}}, "cls_head": {{"type": "X"}}}}}}'


def save(path, config, model=None):
    meta = {"cfg": config, "epoch": 100, "seed": 0}
    torch.save({"meta": meta, "state_dict": published(model or c2d())}, path)
    return path


@pytest.mark.parametrize("text", [CONFIG, JSON], ids=["Python", "JSON"])
@pytest.mark.parametrize("kind", ["C2D", "ResNet", "ResNet3dSlowFast"])
def test_the_backbone_s_own_type_is_read(tmp_path, text, kind):
    assert backbone_of(save(tmp_path / "a.pth", text.format(kind))) == kind


def test_what_says_nothing_or_two_things_says_nothing(tmp_path):
    for config in ("", "backbone is a word", "backbone=dict(depth=50)", CONFIG.format("C2D") + CONFIG.format("ResNet")):
        assert backbone_of(save(tmp_path / "a.pth", config)) == ""
    (tmp_path / "b.pth").write_bytes(b"no archive")
    assert backbone_of(tmp_path / "b.pth") == backbone_of(tmp_path / "none.pth") == ""
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("a/other", "backbone=dict(type='C2D')")
    assert backbone_of(tmp_path / "c.pth") == ""


def test_a_contradiction_is_refused_with_the_right_pipe_file_s_name(tmp_path):
    pooled = DEMO.with_num_classes(5)
    plain = replace(pooled, name="plain", model=replace(pooled.model, temporal_pool=False))
    for kind, right, wrong, pipe in (("C2D", pooled, plain, "k400_8x8.py"), ("ResNet", plain, pooled, "k400_8x8_nopool.py")):
        file = read_model_file(save(tmp_path / f"{kind}.pth", CONFIG.format(kind)), "--checkpoint")
        model_for(right, file, "--checkpoint a.pth", 5)
        assert "by its configuration" in describe(file, right)
        with pytest.raises(UserError, match=rf"names the backbone {kind}, .* temporal pool, and .*dali_pipes/{pipe}"):
            model_for(wrong, file, "--checkpoint a.pth", 5)


def test_one_that_does_not_say_is_taken_as_the_pipe_file_says(tmp_path):
    file = read_model_file(save(tmp_path / "a.pth", "nothing"), "--checkpoint")
    recipe = DEMO.with_num_classes(5)
    for pool in (True, False):
        model_for(replace(recipe, model=replace(recipe.model, temporal_pool=pool)), file, "--checkpoint a.pth", 5)
    assert "do not say whether" in describe(file, recipe)


def test_weights_to_start_from_are_taken_with_a_note(tmp_path):
    path = save(tmp_path / "a.pth", CONFIG.format("ResNet"))
    assert "trained without temporal pool" in load_weights(c2d(), str(path), 18)
