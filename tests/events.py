"""Videos that are red in some stretches, and a model that tells red from grey."""

import av
import numpy as np
import torch
from runs import PIPE

from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import load_pipe

RATE = 10
GREY, RED = (90, 90, 90), (220, 30, 30)


def write_events(path, seconds, events, *, keys=20, size=(64, 48)):
    """A grey video that is red in some stretches; the first pixels count the frames."""
    options = {"g": str(keys), "bf": "2" if keys > 1 else "0", "crf": "12", "preset": "ultrafast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(int(seconds * RATE)):
            now = number / RATE
            picture = np.empty((size[1], size[0], 3), np.uint8)
            picture[:] = RED if any(start <= now < stop for start, stop in events) else GREY
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_red_or_not(path):
    """Writes a checkpoint of a model that says 1 of red clips, 0 of grey ones: a random trunk, a solved classifier."""
    torch.manual_seed(0)
    recipe = load_pipe(PIPE).recipe
    model = C2D(recipe.model).eval()
    clips = torch.empty(2, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3, dtype=torch.uint8)
    clips[0], clips[1] = torch.tensor(GREY, dtype=torch.uint8), torch.tensor(RED, dtype=torch.uint8)
    with torch.no_grad():
        grey, red = model.features(clips)
        direction = (red - grey) / (red - grey).square().sum()
        model.fc.weight[:] = 12 * torch.stack([-direction, direction])
        model.fc.bias[:] = -model.fc.weight @ ((red + grey) / 2)
    content = {"model": model.state_dict(), "optimizer": {}, "scaler": {}, "progress": {}, "recipe": recipe.as_dict()}
    checkpoint.save(content | {"classes": ["nothing", "an event"]}, path)
    return path
