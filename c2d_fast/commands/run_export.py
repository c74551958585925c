"""Exports a checkpoint as the flags of `c2d_fast.export` say."""

import argparse
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from c2d_fast.commands.data_flags import check_label_map, label_names
from c2d_fast.commands.exported_lists import Videos, compare_on, open_videos
from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write, check_is_no_input, check_writable
from c2d_fast.formats.schemas import encode
from c2d_fast.model.c2d import C2D
from c2d_fast.model.compared import Clips, Difference
from c2d_fast.model.model_file import CARD_FORMAT, ModelFile, read_model_file, write_safetensors
from c2d_fast.model.onnx_file import check_packages, open_onnx, write_onnx
from c2d_fast.model.pt2_file import open_pt2, write_pt2
from c2d_fast.model.weights import describe, fit_state, model_for
from c2d_fast.recipe import PipeFile, Recipe, find_pipe, load_pipe

_MOST_PIXELS = 2**28  # of a clip: 1024 frames of 512 x 512
_FORMS = {".onnx": "onnx", ".safetensors": "safetensors", ".pt2": "pt2"}
_CALIBRATION_VIDEOS = 64
_SIZES = (1, 8, 32)  # batches that an engine of TensorRT is built for: smallest, best, largest


def run_export(args: argparse.Namespace) -> None:
    """Writes the model, its card in it and its card beside it.

    Raises:
        UserError: anything that the user can mend.
    """
    out, form = _output(args)
    _check_flags(args, out, form)
    card_path = out.with_name(f"{out.name}.card.json")
    for path in (out, card_path):
        check_writable(path, "--out")
        check_is_no_input(path, "--out", (args.checkpoint, args.pipe and find_pipe(args.pipe), args.calibrate, args.check))
        _check_length(path)
    if form == "onnx":
        check_packages(f"--out {out}")
    file = read_model_file(args.checkpoint, "--checkpoint")
    names = label_names(args)
    check_label_map(args, names, file)
    model, card, clip_shape, said = _model(args, file, names)
    try:
        encode(card)
    except (TypeError, ValueError) as error:  # something else than plain values on it
        raise UserError(
            f"--checkpoint {args.checkpoint}: its recipe, lists or scores are no plain values ({error}); give another"
        ) from error
    name = card["recipe"].get("name")
    if form == "safetensors":
        write_safetensors(model.state_dict(), card, out)
        result(on_one_line(f"{out}: weights of {name}, {_size(out)}"))
    else:
        shape = _checked(clip_shape, args.checkpoint)
        calibration, checked = _lists(args, file, said, names)
        _write_program(args, model, card, shape, out, form, calibration)
        _compare(args, model, out, form, calibration, checked)
    _write_card(card, card_path, out)
    print(f"{card_path}: what it is")
    if form == "onnx":
        print(f"for TensorRT: {trtexec_line(out, shape, args.precision)}")


def _write_program(
    args: argparse.Namespace,
    model: C2D,
    card: dict[str, Any],
    shape: tuple[int, int, int],
    out: Path,
    form: str,
    calibration: Videos | None,
) -> None:
    """Writes what can run by itself, and says how well it does."""
    if form == "onnx":
        clips: Iterator[Clips] = calibration.clips() if calibration else iter(())
        differences = write_onnx(model, shape, card, out, features=args.features, precision=args.precision, calibration=clips)
    else:
        differences = write_pt2(model, shape, card, out, features=args.features)
    bits = "" if args.precision == "fp32" else f" in {args.precision}"
    name = card["recipe"].get("name")
    result(on_one_line(f"{out}: model of {name}{bits} for clips [N, {', '.join(map(str, shape))}, 3], {_size(out)}"))
    runtime = "ONNX Runtime" if form == "onnx" else "torch.export.load"
    result(f"checked with {runtime} on random clips, batches of 1 and 3:")
    for one in differences:
        result(_told(one, "PyTorch's" if form == "onnx" else "the model's"))


def _told(one: Difference, whose: str) -> str:
    flat = "; so little that this check says little" if one.is_flat else ""
    return (
        f"  {one.name} differ from {whose} by {one.difference:.1e} at most; the largest is {one.largest:.3g}, "
        f"and another clip changes them by up to {one.spread:.2g}{flat}"
    )


