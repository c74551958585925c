"""`export` for deployment: pt2, ONNX in fewer bits, and what a file is worth on a list."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from exports import CARD, lively, run, save
from media import make_dataset
from runs import one_line

from c2d_fast.commands.run_export import trtexec_line
from c2d_fast.errors import UserError
from c2d_fast.model import onnx_precision
from c2d_fast.model.compared import Difference, random_clips
from c2d_fast.model.onnx_file import write_onnx
from c2d_fast.model.pt2_file import open_pt2, write_pt2
from c2d_fast.recipe import load_pipe

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
PIPE = ROOT / "tests" / "tiny_pipe.py"
RECIPE = load_pipe(PIPE).recipe
SHAPE = (RECIPE.clip.num_frames, 32, 32)
MODELS = {
    "pooled": {},
    "unpooled": {"temporal_pool": False},
    "softmax": {"nonlocal_after": ((2, 0), (3, 0))},
    "dot product, unpooled": {"nonlocal_after": ((2, 0),), "nonlocal_affinity": "dot_product", "temporal_pool": False},
}


def model_of(name):
    return lively(replace(RECIPE, model=replace(RECIPE.model, dropout=0.0, **MODELS[name])))


def clips_of(count, first=50):
    return np.concatenate([random_clips(1, SHAPE, seed) for seed in range(first, first + count)])


def logits_of(model, clips):
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(clips)).numpy()


def run_file(path, clips):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"clips": clips})


EACH = [name if name == "pooled" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a list of six videos of two classes, and a tiny checkpoint of ours."""
    folder = tmp_path_factory.mktemp("deployed")
    make_dataset(folder)
    save(lively(RECIPE), RECIPE.as_dict(), folder / "best.pt")
    return folder


@pytest.mark.parametrize("name", EACH)
def test_pt2_computes_what_the_model_does_for_any_batch(name, tmp_path):
    model, path = model_of(name), tmp_path / "model.pt2"
    logits, features = write_pt2(model, SHAPE, CARD | {"recipe": RECIPE.as_dict()}, path, features=True)
    assert (logits.name, features.name) == ("logits", "features")
    assert max(logits.difference, features.difference) < 1e-5
    for count in (1, 2, 5):
        clips = clips_of(count)
        found = torch.export.load(path).module()(torch.from_numpy(clips))
        np.testing.assert_allclose(found[0].detach().numpy(), logits_of(model, clips), atol=1e-5)
        assert found[1].shape == (count, 64)
        assert np.array_equal(open_pt2(path)(clips)[0], found[0].detach().numpy())


@pytest.mark.parametrize("name", EACH)
def test_half_precision_is_near_and_what_must_be_exact_is_float32(name, tmp_path):
    model, path = model_of(name), tmp_path / "model.onnx"
    (difference,) = write_onnx(model, SHAPE, {"recipe": {}}, path, features=False, precision="fp16")
    clips = clips_of(5)
    expected, (found,) = logits_of(model, clips), run_file(path, clips)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.01 * np.abs(expected).max()
    assert 0 < difference.difference < difference.allowed
    proto = onnx.load(path)
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert kinds["conv1.weight"] == kinds["layer4.0.conv1.weight"] == onnx.TensorProto.FLOAT16
    assert kinds["mean"] == kinds["fc.weight"] == onnx.TensorProto.FLOAT
    casts = [node.attribute[0].i for node in proto.graph.node if node.op_type == "Cast"]
    assert casts == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT]  # bytes, in, out


