"""`info`: counts that add up, what a file is, what the machine can do."""

import json
import re

import pytest
import torch

from c2d_fast import versions
from c2d_fast.commands import machine_facts, run_info
from c2d_fast.commands.machine_facts import machine_facts as facts_here
from c2d_fast.errors import UserError
from c2d_fast.info import parse
from c2d_fast.loading import decode
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import published_name
from c2d_fast.recipe import load_pipe

DEMO = load_pipe("dali_pipes/demo.py").recipe


@pytest.mark.parametrize(
    ("pipe", "parameters", "gmac", "published"),
    [
        ("k400_8x8", "24.327632 M", "19.29", True),
        ("k400_8x8_nopool", "24.327632 M", "32.70", True),
        ("k400_8x8_nopool_r101", "43.319760 M", "62.40", True),
        ("k400_16x4", "24.327632 M", "38.58", True),
        ("k400_8x8_nonlocal", "31.686096 M", "27.42", False),
    ],
)
def test_info_counts_what_is_published(capsys, pipe, parameters, gmac, published):
    run_info.run_info(parse(["--pipe", f"dali_pipes/{pipe}.py"]))
    shown = capsys.readouterr()
    assert shown.err == ""
    rows = dict(re.findall(r"^(parameters|GMAC / clip) +(.*)$", shown.out, re.MULTILINE))
    assert rows["parameters"].split("   ")[0] == parameters
    assert re.split(r"  +", rows["parameters"]) == [parameters, parameters if published else "-"]
    assert re.split(r"  +", rows["GMAC / clip"]) == [gmac, gmac if published else "-"]
    assert ("top-1" in shown.out) == published
    assert "milestones [" in shown.out
    assert shown.out.index("milestones [") < shown.out.index("\nlayer1 ") < shown.out.index("\nmachine\n")


@pytest.mark.parametrize("pipe", ["k400_8x8", "k400_8x8_nopool", "k400_8x8_nonlocal"])
def test_parts_are_the_whole_model(pipe):
    recipe = load_pipe(f"dali_pipes/{pipe}.py").recipe
    parts = {part["name"]: part for part in run_info.count_parts(recipe)}
    assert list(parts) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    with torch.device("meta"):
        model = C2D(recipe.model).eval()
    assert sum(part["parameters"] for part in parts.values()) == sum(p.numel() for p in model.parameters())
    assert sum(part["macs"] for part in parts.values()) == multiply_accumulates(model, recipe)
    pooled = recipe.model.temporal_pool
    assert parts["stem"]["output"] == [8, 55, 55, 64] if pooled else [8, 56, 56, 64]
    assert parts["layer1"]["output"] == [4, 55, 55, 256] if pooled else [8, 56, 56, 256]
    assert parts["layer4"]["output"] == [4 if pooled else 8, 7, 7, 2048]
    assert parts["head"]["output"] == [400]
    assert parts["head"]["macs"] == 2048 * 400
    blocks = [parts[f"layer{stage}"]["nonlocal_blocks"] for stage in (1, 2, 3, 4)]
    assert blocks == ([0, 2, 3, 0] if pipe == "k400_8x8_nonlocal" else [0, 0, 0, 0])


