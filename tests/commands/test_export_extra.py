"""Without the packages of the extra `export`: ONNX is refused in one line, and all else works."""

import os
import subprocess
import sys

import fork_server
import pytest
import torch
from conftest import ROOT
from runs import environment, one_line

import c2d_fast
from c2d_fast.model.onnx_file import _PACKAGES


@pytest.fixture
def without(tmp_path):
    """A folder that is first on the path of a machine that lacks the packages."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    for name in _PACKAGES:
        (folder / f"{name}.py").write_text(f"raise ImportError(\"No module named '{name}'\")\n")
    return folder


def export(without, folder, *words):
    command = [sys.executable, "-m", "c2d_fast.export", *map(str, words)]
    return fork_server.run(command, environment(), timeout=120, cwd=folder, first_on_path=[without])


def test_onnx_is_refused_before_anything_is_read(without, tmp_path):
    done = export(without, tmp_path, "--checkpoint", "nowhere.pt", "--out", "x.onnx")
    one_line(done, 2, "error: --out x.onnx: ", "packages that do not import: onnx (", "; pip install 'c2d-fast[export]'\n")
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked"]


def test_safetensors_is_written_without_them(without, tmp_path):
    pytest.importorskip("safetensors")
    torch.save(c2d_fast.load_model("demo", device="cpu").state_dict(), tmp_path / "x.pth")
    done = export(without, tmp_path, "--pipe", "demo", "--checkpoint", "x.pth", "--to", "safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert c2d_fast.load_model("demo", tmp_path / "x.safetensors", "cpu").state_dict().keys()


def test_nothing_else_imports_them(without, tmp_path):
    code = "from c2d_fast.commands import run_train, run_test, run_predict, run_info, run_export"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(without), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
