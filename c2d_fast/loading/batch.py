"""What the trainer and the evaluation are fed. They know nothing of where it comes from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Normalization = tuple[Sequence[float], Sequence[float]]
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, RGB, of numbers in 0..1."""
_TENSORS = ("clip", "label", "index", "valid", "targets")


@lru_cache(maxsize=8)  # made once: a copy to a GPU from ordinary memory is waited for
def _shift_and_scale(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns what makes (x / 255 - mean) / std of x: float32 [1, C, 1, 1, 1] each, on a device."""
    with torch.inference_mode(False):  # a first call within it would make tensors that autograd refuses later
        deviations = torch.tensor(std)
        parts = (-torch.tensor(mean) / deviations, 1 / (255 * deviations))
        shift, scale = (part.view(1, -1, 1, 1, 1).to(device) for part in parts)
    return shift, scale


@dataclass  # not frozen: Lightning sets the fields of a copy where it moves or converts them
class Batch:
    """Clips on the model's device, with what belongs to each."""

    clip: Tensor
    """RGB 0..255, uint8 [N, T, H, W, C], contiguous: seen as [N*T, C, H, W] it is channels-last without a copy."""
    label: Tensor
    """int64 [N], on the clip's device: -1 where there is none; of several the heaviest, of like ones the first in the list."""
    index: Tensor
    """The videos' indices in the plan, int64 [N], on the clip's device."""
    valid: Tensor
    """bool [N], on the clip's device: False where the row is padding, which must not count."""
    path: Sequence[str] = ()
    """The videos' files, N of them."""
    num_valid: int = 0
    """Rows that are valid, as the host knows it: they stand first."""
    targets: Tensor | None = None
    """float32 [N, K], on the clip's device: 1 or its weight of each label, 0 of other classes. None of a list whose videos have
    one label each."""

    def as_NCTHW(  # noqa: N802 (the layout's name)
        self, dtype: torch.dtype | None = None, normalize: Literal[False, True] | Normalization = False
    ) -> Tensor:
        """Returns the clips as [N, C, T, H, W], for models that take that (torchvision's video models, SlowFast, X3D).

        Without arguments it is a view, uint8, of the same memory: nothing is copied. In memory it is channels-last
        (torch.channels_last_3d), which convolutions of mixed precision like best.

        Args:
            dtype: of the result; None: the clip's, or float32 with normalize. Without normalize the numbers stay 0..255.
            normalize: (mean, std) of each channel, for numbers in 0..1, as torchvision and timm give them; True: ImageNet's.
        """
        clip = self.clip.movedim(-1, 1)
        if not normalize:
            return clip if dtype is None else clip.to(dtype)
        mean, std = normalize if isinstance(normalize, tuple) else IMAGENET
        shift, scale = _shift_and_scale(tuple(mean), tuple(std), clip.device)
        # In float32 and rounded once: bfloat16 has too few digits for two steps.
        return torch.addcmul(shift, clip.float(), scale).to(dtype or torch.float32)

    def as_NTCHW(  # noqa: N802
        self, dtype: torch.dtype | None = None, normalize: Literal[False, True] | Normalization = False
    ) -> Tensor:
        """Returns the clips as [N, T, C, H, W], for transformers' video models and for models of single frames; as as_NCTHW."""
        return self.as_NCTHW(dtype, normalize).transpose(1, 2)

    def to(self, device: str | torch.device, *, non_blocking: bool = False) -> "Batch":
        """Returns it with its tensors on a device, as Tensor.to does: itself where they are there already."""
        tensors: dict[str, Any] = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self._tensors()}
        return self if tensors["clip"] is self.clip else replace(self, **tensors)

    def trimmed(self) -> "Batch":
        """Returns the rows that are valid. They stand first, which the host knows without asking a GPU."""
        if self.num_valid == len(self.clip):
            return self
        tensors: dict[str, Any] = {name: tensor[: self.num_valid] for name, tensor in self._tensors()}
        return replace(self, **tensors, path=self.path[: self.num_valid])

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, tensor) for name in _TENSORS if (tensor := getattr(self, name)) is not None)


class TrainSource(Protocol):
    """Gives the batches of an epoch, from any step on; the same ones for the same epoch and step."""

    @property
    def steps_per_epoch(self) -> int:
        """Returns the optimizer steps of an epoch."""
        ...

    @property
    def clips_per_step(self) -> int:
        """Returns the clips of a step, of all ranks together."""
        ...

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's batches of an epoch from an optimizer step on; several for each step where they accumulate."""
        ...

    def name(self, index: int) -> str:
        """Says which video has an index in the plan, for messages."""
        ...


class EvalSource(Protocol):
    """Gives every view of every video once, in batches of one fixed size."""

    @property
    def num_videos(self) -> int:
        """Returns how many videos there are."""
        ...

    def views(self) -> Iterator[Batch]:
        """Yields all views; a video's views may be spread over several batches."""
        ...
