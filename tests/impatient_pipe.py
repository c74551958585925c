"""The tiny recipe, with impatient_source.py's limits."""

from impatient_source import impatient

from dali_pipes import k400_8x8
from tests.tiny_pipe import RECIPE

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]


def train_pipe(source, **kwargs):
    return k400_8x8.train_pipe(impatient(source), **kwargs)


def eval_pipe(source, **kwargs):
    return k400_8x8.eval_pipe(impatient(source), **kwargs)
