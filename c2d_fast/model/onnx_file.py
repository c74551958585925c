"""ONNX files of a model: written, and believed only once another runtime computes the same from them."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import encode
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import CARD_FORMAT
from c2d_fast.versions import failed_imports

CARD_KEY = "c2d_fast.card"
"""Key of the metadata under which the card is."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 18  # what PyTorch's exporter writes without converting, and the oldest that it can
_TOLERANCE = 1e-4  # of the largest number put out, or of 1
_OF_SPREAD = 0.01  # of what another clip changes, where all numbers are small
_FLAT = 0.01  # what another clip changes less than by this part of the largest number tells little
_BATCHES = (1, 3)


@dataclass(frozen=True)
class Difference:
    """How far ONNX Runtime's numbers are from PyTorch's."""

    name: str
    """logits or features."""
    difference: float
    """The largest."""
    largest: float
    """The largest number of PyTorch's."""
    spread: float
    """What clips change in the number that they change most."""

    @property
    def allowed(self) -> float:
        """The difference that rounding may make."""
        allowed = _TOLERANCE * max(1.0, self.largest)
        return allowed if self.is_flat else min(allowed, _OF_SPREAD * self.spread)

    @property
    def is_flat(self) -> bool:
        """Whether the numbers hardly depend on the clip, so that equal ones say little."""
        return self.spread < _FLAT * self.largest


def check_packages(what: str) -> None:
    """Says early that a package is missing: everything else works without them.

    Raises:
        UserError: one does not import.
    """
    if reasons := failed_imports(_PACKAGES):
        raise UserError(f"{what}: ONNX needs packages that do not import: {reasons}; pip install 'c2d-fast[export]'")


def write_onnx(
    model: C2D, clip_shape: tuple[int, int, int], card: dict[str, Any], path: Path, *, features: bool
) -> list[Difference]:
    """Writes a model as one ONNX file onto path, once it is checked: whole or not at all.

    Its input is clips, RGB 0..255, uint8 [N, T, H, W, 3], any N; its outputs are logits, float32 [N, K], and with features
    also those, float32 [N, C].

    Args:
        model: on the CPU; it is put into eval mode.
        clip_shape: T, H, W.
        card: plain values, for the file's metadata.
        path: of the file.
        features: whether they are put out, too.

    Returns:
        How far each output is from PyTorch's.

    Raises:
        UserError: the model cannot be written so, the file computes something else, or it cannot be written.
    """
    what = f"--out {path}"
    outputs = ["logits", "features"] if features else ["logits"]
    module = (_WithFeatures(model) if features else model).eval()
    clips = [_random_clips(size, clip_shape, seed) for seed, size in enumerate(_BATCHES)]
    expected = _compute(module, clips, outputs)
    if not all(np.isfinite(numbers).all() for numbers in expected.values()):
        raise UserError(f"{what}: not written, the checkpoint's model computes numbers that are not finite; give another one")
    proto = _convert(module, clip_shape, outputs, what)
    _label(proto, card, what)
    import onnx

    try:
        with atomic_write(path) as partial:
            onnx.save(proto, partial)
            differences = _check(partial, clips, expected, what)
    except OSError as error:
        raise UserError(f"{what}: cannot be written ({error}); give another file") from error
    return differences


class _WithFeatures(nn.Module):
    """A model that puts out its features beside its logits."""

    def __init__(self, model: C2D):
        super().__init__()
        self.model = model

    def forward(self, clip_NTHWC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        features = self.model.features(clip_NTHWC)
        return self.model.classify(features), features


def _convert(module: nn.Module, clip_shape: tuple[int, int, int], outputs: list[str], what: str) -> Any:
    """Returns a module's ONNX ModelProto, all weights in it."""
    example = torch.zeros((2, *clip_shape, 3), dtype=torch.uint8)  # a batch of one would be taken for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: "N"},),
                input_names=["clips"],
                output_names=outputs,
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            return program.model_proto
    except Exception as error:  # the exporter, its converters and their packages raise all kinds
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"{what}: PyTorch {torch.__version__} cannot write this model as ONNX ({type(error).__name__}: {reason}); "
            "give --out a name in .safetensors"
        ) from error


def _label(proto: Any, card: dict[str, Any], what: str) -> None:
    """Puts a card into a model, and takes out what the exporter noted of this machine: the places of source files."""
    graph = proto.graph
    for entry in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    del proto.metadata_props[:], graph.metadata_props[:]
    graph.name = str(card["recipe"].get("name", "c2d"))
    try:
        proto.metadata_props.add(key=CARD_KEY, value=encode({"format": CARD_FORMAT, **card}))
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: the checkpoint's recipe, lists or scores are no plain values ({error})") from error


def _check(path: Path, clips: list[NDArray[np.uint8]], expected: dict[str, NDArray[np.float32]], what: str) -> list[Difference]:
    """Compares a written file with PyTorch.

    Raises:
        UserError: it is no sound ONNX file, or computes something else.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    options.intra_op_num_threads = len(os.sched_getaffinity(0))  # left to itself, it counts CPUs that are not ours
    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        batches = [session.run(list(expected), {"clips": batch}) for batch in clips]
    except Exception as error:  # both have exceptions of their own, without a common base
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{what}: not written, the file would not run ({type(error).__name__}: {reason})") from error
    differences = []
    for index, (name, numbers) in enumerate(expected.items()):
        found = np.concatenate([np.asarray(batch[index]) for batch in batches])
        difference = float(np.abs(found - numbers).max()) if found.shape == numbers.shape else float("inf")
        one = Difference(name, difference, float(np.abs(numbers).max()), float(np.ptp(numbers, axis=0).max()))
        if not difference <= one.allowed:  # a NaN is no small difference
            raise UserError(
                f"{what}: not written, its {name} differ from PyTorch's by {difference:.2g}, more than the {one.allowed:.2g} "
                "that rounding may make; try other versions of onnxscript and onnxruntime, or a name in .safetensors"
            )
        differences.append(one)
    return differences


def _compute(module: nn.Module, clips: list[NDArray[np.uint8]], names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Returns what PyTorch computes, all batches' clips after each other."""
    with torch.inference_mode():
        outputs = [module(torch.from_numpy(batch)) for batch in clips]
    batches = [output if isinstance(output, tuple) else (output,) for output in outputs]
    return {name: torch.cat([batch[index] for batch in batches]).numpy() for index, name in enumerate(names)}


def _random_clips(size: int, clip_shape: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's packages from warning about themselves; their errors are raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
