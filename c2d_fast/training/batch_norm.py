"""Running statistics of batch normalisation: each rank has its own, averaged once an epoch, and a bad batch spoils none."""

import torch
from torch import Tensor, nn

from c2d_fast.errors import UserError
from c2d_fast.recipe import Recipe
from c2d_fast.training.distributed import Group


def fewest_values(recipe: Recipe, batch_size: int) -> int:
    """Returns how many values of a channel the last layer normalises together, which is where they are fewest.

    Of several shapes of clips (training.grid) it is the one that leaves fewest.
    """
    return batch_size * min(_values(recipe, *shape) for shape in _shapes(recipe))


def _shapes(recipe: Recipe) -> list[tuple[int, int]]:
    """Returns frames and pixels of a side of all clips that are trained on."""
    return [(recipe.clip.num_frames, recipe.crop.size), *((frames, size) for _, frames, size in recipe.training.grid)]


def _values(recipe: Recipe, num_frames: int, size: int) -> int:
    frames = num_frames // (2 if recipe.model.temporal_pool else 1)
    side = (size + 1) // 2  # the stem's convolution; its pool, then, has padding or not; then three stages halve
    side = (side - 3) // 2 + 1 if recipe.model.temporal_pool else (side + 1) // 2
    for _ in range(3):
        side = (side + 1) // 2
    return int(frames * side**2)


def check_batch_size(recipe: Recipe, batch_size: int, ranks: int = 1) -> int:
    """Returns a batch size that can be trained.

    Args:
        recipe: its model, clip, crop and training.
        batch_size: on each rank.
        ranks: that normalise together.

    Raises:
        UserError: batch normalisation would see a single value, which has no variance, or it is no whole number of videos.
    """
    clips = recipe.training.clips_per_video
    if batch_size % clips:
        nearest = max(round(batch_size / clips), 1) * clips
        raise UserError(
            f"--batch-size {batch_size}: must be a multiple of {clips}, the clips of each video (the recipe's "
            f"training.clips_per_video); give --batch-size {nearest}"
        )
    if fewest_values(recipe, batch_size * ranks) > 1:
        return batch_size
    num_frames, size = min(_shapes(recipe), key=lambda shape: _values(recipe, *shape))
    raise UserError(
        f"--batch-size {batch_size}: {num_frames} frames of {size} pixels leave the last layer one "
        "value for each channel, and batch normalisation needs two at least; give --batch-size 2, or a recipe with larger crops"
    )


class RunningStatistics:
    """The running means and variances of all batch normalisations of a model, seen as one vector."""

    def __init__(self, model: nn.Module):
        # DDP's and the compiler's wrappers share them with the model.
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        buffers = [(norm.running_mean, norm.running_var) for norm in norms]
        self._tensors: list[Tensor] = [tensor for pair in buffers for tensor in pair if tensor is not None]
        self._sizes = [tensor.numel() for tensor in self._tensors]
        names = {tensor.data_ptr(): name for name, tensor in model.named_buffers()}
        self._names = [names[tensor.data_ptr()] for tensor in self._tensors]

    def vector(self) -> Tensor:
        """Returns a copy of all: float32 [n], on the model's device."""
        if not self._tensors:
            return torch.zeros(0)
        return torch.cat(self._tensors)

    @torch.no_grad()
    def set(self, vector: Tensor) -> None:
        """Puts values of vector() back in place. Waits for nothing."""
        if self._tensors:
            torch._foreach_copy_(self._tensors, list(vector.split(self._sizes)))

    def restore_unless(self, good: Tensor, before: Tensor) -> None:
        """Puts back what was before, unless the step was good (bool, on the device). Waits for nothing."""
        if self._tensors:
            self.set(torch.where(good, self.vector(), before))

    def average(self, group: Group) -> None:
        """Gives all ranks the mean of their statistics."""
        if group.world > 1:
            self.set(group.sum(self.vector()) / group.world)

    def put_into(self, state: dict[str, Tensor], vector: Tensor) -> dict[str, Tensor]:
        """Returns a state dict of the model with other statistics."""
        return state | dict(zip(self._names, vector.split(self._sizes), strict=True))
