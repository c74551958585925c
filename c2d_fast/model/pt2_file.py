"""PyTorch's own exported programs (.pt2): a model without its code, for torch.export.load, AOTInductor and ExecuTorch."""

import io
from pathlib import Path
from typing import Any

import torch

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import encode
from c2d_fast.model.c2d import C2D
from c2d_fast.model.compared import Clips, Difference, Run, expected_of, short, with_outputs
from c2d_fast.model.model_file import CARD_FORMAT
from c2d_fast.model.onnx_file import CARD_KEY, quiet


def write_pt2(
    model: C2D, clip_shape: tuple[int, int, int], card: dict[str, Any], path: Path, *, features: bool
) -> list[Difference]:
    """Writes a model as an exported program onto path, once what is read back computes the same: whole or not at all.

    It takes clips, RGB 0..255, uint8 [N, T, H, W, 3], any N, and returns logits, float32 [N, K], with features a tuple of
    these and of features, float32 [N, C]. The card is the extra file c2d_fast.card.

    Args:
        model: on the CPU; it is put into eval mode.
        clip_shape: T, H, W.
        card: plain values.
        path: of the file.
        features: whether they are returned, too.

    Returns:
        How far each output is from that of the model itself.

    Raises:
        UserError: the model cannot be exported so, the file computes something else, or it cannot be written.
    """
    what = f"--out {path}"
    module, outputs = with_outputs(model, features=features)
    expected = expected_of(module, clip_shape, outputs, what)
    example = torch.zeros((2, *clip_shape, 3), dtype=torch.uint8)  # a batch of one would be taken for a constant
    try:
        with quiet():
            batch = torch.export.Dim("N", min=1)
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # places of source files on this machine
            content = io.BytesIO()
            extra = {CARD_KEY: encode({"format": CARD_FORMAT, **card})}
            torch.export.save(program, content, extra_files=extra)
    except Exception as error:  # the exporter raises all kinds
        raise UserError(
            f"{what}: PyTorch {torch.__version__} cannot export this model ({short(error)}); give --out a name in .safetensors"
        ) from error
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(content.getbuffer())
            remedy = "try another version of torch, or a name in .safetensors"
            return expected.compare(_checked(partial, what), what, "fp32", remedy)
    except OSError as error:
        raise UserError(f"{what}: cannot be written ({error}); give another file") from error


def _checked(path: Path, what: str) -> Run:
    try:
        return open_pt2(path)
    except Exception as error:  # the reader raises all kinds
        raise UserError(f"{what}: not written, the file would not run ({short(error)})") from error


def open_pt2(path: Path) -> Run:
    """Returns what computes a file's outputs with PyTorch, on the CPU."""
    with quiet():
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def run(clips: Clips) -> list[Any]:
        with torch.inference_mode():
            output = module(torch.from_numpy(clips))
        return [one.numpy() for one in (output if isinstance(output, tuple) else (output,))]

    return run
