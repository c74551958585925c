"""Running statistics of batch normalisation: each rank has its own, averaged once an epoch, and a bad batch spoils none."""

import torch
from torch import Tensor, nn

from c2d_fast.distributed import Group


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

    def keep_if(self, good: Tensor, before: Tensor) -> None:
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
