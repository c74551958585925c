"""A model that says 1 of clips with something bright in them, and videos in which that stands at a known place and time."""

import struct
from dataclasses import replace

import av
import numpy as np
import torch
from runs import PIPE
from tiny_pipe import RECIPE as TINY
from torch import nn

from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import Clip

SQUARE_PX = 56
RECIPE = replace(
    TINY,
    clip=Clip(num_frames=8, interval=2),
    crop=replace(TINY.crop, size=160, train_short_side=176, test_short_side=160),
)


def bright_or_not(*, temporal_pool):
    """The model: its first channel carries how bright a place is through all layers, the others are empty."""
    model = C2D(replace(RECIPE.model, temporal_pool=temporal_pool, dropout=0.0))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                inputs = slice(None) if name == "conv1" else slice(1)
                if "downsample" not in name:
                    module.weight[0, inputs] = 1 / module.weight[0, inputs].numel()
        model.fc.weight.zero_()
        model.fc.weight[1, 0], model.fc.bias[:] = 400, torch.tensor([1.0, 0.0])
    return model.eval()


def write_model(folder, *, temporal_pool):
    """Writes the model and its pipe file; returns the words of a command that takes them."""
    recipe = replace(RECIPE, model=replace(RECIPE.model, temporal_pool=temporal_pool, dropout=0.0))
    pipe, path = folder / f"bright_{temporal_pool}.py", folder / f"bright_{temporal_pool}.pt"
    pipe.write_text(
        "from dataclasses import replace\nfrom planted import RECIPE as BRIGHT\nfrom tiny_pipe import eval_pipe, train_pipe\n"
        f"RECIPE = replace(BRIGHT, model=replace(BRIGHT.model, temporal_pool={temporal_pool}, dropout=0.0))\n"
    )
    state = bright_or_not(temporal_pool=temporal_pool).state_dict()
    content = {"model": state, "optimizer": {}, "scaler": {}, "progress": {}, "recipe": recipe.as_dict()}
    checkpoint.save(content, path)
    return ["--pipe", pipe, "--checkpoint", path], {"PYTHONPATH": str(PIPE.parent)}


def write_planted(path, size, corner, when, *, num_frames=40, rate=25, quarter_turn=False):
    """Writes a dark grey video with a white square of SQUARE_PX.

    size is width and height as it is shown, corner the square's x and y, when the frames that have it. With a quarter turn
    pictures are stored turned, and the container says so.
    """
    options = {"crf": "10", "preset": "ultrafast", "g": "12"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = size[::-1] if quarter_turn else size
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            picture = np.full((size[1], size[0], 3), 40, np.uint8)
            if number in when:
                picture[corner[1] : corner[1] + SQUARE_PX, corner[0] : corner[0] + SQUARE_PX] = 255
            stored = np.ascontiguousarray(np.rot90(picture)) if quarter_turn else picture
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    if quarter_turn:  # ISO 14496-12, 8.3.2: the matrix of a track's header, version 0
        content = bytearray(path.read_bytes())
        at, one = content.index(b"tkhd") + 4 + 40, 1 << 16
        content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
        path.write_bytes(content)
    return path
