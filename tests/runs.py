"""Whole training runs, in this process or in processes of their own, and what they leave behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fork_server
import torch
from fork_server import environment

from c2d_fast.commands.run_train import run_train
from c2d_fast.errors import EndedError
from c2d_fast.model import checkpoint
from c2d_fast.train import parse
from c2d_fast.training.train_step import TrainStep

ROOT = Path(__file__).parents[1]
FAULTY = ROOT / "tests" / "faulty_pipe.py"
PIPE = Path(__file__).parent / "tiny_pipe.py"


def flags(data, out, *more, epochs=2, batch_size=2, workers=1):
    """The flags of a run of 4 steps an epoch over 8 videos of two classes."""
    given = ["--pipe", PIPE, "--train-list", data, "--val-list", data, "--out", out, "--epochs", epochs]
    return [str(word) for word in [*given, "--batch-size", batch_size, "--workers", workers, "--log-batches", *more]]


def train(*words, stop_after=None, number=signal.SIGTERM, monkeypatch=None, before_step=None):
    """Runs the command in this process. After so many steps of it a signal comes; returns the exit code."""
    taken, original = [0], TrainStep.__call__

    def step(self, batches, number_of_step, metrics):
        if before_step:
            before_step(self, number_of_step)
        result = original(self, batches, number_of_step, metrics)
        taken[0] += 1
        if taken[0] == stop_after:
            os.kill(os.getpid(), number)
            while not STOPS[-1].received:  # a thread hears of it
                pass
        return result

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", step)
        patch.setattr("c2d_fast.commands.run_train.StopSignals", _noted)
        try:
            run_train(parse(list(map(str, words))))
        except EndedError as error:
            return error.exit_code
    return 0


STOPS = []


def _noted():
    from c2d_fast.processes.signals import StopSignals

    STOPS.append(StopSignals())
    return STOPS[-1]


def command(*words, ranks=1, restarts=0):
    """The words of the train command, through torchrun for several ranks."""
    module = ["-m", "c2d_fast.train", *map(str, words)]
    if ranks == 1:
        return [sys.executable, *module]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return [*launcher, f"--max-restarts={restarts}", *module]


def run(*words, ranks=1, restarts=0, torchrun=False, timeout=240, env=None):
    """Runs the command in processes of its own, one for each rank; with restarts, or where it is asked for, under torchrun."""
    env = environment(**(env or {}))
    if ranks == 1 or restarts or torchrun:
        return fork_server.run(command(*words, ranks=ranks, restarts=restarts), env, timeout)
    return run_ranks(command(*words), ranks, env, timeout)


def run_ranks(words, ranks, env, timeout):
    """Does what torchrun does: starts the ranks, ends all when one fails, and returns 1 then; what they say is put together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = env | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    env |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    processes = [
        fork_server.start(words, env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]  # fmt: skip

    def ended(process):
        said = process.communicate(timeout=timeout)
        if process.returncode:
            for other in processes:
                other.terminate()
        return said

    try:
        with ThreadPoolExecutor(ranks) as pool:
            outs, errs = zip(*pool.map(ended, processes), strict=True)
    finally:
        for process in processes:
            process.kill()
    failed = any(process.returncode for process in processes)
    return subprocess.CompletedProcess(words, int(failed), "".join(outs), "".join(errs))


def last(folder, name="last.pt"):
    return checkpoint.load(Path(folder) / name, "--resume")


def same_weights(a, b):
    """Compares all that decides how two runs go on: weights, running statistics, momentum, progress."""
    moments = zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True)
    same = [torch.equal(x["momentum_buffer"], y["momentum_buffer"]) for x, y in moments]
    same += [torch.equal(a["model"][key], b["model"][key]) for key in a["model"]]
    return all(same) and a["progress"] == b["progress"] and a["model"].keys() == b["model"].keys()


def batches(folder, rank=0):
    """What a run was fed: (epoch, step, part) -> videos and hash. Steps that were taken again must have been fed the same."""
    fed = {}
    for line in (Path(folder) / f"batches-rank{rank}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        place = (entry["epoch"], entry["step"], entry["part"])
        assert fed.setdefault(place, (entry["videos"], entry["sha256"])) == (entry["videos"], entry["sha256"]), place
    return fed


def undisturbed(whole_run, out):
    """A run has ended with the weights and batches of one that nothing has disturbed; says whether it has quarantined none."""
    assert same_weights(last(out), last(whole_run))
    fed, expected = ({place: sha256 for place, (_, sha256) in batches(folder).items()} for folder in (out, whole_run))
    assert fed == expected
    return not (out / "quarantine.jsonl").exists()


def metrics(folder):
    """The recorded figures that do not depend on time."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("time_s", "clips_per_s", "data_wait_percent")} for line in lines]


def one_line(done, code, *parts):
    """The command ends with an exit code and one line on stderr."""
    assert done.returncode == code, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def start(*words, **env):
    """Begins the command in a process group of its own."""
    return fork_server.start(command(*words), environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)  # fmt: skip


def wait_for_steps(process, out, number):
    """Waits until so many batches have been fed."""
    deadline = time.monotonic() + 90
    while not (out / "batches-rank0.jsonl").exists() or len((out / "batches-rank0.jsonl").read_text().splitlines()) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end(process):
    """Kills all of a process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