def _lists(
    args: argparse.Namespace, file: ModelFile, said: tuple[PipeFile, Recipe] | None, names: tuple[str, ...] | None
) -> tuple[Videos | None, Videos | None]:
    """Returns the videos of --calibrate and of --check."""
    if said is None:
        return None, None
    pipe, recipe = said
    known = names or file.classes
    most = args.calibration_videos or _CALIBRATION_VIDEOS
    calibration = args.calibrate and open_videos(args.calibrate, args, file, known, pipe, recipe, most=most)
    checked = args.check and open_videos(args.check, args, file, known, pipe, recipe)
    return calibration or None, checked or None


def _compare(
    args: argparse.Namespace, model: C2D, out: Path, form: str, calibration: Videos | None, checked: Videos | None
) -> None:
    """Says what the file is worth on videos: those of --check, otherwise those that int8 has its ranges from."""
    videos = checked or calibration
    if videos is None:
        return
    run = open_onnx(out) if form == "onnx" else open_pt2(out)
    result(
        "on the videos of --check:" if checked else "on the videos of --calibrate, which it is fitted to (--check says more):"
    )
    compare_on(videos, model, run, f"{out.name}, {args.precision}", has_labels=checked is not None)


def trtexec_line(out: Path, clip_shape: tuple[int, int, int], precision: str) -> str:
    """Returns the command that builds an engine of TensorRT from an ONNX file. It is not run here."""
    shapes = [f"clips:{'x'.join(map(str, (size, *clip_shape, 3)))}" for size in _SIZES]
    words = ["trtexec", f"--onnx={out}", f"--saveEngine={out.with_suffix('.plan')}"]
    words += [f"--{which}Shapes={shape}" for which, shape in zip(("min", "opt", "max"), shapes, strict=True)]
    return shlex.join(words + ({"fp16": ["--fp16"], "int8": ["--int8"]}.get(precision, [])))


def _check_flags(args: argparse.Namespace, out: Path, form: str) -> None:
    """Refuses what does not go together, before anything is read."""
    if form == "safetensors":
        if args.features:
            raise UserError(
                f"--features: --out {out} holds weights, which are the same with and without; leave it out, and compute "
                "features with c2d_fast.load_model(PIPE, FILE).features(clips)"
            )
        if args.check:
            raise UserError(f"--check {args.check}: --out {out} holds the weights as they are; score them with c2d_fast.test")
    if args.precision != "fp32" and form != "onnx":
        raise UserError(f"--precision {args.precision}: only ONNX is written so, --out {out} is {form}; give --to onnx")
    if args.precision == "int8" and not args.calibrate:
        raise UserError(
            "--precision int8: takes the ranges of its numbers from videos; give a list of some with --calibrate LIST"
        )
    if args.calibrate and args.precision != "int8":
        raise UserError(f"--calibrate {args.calibrate}: only --precision int8 takes ranges from videos; leave it out")
    if args.calibration_videos and not args.calibrate:
        raise UserError(f"--calibration-videos {args.calibration_videos}: are of --calibrate LIST; give it, or leave this out")
    for flag in ("calibrate", "check"):
        if getattr(args, flag) and not args.pipe:
            raise UserError(
                f"--{flag} {getattr(args, flag)}: a pipe file says how videos become clips; give it with --pipe FILE"
            )


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
    """Returns the form that the flags say: onnx, pt2 or safetensors."""
    named = _FORMS.get(out.suffix.lower())
    if to and named and to != named:
        raise UserError(f"--to {to}: --out {out} is the name of another form; leave --to out, or name it {out.stem}.{to}")
    if not to and not named:
        raise UserError(f"--out {out}: must end in .onnx, .pt2 or .safetensors; or say the form with --to")
    return to or str(named)


def _check_length(path: Path) -> None:
    longest = os.pathconf(path.parent, "PC_NAME_MAX")
    if len(os.fsencode(path.name)) > longest:
        raise UserError(
            f"--out: the name {path.name} is longer than the {longest} bytes that its folder takes; give a shorter one"
        )


def _model(
    args: argparse.Namespace, file: ModelFile, names: tuple[str, ...] | None
) -> tuple[C2D, dict[str, Any], tuple[Any, Any, Any], tuple[PipeFile, Recipe] | None]:
    """Returns the model, its card, T, H, W of its clips (as a file says them: not checked), and what --pipe says."""
    what = f"--checkpoint {args.checkpoint}"
    if args.pipe:
        pipe = load_pipe(args.pipe, args.set)
        model, recipe = model_for(pipe.recipe, file, what, args.num_classes or (len(names) if names else None))
        print(describe(file, recipe))
        card = {"recipe": recipe.as_dict(), **file.card}  # what a file says of itself stands
        return model, card, (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size), (pipe, recipe)
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
    return model, file.card, (frames, size, size), None


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
