"""ONNX files of a model: written, and believed only once another runtime computes the same from them."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import encode
from c2d_fast.model.c2d import C2D
from c2d_fast.model.compared import Clips, Difference, Run, expected_of, short, with_outputs
from c2d_fast.model.model_file import CARD_FORMAT
from c2d_fast.versions import failed_imports

CARD_KEY = "c2d_fast.card"
"""Key of the metadata under which the card is."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 18  # what PyTorch's exporter writes without converting, and the oldest that it can
_REMEDY = {
    "fp32": "try other versions of onnxscript and onnxruntime, or a name in .safetensors",
    "fp16": "leave --precision out",
    "int8": "leave --precision out",
}


def check_packages(what: str) -> None:
    """Says early that a package is missing: everything else works without them.

    Raises:
        UserError: one does not import.
    """
    if reasons := failed_imports(_PACKAGES):
        raise UserError(f"{what}: ONNX needs packages that do not import: {reasons}; pip install 'c2d-fast[export]'")


def write_onnx(
    model: C2D,
    clip_shape: tuple[int, int, int],
    card: dict[str, Any],
    path: Path,
    *,
    features: bool,
    precision: str = "fp32",
    calibration: Iterable[Clips] = (),
) -> list[Difference]:
    """Writes a model as one ONNX file onto path, once it is checked: whole or not at all.

    Its input is clips, RGB 0..255, uint8 [N, T, H, W, 3], any N; its outputs are logits, float32 [N, K], and with features
    also those, float32 [N, C]. They are so in all precisions.

    Args:
        model: on the CPU; it is put into eval mode.
        clip_shape: T, H, W.
        card: plain values, for the file's metadata.
        path: of the file.
        features: whether they are put out, too.
        precision: fp32; fp16 or int8, of what lies between the normalised pixels and the last average (onnx_precision.py).
        calibration: of int8: batches of clips that the ranges of its numbers are taken from.

    Returns:
        How far each output is from PyTorch's.

    Raises:
        UserError: the model cannot be written so, the file computes something else, or it cannot be written.
    """
    what = f"--out {path}"
    module, outputs = with_outputs(model, features=features)
    expected = expected_of(module, clip_shape, outputs, what)
    proto = _convert(module, clip_shape, outputs, what)
    if precision != "fp32":
        proto = _narrowed(proto, precision, calibration, what)
    _label(proto, card, what)
    import onnx

    try:
        with atomic_write(path) as partial:
            onnx.save(proto, partial)
            differences = expected.compare(_checked(partial, what), what, precision, _REMEDY[precision])
    except OSError as error:
        raise UserError(f"{what}: cannot be written ({error}); give another file") from error
    return differences


def _convert(module: nn.Module, clip_shape: tuple[int, int, int], outputs: list[str], what: str) -> Any:
    """Returns a module's ONNX ModelProto, all weights in it."""
    example = torch.zeros((2, *clip_shape, 3), dtype=torch.uint8)  # a batch of one would be taken for a constant
    try:
        with quiet():
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
        raise UserError(
            f"{what}: PyTorch {torch.__version__} cannot write this model as ONNX ({short(error)}); "
            "give --out a name in .safetensors"
        ) from error


def _narrowed(proto: Any, precision: str, calibration: Iterable[Clips], what: str) -> Any:
    """Returns the model in fewer bits."""
    from c2d_fast.model.onnx_precision import to_half, to_int8

    try:
        with quiet():
            return to_half(proto) if precision == "fp16" else to_int8(proto, calibration)
    except (UserError, OSError):  # of the videos
        raise
    except Exception as error:  # the quantizer raises all kinds
        raise UserError(
            f"{what}: this model cannot be written as {precision} ({short(error)}); leave --precision out"
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


def _checked(path: Path, what: str) -> Run:
    """Returns what runs a written file, once it is known to be a sound one.

    Raises:
        UserError: it is none.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
        return open_onnx(path)
    except Exception as error:  # both packages have exceptions of their own, without a common base
        raise UserError(f"{what}: not written, the file would not run ({short(error)})") from error


def open_onnx(path: Path) -> Run:
    """Returns what computes a file's outputs with ONNX Runtime, on the CPUs that are ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    options.intra_op_num_threads = len(os.sched_getaffinity(0))  # left to itself, it counts CPUs that are not ours
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda clips: [np.asarray(output) for output in session.run(None, {"clips": clips})]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
