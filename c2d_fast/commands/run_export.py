"""Exports a checkpoint as the flags of `c2d_fast.export` say."""

import argparse
import os
from pathlib import Path
from typing import Any

from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write, check_is_no_input, check_writable
from c2d_fast.formats.schemas import encode
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import CARD_FORMAT, ModelFile, read_model_file, write_safetensors
from c2d_fast.model.onnx_file import check_packages, write_onnx
from c2d_fast.model.weights import describe, fit_state, model_for
from c2d_fast.recipe import find_pipe, load_pipe

_MOST_PIXELS = 2**28  # of a clip: 1024 frames of 512 x 512


def run_export(args: argparse.Namespace) -> None:
    """Writes the model, its card in it and its card beside it.

    Raises:
        UserError: anything that the user can mend.
    """
    out, form = _output(args)
    if args.features and form != "onnx":
        raise UserError(
            f"--features: --out {out} holds weights, which are the same with and without; leave it out, and compute features "
            "with c2d_fast.load_model(PIPE, FILE).features(clips)"
        )
    card_path = out.with_name(f"{out.name}.card.json")
    for path in (out, card_path):
        check_writable(path, "--out")
        check_is_no_input(path, "--out", (args.checkpoint, args.pipe and find_pipe(args.pipe)))
        _check_length(path)
    if form == "onnx":
        check_packages(f"--out {out}")
    file = read_model_file(args.checkpoint, "--checkpoint")
    model, card, clip_shape = _model(args, file)
    try:
        encode(card)
    except (TypeError, ValueError) as error:  # something else than plain values on it
        raise UserError(
            f"--checkpoint {args.checkpoint}: its recipe, lists or scores are no plain values ({error}); give another"
        ) from error
    name = card["recipe"].get("name")
    if form == "onnx":
        differences = write_onnx(model, _checked(clip_shape, args.checkpoint), card, out, features=args.features)
        result(on_one_line(f"{out}: model of {name} for clips [N, {', '.join(map(str, clip_shape))}, 3], {_size(out)}"))
        result("checked with ONNX Runtime on random clips, batches of 1 and 3:")
        for one in differences:
            flat = "; so little that this check says little" if one.is_flat else ""
            result(
                f"  {one.name} differ from PyTorch's by {one.difference:.1e} at most; the largest is {one.largest:.3g}, "
                f"and another clip changes them by up to {one.spread:.2g}{flat}"
            )
    else:
        write_safetensors(model.state_dict(), card, out)
        result(on_one_line(f"{out}: weights of {name}, {_size(out)}"))
    _write_card(card, card_path, out)
    print(f"{card_path}: what it is")


def _output(args: argparse.Namespace) -> tuple[Path, str]:
    """Returns where the file goes, and its form."""
    if args.out:
        return args.out, _form(args.out, args.to)
    if not args.to:
        raise UserError("nothing says what to write: give --out FILE, or --to FORM for a file beside the checkpoint")
    out: Path = args.checkpoint.with_suffix(f".{args.to}")
    if out == args.checkpoint:
        raise UserError(f"--to {args.to}: --checkpoint {args.checkpoint} is that already; give another place with --out")
    return out, args.to


def _form(out: Path, to: str | None) -> str:
    """Returns the form that the flags say: onnx or safetensors."""
    named = {".onnx": "onnx", ".safetensors": "safetensors"}.get(out.suffix.lower())
    if to and named and to != named:
        raise UserError(f"--to {to}: --out {out} is the name of the other form; leave --to out, or name it {out.stem}.{to}")
    if not to and not named:
        raise UserError(f"--out {out}: must end in .onnx or .safetensors; or say the form with --to")
    return to or str(named)


def _check_length(path: Path) -> None:
    longest = os.pathconf(path.parent, "PC_NAME_MAX")
    if len(os.fsencode(path.name)) > longest:
        raise UserError(
            f"--out: the name {path.name} is longer than the {longest} bytes that its folder takes; give a shorter one"
        )


def _model(args: argparse.Namespace, file: ModelFile) -> tuple[C2D, dict[str, Any], tuple[Any, Any, Any]]:
    """Returns the model, its card, and T, H, W of its clips (as a file says them: not checked)."""
    what = f"--checkpoint {args.checkpoint}"
    if args.pipe:
        model, recipe = model_for(load_pipe(args.pipe, args.set).recipe, file, what, args.num_classes)
        print(describe(file, recipe))
        card = {"recipe": recipe.as_dict(), **file.card}  # what a file says of itself stands
        return model, card, (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size)
    if args.set:
        raise UserError(f"--set {args.set[0]}: changes a recipe; give it with --pipe FILE, or leave --set out")
    if file.form != "ours":
        raise UserError(f"{what}: does not say of which recipe it is; give it with --pipe FILE")
    if args.num_classes not in (None, file.num_classes):
        raise UserError(f"--num-classes {args.num_classes}: {what} has {file.num_classes}; leave it out")
    if file.model is None or file.num_classes != file.model.num_classes:
        raise UserError(f"{what}: its recipe is not of its weights; give the recipe with --pipe FILE")
    model = C2D(file.model)
    fit_state(model, file.state, what)
    frames, size = _number(file, "clip", "num_frames"), _number(file, "crop", "size")
    return model, file.card, (frames, size, size)


def _number(file: ModelFile, part: str, name: str) -> Any:
    values = file.recipe.get(part)
    return values.get(name) if isinstance(values, dict) else None


def _checked(clip_shape: tuple[Any, Any, Any], checkpoint: Path) -> tuple[int, int, int]:
    """Returns the shape of clips, once it is known to be one."""
    frames, height, width = clip_shape
    if not all(type(number) is int and number > 0 for number in clip_shape) or frames * height * width > _MOST_PIXELS:
        raise UserError(
            f"--checkpoint {checkpoint}: its recipe's clips are {frames!r:.20} frames of {width!r:.20} pixels; give the recipe "
            "with --pipe FILE"
        )
    return frames, height, width


def _write_card(card: dict[str, Any], path: Path, out: Path) -> None:
    try:
        with atomic_write(path) as partial:
            partial.write_text(encode({"format": CARD_FORMAT, **card}, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--out {out}: is written, but {path.name} cannot be ({error}); give another name") from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