def multiply_accumulates(model, recipe):
    """Counted from the layers' shapes, in another way than the command."""
    total = 0

    def convolution(module, inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    def attention(block, inputs, output):  # two products of every position with every pooled one
        nonlocal total
        frames, (channels, height, width) = inputs[1], inputs[0].shape[1:]
        total += 2 * (channels // 2) * (frames * height * width) * (frames * (height // 2) * (width // 2))

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(convolution)
    for block in model.nonlocal_blocks.values():
        block.register_forward_hook(attention)
    size = recipe.crop.size
    with torch.device("meta"), torch.no_grad():
        model(torch.empty((1, recipe.clip.num_frames, size, size, 3), dtype=torch.uint8))
    return total


def test_a_process_prints_one_json_object_and_nothing_else(run_command, tmp_path):
    path = demo_checkpoint(tmp_path / "best.pt")
    done = run_command("info", "--pipe", "dali_pipes/demo.py", "--checkpoint", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert list(facts) == ["pipe", "recipe", "model", "checkpoint", "machine"]
    assert facts["recipe"] == json.loads(json.dumps(DEMO.as_dict()))
    assert facts["model"]["parameters"] == sum(part["parameters"] for part in facts["model"]["parts"])
    assert facts["checkpoint"]["lists"] == [{"path": "train.txt", "sha256": "0" * 64}]
    machine = facts["machine"]
    assert machine["problems"] == []
    assert machine["versions"]["torch"]
    assert machine["cuda"]["gpus"] == []
    assert machine["decoding"]["h264"] == "ffmpeg"
    assert machine["decoding"]["reason"] == "there is no CUDA GPU"
    assert {"h264", "hevc", "vp9", "mpeg4"} <= set(machine["decoding"]["ffmpeg"])
    assert "vp9" in machine["decoding"]["dali"]
    assert machine["memory"]["total"] > machine["memory"]["available"] > 0


def demo_checkpoint(path, **parts):
    model = C2D(DEMO.with_num_classes(3).model)
    content = {"model": model.state_dict(), "optimizer": {}, "scaler": {}, "classes": ["a", "b", "c\x1b[2J"],
               "progress": {"epoch": 7, "step": 70, "best_top1": 51.5, "best_epoch": 6}, "seed": 3,
               "recipe": DEMO.with_num_classes(3).as_dict(), "versions": {"torch": "2.10.0"},
               "lists": [{"path": "train.txt", "sha256": "0" * 64}]}  # fmt: skip
    checkpoint.save(content | parts, path)
    return path


def test_a_checkpoint_says_what_it_is(tmp_path, capsys):
    run_info.run_info(parse(["--checkpoint", str(demo_checkpoint(tmp_path / "best.pt"))]))
    text = capsys.readouterr().out
    for part in ("of this project", "7, 70 steps", "51.5 % in validation, after epoch 6", "sha256 " + "0" * 64,
                 "recipe         demo", "torch 2.10.0", "3 (a, b, c\\x1b[2J)", "seed           3"):  # fmt: skip
        assert part in text
    assert "\x1b" not in text
    assert "best top-1 " in text
    several = {"recipe": DEMO.with_num_classes(3).as_dict() | {"labels": {"kind": "several"}}}
    run_info.run_info(parse(["--checkpoint", str(demo_checkpoint(tmp_path / "several.pt", **several))]))
    text = capsys.readouterr().out
    assert "best mAP " in text
    assert "top-1" not in text
    names = {published_name(key): value for key, value in C2D(DEMO.model).state_dict().items()}
    torch.save({"state_dict": names}, tmp_path / "x.pth")
    run_info.run_info(parse(["--checkpoint", str(tmp_path / "x.pth")]))
    text = capsys.readouterr().out
    assert "weights in the published names" in text
    assert "8 (not named)" in text


def test_odd_cards_are_shown_all_the_same(tmp_path, capsys):
    odd = {"progress": {"best_top1": float("nan")}, "lists": "none", "versions": [torch.zeros(2)], "recipe": {"model": 5}}
    path = str(demo_checkpoint(tmp_path / "odd.pt", **odd))
    run_info.run_info(parse(["--checkpoint", path]))
    assert "best top-1" in capsys.readouterr().out
    run_info.run_info(parse(["--checkpoint", path, "--json"]))
    facts = json.loads(capsys.readouterr().out)["checkpoint"]
    assert facts["progress"] == {"best_top1": "nan"}
    assert facts["recipe"] == {"model": 5}


def test_a_missing_file_is_an_error_and_nothing_is_shown(tmp_path, capsys):
    with pytest.raises(UserError, match="no such file"):
        run_info.run_info(parse(["--checkpoint", str(tmp_path / "none.pt"), "--json"]))
    assert capsys.readouterr().out == ""


def test_a_gpu_with_nvdec_is_told(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    gpu = type("Gpu", (), {"name": "NVIDIA T4", "total_memory": 15_800_000_000, "major": 7, "minor": 5})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: gpu)
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    run_info.run_info(parse([]))
    text = capsys.readouterr().out
    assert "NVIDIA T4, 15.8 GB, compute capability 7.5, no native bf16" in text
    assert "decoded with nvdec: a CUDA GPU, and the driver's video decoding library" in text


@pytest.mark.parametrize(
    ("installed", "cuda", "problem"),
    [
        ({"nvidia-dali-cuda120": "2.4.0"}, "12.8", ""),
        ({"nvidia-dali-cuda130": "2.4.0"}, "13.0", ""),
        ({"nvidia-dali-cuda120": "2.4.0"}, None, ""),
        ({}, "13.0", ""),
        ({"nvidia-dali-cuda120": "2.4.0"}, "13.0", "nvidia-dali-cuda120 is for CUDA 12, and PyTorch was built with 13.0"),
        ({"nvidia-dali-cuda130": "2.4.0"}, "12.8", "pip install nvidia-dali-cuda120"),
        (
            {"nvidia-dali-cuda120": "2.4.0", "nvidia-dali-cuda130": "2.4.0"},
            "13.0",
            "nvidia-dali-cuda120 and nvidia-dali-cuda130 are both installed",
        ),
    ],
)
def test_a_dali_for_another_cuda_is_named(monkeypatch, installed, cuda, problem):
    monkeypatch.setattr(versions, "installed_dali", lambda: installed)
    found = versions.dali_problem(cuda)
    assert problem in found if problem else not found


def test_a_mismatch_is_a_note_and_no_problem(monkeypatch, capsys):
    monkeypatch.setattr(machine_facts, "dali_problem", lambda cuda: f"it is not for CUDA {cuda}")
    facts = facts_here()
    assert facts["notes"] == [f"it is not for CUDA {torch.version.cuda}"]
    assert facts["problems"] == []
    run_info.run_info(parse([]))
    assert "note           it is not for CUDA" in capsys.readouterr().out


def test_the_dali_that_is_installed_is_recorded_by_its_name():
    (name,) = versions.installed_dali()
    assert re.fullmatch(r"\d+\.\d+.* \(nvidia-dali-cuda\d+\)", facts_here()["versions"]["DALI"])
    assert versions.installed_dali()[name] == versions.version_of(name)


def test_what_fails_is_said_and_the_rest_is_shown(monkeypatch, capsys):
    def broken(*args):
        raise OSError("libx.so: cannot open shared object file")

    monkeypatch.setattr(machine_facts, "_has_codec", broken)
    monkeypatch.setattr(torch.cuda, "is_available", broken)
    facts = facts_here()
    assert facts["cuda"] is facts["decoding"] is facts["encoders"] is None
    assert "cuda: OSError: libx.so: cannot open shared object file" in facts["problems"]
    run_info.run_info(parse([]))
    text = capsys.readouterr().out
    assert "problem        cuda: OSError: libx.so" in text
    assert "usable" in text
