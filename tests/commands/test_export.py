"""`export`: the file is the checkpoint's model, says what it is, and nothing is left of one that is not."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from exports import CARD, clips_of, lively, run, run_onnx, save

import c2d_fast
from c2d_fast.errors import UserError
from c2d_fast.model import compared, onnx_file
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import published_name
from c2d_fast.recipe import load_pipe

safe_open = pytest.importorskip("safetensors").safe_open
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
RECIPE = load_pipe("dali_pipes/demo.py").recipe.with_num_classes(3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run_command):
    """A model, its checkpoint best.pt, and model.onnx with features, in one folder."""
    folder = tmp_path_factory.mktemp("exported")
    model = lively(RECIPE)
    save(model, RECIPE.as_dict(), folder / "best.pt")
    done = run_command("export", "--checkpoint", folder / "best.pt", "--out", folder / "model.onnx", "--features")
    assert (done.returncode, done.stderr) == (0, "")
    return model, folder, done.stdout


def test_onnx_computes_what_the_model_does_for_any_batch(exported):
    model, folder, told = exported
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "model.onnx", "model.onnx.card.json"]
    assert "model of demo for clips [N, 2, 56, 56, 3]" in told
    assert "logits differ from PyTorch's by" in told
    assert "features differ from PyTorch's by" in told
    for count in (1, 3, 5):
        clips = clips_of(RECIPE, count)
        logits, features = run_onnx(folder / "model.onnx", clips)
        with torch.inference_mode():
            expected, expected_features = model(clips).numpy(), model.features(clips).numpy()
        assert (logits.dtype, logits.shape) == (np.float32, (count, 3))
        assert (features.dtype, features.shape) == (np.float32, (count, 512))
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
        np.testing.assert_allclose(features, expected_features, atol=1e-4, rtol=0)


def test_onnx_says_its_shapes_and_carries_the_card_and_nothing_of_this_machine(exported):
    _, folder, _ = exported
    proto = onnx.load(folder / "model.onnx")
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes == {"clips": ["N", 2, 56, 56, 3], "logits": ["N", 3], "features": ["N", 512]}
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in proto.graph.initializer)
    card = json.loads({entry.key: entry.value for entry in proto.metadata_props}["c2d_fast.card"])
    assert {key: card[key] for key in CARD} == CARD
    assert (card["recipe"], "optimizer" in card) == (json.loads(json.dumps(RECIPE.as_dict())), False)
    assert json.loads((folder / "model.onnx.card.json").read_text()) == card
    for place in (str(ROOT), sys.prefix):
        assert place.encode() not in (folder / "model.onnx").read_bytes()


def test_features_are_what_the_classifier_is_given():
    model = lively(RECIPE)
    clips = clips_of(RECIPE, 2)
    with torch.no_grad():
        features = model.features(clips)
        assert (features.shape, features.dtype) == ((2, model.fc.in_features), torch.float32)
        assert torch.equal(model(clips), model.fc(features))
        given = []
        model.train().dropout.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
        model(clips)
    assert given[0].shape == features.shape
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.eval().features(clips).dtype == torch.float32


def test_safetensors_are_the_checkpoint_s_weights_and_carry_the_card(exported, tmp_path):
    model, folder, _ = exported
    out = tmp_path / "model.safetensors"
    run("--checkpoint", folder / "best.pt", "--out", out)
    with safe_open(out, framework="pt") as file:
        card = json.loads(file.metadata()["c2d_fast.card"])
        assert set(file.keys()) == set(model.state_dict())
    assert card == json.loads((folder / "model.onnx.card.json").read_text())  # the same, whatever the form
    assert card == json.loads((tmp_path / "model.safetensors.card.json").read_text())
    loaded = c2d_fast.load_model("dali_pipes/demo.py", out, device="cpu")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    clip = clips_of(RECIPE, 1)
    assert torch.equal(loaded(clip), model.eval()(clip))
    run("--checkpoint", out, "--out", tmp_path / "again", "--to", "safetensors")
    names = ["again", "again.card.json", "model.safetensors", "model.safetensors.card.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "again", device="cpu").fc.out_features == 3


def test_a_published_file_is_exported_with_its_recipe(tmp_path):
    demo = load_pipe("dali_pipes/demo.py").recipe
    torch.save({published_name(key): value for key, value in C2D(demo.model).state_dict().items()}, tmp_path / "x.pth")
    args = ["--checkpoint", tmp_path / "x.pth", "--out", tmp_path / "x.safetensors"]
    with pytest.raises(UserError, match="does not say of which recipe it is; give it with --pipe FILE"):
        run(*args)
    with pytest.raises(UserError, match="its classifier has 8 classes, the model 5"):
        run(*args, "--pipe", "dali_pipes/demo.py", "--num-classes", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]
    for suffix in ("safetensors", "onnx"):
        run(*args, "--pipe", ROOT / "dali_pipes/demo.py", "--out", tmp_path / f"x.{suffix}")
    assert c2d_fast.load_model("dali_pipes/demo.py", tmp_path / "x.safetensors").fc.out_features == 8
    (logits,) = run_onnx(tmp_path / "x.onnx", clips_of(demo, 2))  # without --features there are none
    assert logits.shape == (2, 8)
    assert json.loads((tmp_path / "x.onnx.card.json").read_text())["recipe"]["name"] == "demo"


def test_without_out_it_is_written_beside_the_checkpoint(exported, tmp_path):
    _, folder, _ = exported
    (tmp_path / "best.pt").symlink_to(folder / "best.pt")
    run("--checkpoint", tmp_path / "best.pt", "--to", "safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"best.pt", "best.safetensors", "best.safetensors.card.json"}
    assert (tmp_path / "best.safetensors").stat().st_mode & 0o444 == (
        tmp_path / "best.safetensors.card.json"
    ).stat().st_mode & 0o444
    with pytest.raises(UserError, match="is that already"):
        run("--checkpoint", tmp_path / "best.safetensors", "--to", "safetensors")


def test_what_cannot_be_exported_is_refused_in_one_line(exported, tmp_path, run_command):
    _, folder, _ = exported
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "x.onnx.card.json").mkdir()
    for more, part in (
        ([], "nothing says what to write: give --out FILE, or --to"),
        (["--out", folder / "best.pt", "--to", "onnx"], "which is only read; give another file"),
        (["--out", "x.bin"], "must end in .onnx, .pt2 or .safetensors; or say the form with --to"),
        (["--out", "x.onnx", "--to", "safetensors"], "--out x.onnx is the name of another form"),
        (["--out", "x.safetensors", "--to", "onnx"], "leave --to out, or name it x.onnx"),
        (["--out", "x.safetensors", "--features"], "c2d_fast.load_model(PIPE, FILE).features(clips)"),
        (["--out", tmp_path / "none" / "x.onnx"], "its folder does not exist"),
        (["--out", tmp_path / "folder.onnx"], "is a folder"),
        (["--out", tmp_path / "x.onnx"], "x.onnx.card.json: is a folder"),
        (["--out", tmp_path / ("x" * 245 + ".onnx")], "is longer than the 255 bytes"),
        (["--out", tmp_path / "y.onnx", "--num-classes", 4], "has 3; leave it out"),
        (["--out", tmp_path / "y.onnx", "--checkpoint", folder / "model.onnx"], "is an ONNX file, which cannot be read back"),
    ):
        with pytest.raises(UserError) as refused:
            run("--checkpoint", folder / "best.pt", *more)
        assert part in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "x.onnx.card.json"]
    refused = run_command("export", "--checkpoint", folder / "best.pt", "--out", tmp_path / "x.bin")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)


def test_a_recipe_without_clips_is_refused(exported, tmp_path):
    (model, _, _), path = exported, tmp_path / "odd.pt"
    for clip in ({"num_frames": 10**9, "interval": 8}, {"num_frames": "2"}, None):
        recipe = RECIPE.as_dict() | {"clip": clip}
        save(model, recipe, path)
        with pytest.raises(UserError, match="give the recipe with --pipe FILE"):
            run("--checkpoint", path, "--out", tmp_path / "x.onnx")
    run("--checkpoint", path, "--out", tmp_path / "x.safetensors")  # weights need none


def test_a_missing_package_is_named(exported, tmp_path, monkeypatch):
    _, folder, _ = exported
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"do not import: onnxruntime \(.*\); pip install 'c2d-fast\[export\]'$"):
        run("--checkpoint", folder / "best.pt", "--out", tmp_path / "x.onnx")
    run("--checkpoint", folder / "best.pt", "--out", tmp_path / "x.safetensors")


def test_nothing_is_left_of_a_file_that_computes_something_else(exported, tmp_path, monkeypatch):
    """Of a fresh model, too, whose logits are so small that 1e-4 would let much pass."""
    _, folder, _ = exported
    proto = onnx.load(folder / "model.onnx")
    scale = next(node for node in proto.graph.node if node.op_type == "Sub")  # x - mean
    (mean,) = [tensor for tensor in proto.graph.initializer if tensor.name in scale.input]
    mean.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(mean) + 1, mean.name))
    out = tmp_path / "x.onnx"
    out.write_text("what was there")
    monkeypatch.setattr(onnx_file, "_convert", lambda *args: proto)
    with pytest.raises(UserError, match="not written, its logits differ from PyTorch's by"):
        run("--checkpoint", folder / "best.pt", "--out", out)
    proto.graph.node[3].op_type = "Nothing"
    with pytest.raises(UserError, match="not written, the file would not run"):
        run("--checkpoint", folder / "best.pt", "--out", out)
    assert out.read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_small_logits_are_held_to_what_clips_change_in_them():
    difference = compared.Difference("logits", 0.0, largest=0.01, spread=0.001)
    assert difference.allowed == pytest.approx(1e-5)
    assert not difference.is_flat
    assert compared.Difference("logits", 0.0, largest=50.0, spread=20.0).allowed == pytest.approx(5e-3)
    assert compared.Difference("logits", 0.0, largest=0.5, spread=0.0).is_flat


def test_a_diverged_model_is_refused(tmp_path):
    model = lively(RECIPE)
    with torch.no_grad():
        model.fc.weight[0, 0] = float("nan")
    path = save(model, RECIPE.as_dict(), tmp_path / "nan.pt")
    with pytest.raises(UserError, match="numbers that are not finite"):
        run("--checkpoint", path, "--out", tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "pipe", ["k400_8x8", "k400_8x8_nopool", "k400_8x8_nopool_r101", "k400_16x4", "k400_8x8_nonlocal", "dot_product"]
)
def test_every_recipe_is_written_as_onnx(tmp_path, run_command, pipe):
    recipe = load_pipe(f"dali_pipes/{'k400_8x8_nonlocal' if pipe == 'dot_product' else pipe}.py").recipe
    if pipe == "dot_product":
        recipe = replace(recipe, model=replace(recipe.model, nonlocal_affinity=pipe))
    model, out = lively(recipe), tmp_path / "model.onnx"
    save(model, recipe.as_dict(), tmp_path / "best.pt")
    done = run_command("export", "--checkpoint", tmp_path / "best.pt", "--out", out, "--features")
    assert (done.returncode, done.stderr) == (0, "")
    for count in (1, 3):
        clips = clips_of(recipe, count)
        logits, features = run_onnx(out, clips)
        with torch.inference_mode():
            expected, expected_features = model(clips), model.features(clips)
        assert 1 < expected.abs().max() < 10
        for name, found, right in (("logits", logits, expected), ("features", features, expected_features)):
            difference = np.abs(found - right.numpy()).max()
            print(f"{pipe}, batch {count}: {name} differ by {difference:.2e} of {right.abs().max():.3g}")
            assert difference < 1e-4 * max(1, right.abs().max())
