import os
import pickle
import sys
from pathlib import Path

import fork_server
import pytest
import torch

from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint


def whole(model):
    """The least that a checkpoint of ours holds."""
    progress = {"step": 8, "epoch": 2, "clips": 0, "best_top1": 12.5, "best_epoch": 1, "skipped": 0}
    return {"model": {"fc.bias": torch.zeros(1), **model}, "optimizer": {}, "scaler": {}, "progress": progress, "recipe": {}}


@pytest.mark.parametrize("part", ["model", "optimizer", "progress", "recipe", "fc.bias"])
def test_one_that_lacks_a_part_is_refused(tmp_path, part):
    content = whole({})
    (content if part in content else content["model"]).pop(part)
    checkpoint.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=f"lacks {part}"):
        checkpoint.load(tmp_path / "x.pt", "--resume")


@pytest.mark.parametrize(
    "change",
    [{"epoch": -1}, {"epoch": "1"}, {"epoch": 0.5}, {"epoch": True}, {"epoch": 2**40}, {"best_top1": None}, {"more": 1}],
)
def test_progress_that_no_run_makes_is_refused(tmp_path, change):
    content = whole({})
    content["progress"] |= change
    checkpoint.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"its (progress|epoch|step)"):
        checkpoint.load(tmp_path / "x.pt", "--resume")


def test_what_is_saved_loads_with_weights_only(tmp_path):
    content = whole({"w": torch.arange(3.0)}) | {"names": ["a", None]}
    checkpoint.save(content, tmp_path / "last.pt")
    loaded = torch.load(tmp_path / "last.pt", weights_only=True)
    assert torch.equal(loaded["model"]["w"], content["model"]["w"])
    assert loaded["progress"] == content["progress"]
    assert checkpoint.load(tmp_path / "last.pt", "--resume")["names"] == ["a", None]
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_file_with_code_in_it_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"model": Payload()}))
    torch.save({"model": Payload()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        for read in (checkpoint.load, checkpoint.read_file):
            with pytest.raises(UserError, match="is damaged or"):
                read(tmp_path / name, "--checkpoint")
    assert not (tmp_path / "ran").exists()


def test_other_dicts_are_not_taken_for_ours(tmp_path):
    torch.save({"model": {}}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="is not a c2d_fast checkpoint"):
        checkpoint.load(tmp_path / "x.pt", "--checkpoint")
    torch.save([1], tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds a list"):
        checkpoint.load(tmp_path / "x.pt", "--checkpoint")
    with pytest.raises(UserError, match="no such file"):
        checkpoint.load(tmp_path / "y.pt", "--checkpoint")


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from c2d_fast.model import checkpoint
path = Path(sys.argv[1])
checkpoint.save({"x": torch.zeros(10)}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing past the limit fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.save({"x": torch.ones(100_000)}, path)
except checkpoint.UserError as error:
    print("refused:", error)
print(checkpoint.read_file(path, "--resume")["x"].sum().item())
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "last.pt")]
    done = fork_server.run(command, fork_server.environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    refused, value = done.stdout.splitlines()
    assert refused.startswith("refused: checkpoint")
    assert value == "0.0"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        checkpoint.save({}, tmp_path / "gone" / "last.pt")
