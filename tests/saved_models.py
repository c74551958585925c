"""Small models, and files of them in the forms that are read."""

import torch

from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import published_name
from c2d_fast.recipe import Model, load_pipe

DEMO = load_pipe("dali_pipes/demo.py").recipe


def c2d(num_classes=5, **kwargs):
    torch.manual_seed(num_classes)
    return C2D(Model(**{"depth": 18, "temporal_pool": True, "dropout": 0.0, "num_classes": num_classes} | kwargs))


def our_checkpoint(model, path, recipe=DEMO, **more):
    recipe = recipe.with_num_classes(model.fc.out_features)
    content = {"model": model.state_dict(), "optimizer": {}, "scaler": {}, "progress": {"epoch": 3}, "recipe": recipe.as_dict()}
    checkpoint.save(content | more, path)
    return path


def published(model):
    return {published_name(key): value for key, value in model.state_dict().items()}
