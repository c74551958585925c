"""Parts as tasks of a Slurm array and as pods of a Kubernetes job, by the files of examples/."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import slurm
import yaml
from media import make_dataset
from scans import scan

from c2d_fast.prepare import parse

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def whole(tmp_path, run_command):
    """A list of nine videos, and the bytes of its manifest and packet table as one scan writes them."""
    path = make_dataset(tmp_path, count=9, num_frames=(20, 31))
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    return path, [(tmp_path / name).read_bytes() for name in ("m.npz", "m.packets.npz")]


def is_whole(folder, whole):
    return [(folder / name).read_bytes() for name in ("m.npz", "m.packets.npz")] == whole[1]


@pytest.mark.slow
@pytest.mark.skipif(not slurm.is_here(), reason="no slurmctld, slurmd and munged here (Debian: slurm-wlm), or not root")
def test_a_slurm_array_makes_the_parts_and_a_job_that_waits_for_it_joins_them(whole, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "slurm").mkdir()
    with slurm.Slurm(tmp_path / "slurm") as cluster:
        python = f"--export=ALL,PYTHON={sys.executable},PYTHONPATH={ROOT}"
        common = ["sbatch", "--parsable", python, "--chdir", ROOT, "--output", folder / "%A_%a.log"]
        scan_words = ["scan", "--list", whole[0], "--out", folder / "m.npz"]
        array = cluster.run(*common, "--array=1-3", EXAMPLES / "slurm" / "part.sh", *scan_words)
        merging = [f"--dependency=afterok:{array}", EXAMPLES / "slurm" / "merge.sh", folder / "m.npz"]
        merge = cluster.run(*common, *merging)
        states = cluster.wait(array, 120), cluster.wait(merge, 60)
    logs = {path.name: path.read_text() for path in folder.glob("*.log")}
    assert states == (["COMPLETED"] * 3, ["COMPLETED"]), logs
    assert is_whole(folder, whole)
    assert sorted(path.name for path in folder.glob("m.part-*-of-3.npz")) == [f"m.part-{i}-of-3.npz" for i in (1, 2, 3)]


def test_pods_of_a_kubernetes_job_are_given_all_parts(tmp_path):
    job, joining = (yaml.safe_load((EXAMPLES / "kubernetes" / name).read_text()) for name in ("scan.yaml", "merge.yaml"))
    count = job["spec"]["completions"]
    assert job["spec"]["completionMode"] == "Indexed"
    (tmp_path / "python").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "python").chmod(0o755)

    def words(one, index):
        (container,) = one["spec"]["template"]["spec"]["containers"]
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index)}
        command = [*container["command"], *container.get("args", [])]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith("-m\nc2d_fast.prepare\n")
        return parse(done.stdout.splitlines()[2:])

    parts = [words(job, index) for index in range(count)]
    assert [args.part for args in parts] == [(number, count) for number in range(1, count + 1)]
    assert {args.out for args in parts} == {words(joining, 0).out}
