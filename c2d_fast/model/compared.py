"""Whether an exported file computes what its model does: clips to try it with, and how far its numbers are from PyTorch's."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D

Clips = NDArray[np.uint8]
"""RGB, [N, T, H, W, 3]."""
Outputs = dict[str, NDArray[np.float32]]
"""Name -> [N, K] (logits) or [N, C] (features)."""
Run = Callable[[Clips], list[NDArray[np.float32]]]
"""Computes a file's outputs, in their order."""
BATCHES = (1, 3)
"""Sizes of the batches that a file is tried with."""
_TOLERANCE = {
    "fp32": 1e-4,
    "fp16": 0.02,
}  # of the largest number put out, or of 1; int8's depends on its clips, and is measured
_OF_SPREAD = {"fp32": 0.01, "fp16": 0.25}  # of what another clip changes, where all numbers are small
_FLAT = 0.01  # what another clip changes less than by this part of the largest number tells little


@dataclass(frozen=True)
class Difference:
    """How far a file's numbers are from PyTorch's."""

    name: str
    """logits or features."""
    difference: float
    """The largest."""
    largest: float
    """The largest number of PyTorch's."""
    spread: float
    """What clips change in the number that they change most."""
    precision: str = "fp32"
    """Of the file."""

    @property
    def allowed(self) -> float:
        """The difference that rounding may make; of int8 any that is a number."""
        if self.precision not in _TOLERANCE:
            return sys.float_info.max
        allowed = _TOLERANCE[self.precision] * max(1.0, self.largest)
        return allowed if self.is_flat else min(allowed, _OF_SPREAD[self.precision] * self.spread)

    @property
    def is_flat(self) -> bool:
        """Whether the numbers hardly depend on the clip, so that equal ones say little."""
        return self.spread < _FLAT * self.largest


class WithFeatures(nn.Module):
    """A model that puts out its features beside its logits."""

    def __init__(self, model: C2D):
        super().__init__()
        self.model = model

    def forward(self, clip_NTHWC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Clips, uint8 [N, T, H, W, 3] -> logits, float32 [N, K], and features, float32 [N, C]."""
        features = self.model.features(clip_NTHWC)
        return self.model.classify(features), features


@dataclass(frozen=True)
class Expected:
    """Clips, and what PyTorch computes of them."""

    clips: list[Clips]
    outputs: Outputs
    """All batches' clips after each other."""

    def compare(self, run: Run, what: str, precision: str, remedy: str) -> list[Difference]:
        """Compares a file with PyTorch, output by output.

        Args:
            run: computes what the file does.
            what: the flag that names the file, for messages.
            precision: fp32, fp16 or int8.
            remedy: what the user can do where it computes something else.

        Raises:
            UserError: it computes something else, or does not run.
        """
        try:
            batches = [run(batch) for batch in self.clips]
        except Exception as error:  # runtimes have exceptions of their own, without a common base
            raise UserError(f"{what}: not written, the file would not run ({short(error)})") from error
        differences = []
        for index, (name, numbers) in enumerate(self.outputs.items()):
            found = np.concatenate([batch[index] for batch in batches])
            difference = float(np.abs(found - numbers).max()) if found.shape == numbers.shape else float("inf")
            spread = float(np.ptp(numbers, axis=0).max())
            one = Difference(name, difference, float(np.abs(numbers).max()), spread, precision)
            if not np.isfinite(found).all() and precision != "fp32":
                raise UserError(
                    f"{what}: not written, {precision} is too narrow for this model's numbers; leave --precision out"
                )
            if not difference <= one.allowed:  # a NaN is no small difference
                raise UserError(
                    f"{what}: not written, its {name} differ from PyTorch's by {difference:.2g}, more than the "
                    f"{one.allowed:.2g} that rounding may make; {remedy}"
                )
            differences.append(one)
        return differences


def expected_of(module: nn.Module, clip_shape: tuple[int, int, int], names: list[str], what: str) -> Expected:
    """Makes clips and computes what a file must.

    Args:
        module: in eval mode, on the CPU.
        clip_shape: T, H, W.
        names: of its outputs.
        what: the flag that names the file, for messages.

    Raises:
        UserError: the model's numbers are not finite.
    """
    clips = [random_clips(size, clip_shape, seed) for seed, size in enumerate(BATCHES)]
    outputs = _compute(module, clips, names)
    if not all(np.isfinite(numbers).all() for numbers in outputs.values()):
        raise UserError(f"{what}: not written, the checkpoint's model computes numbers that are not finite; give another one")
    return Expected(clips, outputs)


def with_outputs(model: C2D, *, features: bool) -> tuple[nn.Module, list[str]]:
    """Returns what a file is made of, in eval mode, and the names of its outputs."""
    return (WithFeatures(model) if features else model).eval(), ["logits", "features"] if features else ["logits"]


def short(error: Exception) -> str:
    """Returns what a package's error says, shortened to one line."""
    reason = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {reason}"


def _compute(module: nn.Module, clips: list[Clips], names: list[str]) -> Outputs:
    """Returns what PyTorch computes, all batches' clips after each other."""
    with torch.inference_mode():
        outputs = [module(torch.from_numpy(batch)) for batch in clips]
    batches = [output if isinstance(output, tuple) else (output,) for output in outputs]
    return {name: torch.cat([batch[index] for batch in batches]).numpy() for index, name in enumerate(names)}


def random_clips(size: int, clip_shape: tuple[int, int, int], seed: int) -> Clips:
    """Makes clips that a model tells apart: of noise alone, features are the same whatever the noise.

    Returns:
        uint8 [size, T, H, W, 3]: coloured fields, others in each frame, some noise, and a brightness of each clip's own.
    """
    frames, height, width = clip_shape
    random = np.random.default_rng(seed)
    fields = random.integers(0, 200, (size, frames, 4, 4, 3)).repeat(-(-height // 4), 2).repeat(-(-width // 4), 3)
    noise = random.integers(0, 56, (size, frames, height, width, 3))
    brightness = random.uniform(0.3, 1, (size, 1, 1, 1, 1))
    return ((fields[:, :, :height, :width] + noise) * brightness).astype(np.uint8)