@pytest.mark.slow
def test_a_model_beyond_the_range_of_half_precision_is_refused(tmp_path):
    model = model_of("pooled")
    with torch.no_grad():
        model.bn1.weight *= 1e6
        model.layer1[0].bn2.weight *= 1e-6
    with pytest.raises(UserError, match="fp16"):
        write_onnx(model, SHAPE, {"recipe": {}}, tmp_path / "x.onnx", features=False, precision="fp16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EACH)
def test_int8_is_near_on_clips_like_those_it_was_calibrated_with(name, tmp_path):
    model, path = model_of(name), tmp_path / "model.onnx"
    calibration = clips_of(16, first=0)
    halves = iter((calibration[:8], calibration[8:]))
    write_onnx(model, SHAPE, {"recipe": {}}, path, features=False, precision="int8", calibration=halves)
    clips = clips_of(16)
    expected, (found,) = logits_of(model, clips), run_file(path, clips)
    error, usual = (np.sqrt(np.square(numbers).mean()) for numbers in (found - expected, expected))
    print(f"{name}: int8 differs by {error:.3g} of {usual:.3g}, root mean squares")
    assert 0 < error < 0.25 * usual  # an eighth of the channels: errors hardly average out
    assert (expected.argmax(1) == found.argmax(1)).mean() >= 0.75


@pytest.mark.slow
def test_int8_has_a_scale_for_each_channel_and_the_ranges_of_its_clips(tmp_path):
    """Against numbers worked out by hand: weights of each channel over 127, normalised pixels' largest over 127."""
    model, path = model_of("pooled"), tmp_path / "model.onnx"
    calibration = clips_of(4)
    write_onnx(model, SHAPE, {"recipe": {}}, tmp_path / "whole.onnx", features=False)
    write_onnx(model, SHAPE, {"recipe": {}}, path, features=False, precision="int8", calibration=[calibration])
    whole = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "whole.onnx").graph.initializer}
    graph = onnx.load(path).graph
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    first = next(node for node in graph.node if node.op_type == "Conv")
    pixels, weight = (made[name] for name in first.input[:2])
    assert (pixels.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
    quantized, scale, zero = (tensors[name] for name in weight.input)
    conv = whole["conv1.weight"]
    assert (quantized.dtype, zero.any()) == (np.int8, False)
    np.testing.assert_allclose(scale, np.abs(conv).max((1, 2, 3)) / 127, rtol=0.01)
    steps = np.abs(quantized * scale[:, None, None, None] - conv) / scale[:, None, None, None]
    assert steps.max() < 0.51
    normalised = (calibration - model.mean.numpy().ravel()) * model.inverse_std.numpy().ravel()
    np.testing.assert_allclose(tensors[pixels.input[1]], np.abs(normalised).max() / 127, rtol=0.01)
    assert tensors[pixels.input[2]] == 0
    biases = [node.input[2] for node in graph.node if node.op_type == "Conv"]
    assert all(tensors[name].dtype == np.float32 for name in biases)


@pytest.mark.slow
def test_a_model_that_the_quantizer_refuses_is_named_in_one_line(tmp_path, monkeypatch):
    def refuse(proto, batches):
        raise ValueError("no such thing\nmore")

    monkeypatch.setattr(onnx_precision, "to_int8", refuse)
    with pytest.raises(UserError, match=r"cannot be written as int8 \(ValueError: no such thing\); leave --precision out"):
        write_onnx(model_of("pooled"), SHAPE, {"recipe": {}}, tmp_path / "x.onnx", features=False, precision="int8")
    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(UserError, match="cannot export this model"):
        write_pt2(model_of("pooled"), SHAPE, {"recipe": {}}, tmp_path / "x.pt2", features=False)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_int8_is_worth_on_a_list(data, tmp_path, run_command):
    folder = data
    words = ["export", "--checkpoint", folder / "best.pt", "--pipe", PIPE, "--precision", "int8", "--workers", 1]
    lists = ["--calibrate", folder / "list.txt", "--calibration-videos", 4, "--check", folder / "list.txt"]
    done = run_command(*words, *lists, "--out", tmp_path / "x.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    tops = re.findall(r"  (PyTorch, fp32|x\.onnx, int8): top-1 ([\d.]+) % \(6 videos of list.txt, one centre view", done.stdout)
    assert [name for name, _ in tops] == ["PyTorch, fp32", "x.onnx, int8"]
    same = int(re.search(r"the best class is the same for (\d) of 6 videos of list.txt; logits differ by", done.stdout)[1])
    assert abs(float(tops[0][1]) - float(tops[1][1])) <= 100 * (6 - same) / 6 + 0.1
    assert f"trtexec --onnx={tmp_path}/x.onnx " in done.stdout
    proto = onnx.load(tmp_path / "x.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in proto.graph.node}
    assert json.loads((tmp_path / "x.onnx.card.json").read_text())["recipe"]["name"] == "tiny"


def test_pt2_is_checked_on_a_list_and_carries_its_card(data, tmp_path, capsys):
    folder = data
    words = ["--checkpoint", folder / "best.pt", "--pipe", PIPE, "--workers", 1]
    run(*words, "--to", "pt2", "--out", tmp_path / "x.pt2", "--check", folder / "list.txt")
    told = capsys.readouterr().out
    assert "checked with torch.export.load on random clips, batches of 1 and 3:" in told
    assert "the best class is the same for 6 of 6 videos of list.txt" in told
    extra = {"c2d_fast.card": ""}
    torch.export.load(tmp_path / "x.pt2", extra_files=extra)
    assert json.loads(extra["c2d_fast.card"]) == json.loads((tmp_path / "x.pt2.card.json").read_text())
    assert str(ROOT).encode() not in (tmp_path / "x.pt2").read_bytes()


def test_what_does_not_go_together_is_refused_in_one_line(data, tmp_path, run_command):
    folder = data
    listed = folder / "list.txt"
    for more, part in (
        (["--to", "pt2", "--precision", "int8"], "only ONNX is written so"),
        (["--to", "safetensors", "--precision", "fp16"], "is safetensors; give --to onnx"),
        (["--to", "onnx", "--precision", "int8"], "give a list of some with --calibrate LIST"),
        (["--to", "onnx", "--calibrate", listed], "only --precision int8 takes ranges from videos"),
        (["--to", "onnx", "--calibration-videos", 3], "are of --calibrate LIST"),
        (["--to", "onnx", "--check", listed], "a pipe file says how videos become clips"),
        (["--to", "safetensors", "--check", listed], "score them with c2d_fast.test"),
        (["--to", "pt2", "--check", tmp_path / "none.txt", "--pipe", PIPE], "none.txt"),
    ):
        with pytest.raises(UserError) as refused:
            run("--checkpoint", folder / "best.pt", "--out", tmp_path / "x", *more)
        assert part in str(refused.value)
    assert not list(tmp_path.iterdir())
    done = run_command("export", "--checkpoint", folder / "best.pt", "--to", "onnx", "--precision", "int8")
    one_line(done, 2, "error: --precision int8: ")


def test_the_line_for_tensorrt_fits_the_file(tmp_path):
    line = trtexec_line(tmp_path / "my model.onnx", (8, 224, 224), "fp16")
    assert line.startswith(f"trtexec '--onnx={tmp_path}/my model.onnx' '--saveEngine={tmp_path}/my model.plan' ")
    assert "--minShapes=clips:1x8x224x224x3 --optShapes=clips:8x8x224x224x3 --maxShapes=clips:32x8x224x224x3" in line
    assert line.endswith(" --fp16")
    assert trtexec_line(tmp_path / "x.onnx", (8, 224, 224), "int8").endswith(" --int8")
    assert "16" not in trtexec_line(tmp_path / "x.onnx", (8, 224, 224), "fp32").split()[-1]


def test_what_int8_loses_is_told_and_not_refused():
    assert Difference("logits", 3.0, largest=5.0, spread=0.0, precision="int8").allowed > 1e30
    assert Difference("logits", 0.0, largest=50.0, spread=20.0, precision="fp16").allowed == pytest.approx(1.0)
