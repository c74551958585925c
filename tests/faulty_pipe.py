"""The tiny recipe with faults: see faulty_source.py for those of the source; those of the model are here."""

import os
import signal

import torch
from faulty_source import FAULT, faulty

from c2d_fast.model.c2d import C2D
from dali_pipes.k400_8x8 import eval_pipe
from dali_pipes.k400_8x8 import train_pipe as sound_train_pipe
from tests.tiny_pipe import RECIPE

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]


def train_pipe(source, **kwargs):
    return sound_train_pipe(faulty(source), **kwargs)


_sound_forward, _calls = C2D.forward, [0]


def _forward(self, clip):
    out = _sound_forward(self, clip)
    _calls[0] += self.training
    here = os.environ.get("RANK", "0") == str(FAULT.get("rank", 0)) and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if not self.training or not here or _calls[0] not in FAULT.get("calls", ()):
        return out
    if FAULT["kind"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT["kind"] == "out of memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return out * float("nan") if FAULT["kind"] == "nan" else out


C2D.forward = _forward
