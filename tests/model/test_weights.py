import importlib
import sys

import pytest
import torch
import torchvision
from saved_models import DEMO, c2d, our_checkpoint, published

import c2d_fast
from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import our_name, published_name, read_model_file, write_safetensors
from c2d_fast.model.weights import describe, load_weights, model_for
from c2d_fast.recipe import load_pipe

save_file = pytest.importorskip("safetensors.torch").save_file


def same(a, b, *, but=()):
    others = b.state_dict()
    return all(torch.equal(value, others[key]) for key, value in a.state_dict().items() if not key.startswith(but or "-"))


def save_as(form, model, folder):
    """Writes the model in one of the forms that users have."""
    path = folder / f"{form.replace(' ', '-')}.pth"
    if form == "ours":
        return our_checkpoint(model, path.with_suffix(".pt"))
    if form == "ours, safetensors":
        path = path.with_suffix(".safetensors")
        write_safetensors(model.state_dict(), {"recipe": DEMO.with_num_classes(model.fc.out_features).as_dict()}, path)
        return path
    content = {
        "published": published(model),
        "published, wrapped": {"meta": {"epoch": 100}, "state_dict": published(model), "optimizer": {}},
        "published, of several GPUs": {f"module.{key}": value for key, value in published(model).items()},
        "torchvision": model.state_dict(),
        "torchvision, wrapped": {"model": model.state_dict(), "epoch": 3},
        "torchvision, old format": model.state_dict(),
        "torchvision, safetensors": model.state_dict(),
    }[form]
    if form.endswith("safetensors"):
        save_file({key: value.contiguous() for key, value in content.items()}, path)  # whatever it is called
    else:
        torch.save(content, path, _use_new_zipfile_serialization="old" not in form)
    return path


FORMS = ("ours", "ours, safetensors", "published", "published, wrapped", "published, of several GPUs", "torchvision",
         "torchvision, wrapped", "torchvision, old format", "torchvision, safetensors")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_taken_as_weights_and_as_a_checkpoint(tmp_path, form):
    model, other = c2d(5), c2d(5)
    path = save_as(form, model, tmp_path)
    torch.nn.init.ones_(other.fc.weight)
    assert "classifier kept" in load_weights(other, str(path), 18)
    assert same(model, other)
    loaded = c2d_fast.load_model("dali_pipes/demo.py", path, device="cpu", num_classes=5)
    assert same(model, loaded)
    assert not loaded.training


@pytest.mark.parametrize("form", FORMS)
def test_another_number_of_classes_needs_a_word(tmp_path, form):
    path, other = save_as(form, c2d(5), tmp_path), c2d(7)
    head = other.fc.weight.clone()
    with pytest.raises(UserError, match=r"its classifier has 5 classes, the model 7; start a new one with --new-head"):
        load_weights(other, str(path), 18)
    assert "classifier new" in load_weights(other, str(path), 18, new_head=True)
    assert same(c2d(5), other, but="fc.")
    assert torch.equal(other.fc.weight, head)
    if form.startswith("ours"):  # it says itself how many it has
        assert model_for(DEMO, read_model_file(path, "--checkpoint"), "x", None)[1].model.num_classes == 5
    else:
        with pytest.raises(UserError, match=r"5 classes, the model 8; give --num-classes 5"):
            model_for(DEMO, read_model_file(path, "--checkpoint"), "x", None)


def test_a_new_head_is_made_also_where_the_old_one_fits(tmp_path):
    path, other = save_as("published", c2d(5), tmp_path), c2d(5)
    torch.nn.init.ones_(other.fc.weight)
    assert "classifier new" in load_weights(other, str(path), 18, new_head=True)
    assert (other.fc.weight == 1).all()


