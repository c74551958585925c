"""Files of weights that are refused, and what the refusal says."""

import pytest
import torch
import torchvision
from saved_models import DEMO, c2d, our_checkpoint, published

import c2d_fast
from c2d_fast.errors import UserError
from c2d_fast.model.c2d import MEAN, STD
from c2d_fast.model.model_file import published_name, write_safetensors
from c2d_fast.model.weights import load_weights


def test_another_model_is_told_before_another_number_of_classes(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=r"missing \(layer1.0.conv3.weight"):
        c2d_fast.load_model("dali_pipes/k400_8x8.py", tmp_path / "r18.pth")


def test_missing_unexpected_and_misshaped_keys_are_listed(tmp_path):
    state = published(c2d())
    del state["backbone.layer1.0.conv1.conv.weight"], state["backbone.layer2.0.downsample.bn.running_mean"]
    state["backbone.layer3.0.conv1.conv.weight"] = torch.zeros(3)
    state["backbone.extra"] = torch.zeros(1)
    state["cls_head.fc_cls.bias"] = torch.zeros(5, 1)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth", num_classes=5)
    for part in (
        "2 missing (backbone.layer1.0.conv1.conv.weight, backbone.layer2.0.downsample.bn.running_mean)",
        "1 unexpected (backbone.extra)",
        "2 of another shape (backbone.layer3.0.conv1.conv.weight [3] instead of [256, 128, 3, 3], cls_head.fc_cls.bias [5, 1]",
    ):
        assert part in str(error.value)


def test_another_model_s_file_is_named_with_its_keys(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=r"\d+ missing \(layer1.0.conv3.weight, .* more\), 23 of another shape"):
        load_weights(c2d(depth=50), str(tmp_path / "r18.pth"), 50)


@pytest.mark.parametrize("change", [{"depth": 50}, {"temporal_pool": False}])
def test_our_checkpoint_of_another_recipe_is_refused(tmp_path, change):
    from dataclasses import replace

    path = our_checkpoint(c2d(8), tmp_path / "x.pt", replace(DEMO, name="mine", model=replace(DEMO.model, **change)))
    with pytest.raises(UserError, match=rf"its {next(iter(change))} is .*own pipe file \(mine\)"):
        c2d_fast.load_model("dali_pipes/demo.py", path)


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"a": 1}, {}, {"state_dict": {}}])
def test_dicts_that_are_no_state_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        load_weights(c2d(), str(tmp_path / "x.pth"), 18)


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n" * 50, b"PK\x03\x04 broken zip", b"\x10\0\0\0\0\0\0\0{broken"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_are_refused(tmp_path, content, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        load_weights(c2d(), str(tmp_path / f"x.{suffix}"), 18)


CARDS = {
    "no recipe": {},
    "null": {"recipe": None},
    "text": {"recipe": "x"},
    "no model": {"recipe": {"name": "x"}},
    "another depth": {"recipe": {"model": {"depth": "18"}}},
    "unknown field": {"recipe": {"model": DEMO.as_dict()["model"] | {"more": 1}}},
    "no such block": {"recipe": {"model": DEMO.as_dict()["model"] | {"nonlocal_after": [[2, 9]]}}},
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_odd_cards_are_refused(tmp_path, card):
    write_safetensors(c2d(8).state_dict(), card, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors"):
        c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (torch.zeros(8, 512, dtype=torch.complex64), "complex"),
        (torch.zeros(8, 512).to_sparse(), "sparse"),
        (torch.zeros(8, 512, device="meta"), "meta"),
        (3, "int instead of"),
        (torch.zeros(1, 1).expand(8, 512), None),
    ],
)
def test_odd_tensors_are_refused(tmp_path, value, complaint):
    state = published(c2d(8)) | {"cls_head.fc_cls.weight": value}
    torch.save(state, tmp_path / "x.pth")
    if complaint is None:
        c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth")
        return
    with pytest.raises(UserError, match=complaint):
        c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth")


def test_a_classifier_without_measure_is_not_built(tmp_path):
    path = our_checkpoint(c2d(8), tmp_path / "x.pt")
    content = torch.load(path)
    content["model"]["fc.bias"] = torch.zeros(1).expand(10**12)
    torch.save(content, path)
    with pytest.raises(UserError, match="are not believed"):
        c2d_fast.load_model("dali_pipes/demo.py", path)


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_the_published_framework_s_normalisation_must_be_ours(tmp_path, scale):
    means = {"data_preprocessor.mean": torch.tensor(MEAN).view(3, 1, 1) * scale, "data_preprocessor.std": torch.tensor(STD)}
    torch.save({"state_dict": published(c2d(8)) | means}, tmp_path / "x.pth")
    if scale == 1:
        c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth")
    else:
        with pytest.raises(UserError, match=r"unexpected \(.*data_preprocessor.mean\)"):
            c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth")


def problem_of(state, tmp_path, **kwargs):
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        load_weights(c2d(**kwargs), str(tmp_path / "x.pth"), kwargs.get("depth", 18))
    return str(error.value)


@pytest.mark.parametrize("form", ["published", "of several GPUs", "torchvision"])
def test_a_refusal_counts_and_names_only_what_is_in_the_way(tmp_path, form):
    """Not what may be absent (counters, ImageNet's head, new non-local blocks); and under the names that the file has."""
    model = c2d(1000 if form == "torchvision" else 5)
    own = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    name = {"published": published_name, "of several GPUs": lambda key: f"module.{published_name(key)}", "torchvision": str}[
        form
    ]
    state = {name(key): value for key, value in own.items()}
    missing, odd = name("layer3.1.conv2.weight"), name("layer1.0.bn1.weight")
    del state[missing]
    state[odd] = torch.zeros(3)
    extra = {"published": "data_preprocessor.size", "of several GPUs": "module.head.x", "torchvision": "more.weight"}[form]
    state[extra] = torch.zeros(2)
    blocks = ((2, 1),)
    said = problem_of(state, tmp_path, nonlocal_after=blocks)
    assert f"keys 1 missing ({missing}), 1 unexpected ({extra}), 1 of another shape ({odd} [3] instead of [64]);" in said
    assert "nonlocal" not in said
    assert "num_batches" not in said
    assert "fc" not in said


def test_two_keys_of_a_file_that_are_one_of_ours_are_in_the_way(tmp_path):
    state = published(c2d(5)) | {"backbone.layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}
    assert "keys 1 unexpected (backbone.layer1.0.conv1.weight);" in problem_of(state, tmp_path)


def test_all_keys_that_are_in_the_way_are_counted(tmp_path):
    state = {key: value for key, value in c2d(5).state_dict().items() if not key.startswith("layer4.") and "fc" not in key}
    said = problem_of(state, tmp_path)
    here = [key for key in c2d(5).state_dict() if key.startswith(("layer4.", "fc.")) and "num_batches" not in key]
    assert f"keys {len(here)} missing (" in said
    assert f" and {len(here) - 20} more)" in said
