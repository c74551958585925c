"""Mixed precision: what --precision means."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """bf16, fp16 (with a gradient scaler in training) or fp32."""

    name: str

    @classmethod
    def choose(cls, requested: str | None, device: torch.device) -> "Precision":
        """Returns the precision asked for; by default bf16 on CUDA and fp32 on every CPU.

        CPUs without native bf16 were seen to be 14 times slower with it.
        """
        return cls(requested or ("bf16" if device.type == "cuda" else "fp32"))

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Returns the context for a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(device.type, dtype=dtype)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Returns the gradient scaler, which does nothing but for fp16."""
        return torch.amp.GradScaler(device.type, enabled=self.name == "fp16")
