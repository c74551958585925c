import pytest
import torch
import torchvision

from c2d_fast import checkpoint
from c2d_fast.errors import UserError
from c2d_fast.model import C2D
from c2d_fast.recipe import Model
from c2d_fast.weights import load_weights


def c2d(num_classes=5, **kwargs):
    return C2D(Model(**{"depth": 18, "temporal_pool": True, "dropout": 0.0, "num_classes": num_classes} | kwargs))


def test_a_torchvision_file_fills_the_trunk_and_leaves_the_classifier(tmp_path):
    trunk = torchvision.models.resnet18(weights=None)
    torch.save(trunk.state_dict(), tmp_path / "r18.pth")
    model = c2d()
    head = model.fc.weight.clone()
    assert "classifier new" in load_weights(model, str(tmp_path / "r18.pth"), 18)
    for key, value in trunk.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(model.state_dict()[key], value), key
    assert torch.equal(model.fc.weight, head)


def test_our_checkpoint_brings_its_classifier_where_it_fits(tmp_path):
    model, path = c2d(), tmp_path / "last.pt"
    checkpoint.save({"model": model.state_dict()}, path)
    same, other = c2d(), c2d(num_classes=7)
    assert "classifier new" not in load_weights(same, str(path), 18)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))
    assert "classifier new" in load_weights(other, str(path), 18)
    assert torch.equal(other.conv1.weight, model.conv1.weight)


def test_another_model_s_file_is_named_with_its_keys(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=r"missing \(first .*unexpected|missing \(first .*of another shape"):
        load_weights(c2d(depth=50), str(tmp_path / "r18.pth"), 50)


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"format": checkpoint.FORMAT}])
def test_dicts_that_are_no_state_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        load_weights(c2d(), str(tmp_path / "x.pth"), 18)


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n" * 50, b"PK\x03\x04 broken zip"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match="is damaged or holds more than tensors"):
        load_weights(c2d(), str(tmp_path / "x.pth"), 18)


def test_without_network_imagenet_says_what_file_to_give(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(UserError, match=r"resnet50-11ad3fa6.pth could not be downloaded.*--weights FILE"):
        load_weights(c2d(depth=50), "imagenet", 50)


def test_imagenet_is_the_second_version_of_the_weights(tmp_path, monkeypatch):
    # The download's place is filled beforehand, as a user without network may do; the hash is not checked then.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trunk = torchvision.models.resnet50(weights=None)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(trunk.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth")
    model = c2d(depth=50)
    assert "IMAGENET1K_V2" in load_weights(model, "imagenet", 50)
    assert torch.equal(model.layer4[2].conv3.weight, trunk.layer4[2].conv3.weight)