def test_imagenet_s_classifier_never_stays(tmp_path):
    trunk = torchvision.models.resnet18(weights=None)
    torch.save(trunk.state_dict(), tmp_path / "r18.pth")
    model = c2d()
    head = model.fc.weight.clone()
    assert "classifier new" in load_weights(model, str(tmp_path / "r18.pth"), 18)
    for key, value in trunk.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(model.state_dict()[key], value), key
    assert torch.equal(model.fc.weight, head)


def test_names_are_translated_there_and_back(golden):
    state, _, _ = golden
    ours = C2D(load_pipe("dali_pipes/k400_8x8.py").recipe.model).state_dict()
    assert {published_name(key) for key in ours} == set(state)
    assert all(our_name(published_name(key)) == key for key in ours)


def test_counters_of_batches_may_be_absent(tmp_path):
    state = {key: value for key, value in c2d(8).state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "x.pth")
    assert same(c2d(8), c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.pth", device="cpu"))


def test_a_new_model_without_a_checkpoint():
    model = c2d_fast.load_model("dali_pipes/demo.py", device="cpu", num_classes=3)
    logits = model(torch.zeros(2, 2, 56, 56, 3, dtype=torch.uint8))
    assert (logits.shape, logits.dtype) == ((2, 3), torch.float32)


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


@pytest.fixture(scope="module")
def golden(shared):
    sys.path.insert(0, str(shared / "golden"))
    yield importlib.import_module("weights").load_case()
    sys.path.remove(str(shared / "golden"))
    del sys.modules["weights"]


class HistoryBuffer:
    """Stands for a class of the training framework, which is not installed where the file is read."""

    def __init__(self):
        self.values = [1.0, 2.0]


@pytest.mark.parametrize("wrapped", ["no", pytest.param("plain", marks=pytest.mark.slow), "foreign", "foreign, old format"])
def test_logits_of_the_reference_through_the_public_path(golden, tmp_path, wrapped, monkeypatch):
    state, clip, logits = golden
    content = {"meta": {"epoch": 100}, "state_dict": state} if wrapped != "no" else state
    if wrapped.startswith("foreign"):
        content |= {"meta": {"history": HistoryBuffer()}, "message_hub": {"log_scalars": {"loss": HistoryBuffer()}}}
    torch.save(content, tmp_path / "c2d.pth", _use_new_zipfile_serialization="old" not in wrapped)
    monkeypatch.delattr(sys.modules[__name__], "HistoryBuffer")
    model = c2d_fast.load_model("dali_pipes/k400_8x8.py", tmp_path / "c2d.pth", device="cpu")
    with torch.inference_mode():
        ours = model(clip.permute(0, 2, 3, 4, 1).contiguous())
    assert ours.dtype == torch.float32
    assert (ours - logits).abs().max() < 1e-4


def test_other_clips_and_another_pool_are_remarked_on(tmp_path):
    from dataclasses import replace

    path = our_checkpoint(c2d(8), tmp_path / "x.pt", replace(DEMO, clip=replace(DEMO.clip, interval=2)))
    file = read_model_file(path, "x")
    assert "note: trained with another clip: {'num_frames': 2, 'interval': 2}" in describe(file, DEMO)
    assert "trained with temporal pool" in load_weights(c2d(8, temporal_pool=False), str(path), 18)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_model_has_classes(num_classes):
    with pytest.raises(ValueError, match="num_classes"):
        c2d_fast.load_model("dali_pipes/demo.py", num_classes=num_classes)


def test_weights_of_earlier_checkpoints_are_read(tmp_path):
    model = c2d()
    our_checkpoint(model, tmp_path / "now.pt")
    content = torch.load(tmp_path / "now.pt", weights_only=True)
    torch.save(content | {"format": "c2d_fast.checkpoint/1", "progress": {"epoch": 3}}, tmp_path / "before.pt")
    file = read_model_file(tmp_path / "before.pt", "--checkpoint")
    assert (file.form, file.num_classes) == ("ours", 5)
    assert all(torch.equal(file.state[key], value) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="is not a c2d_fast checkpoint of this version"):
        checkpoint.load(tmp_path / "before.pt", "--resume")
