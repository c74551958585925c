"""Pipe files of the tiny recipe with some fields changed."""

CODE = """
from dataclasses import replace
from c2d_fast.recipe import Augment, Clip, Labels
from tiny_pipe import RECIPE as TINY, eval_pipe, train_pipe
RECIPE = replace(TINY, name="changed", {parts})
"""


def changed_pipe(path, **parts):
    """Writes one; parts are code: training="clips_per_video=2" changes that field, clip="Clip(...)" the whole."""
    code = ", ".join(
        f"{name}={text if '(' in text.split('=')[0] else f'replace(TINY.{name}, {text})'}" for name, text in parts.items()
    )
    path.write_text(CODE.format(parts=code))
    return path
