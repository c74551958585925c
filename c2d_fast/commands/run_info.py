"""Prints a recipe, a checkpoint and the machine, as the flags of `c2d_fast.info` say."""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d_fast.commands.machine_facts import machine_facts
from c2d_fast.commands.recipe_text import pipe_file_text, shown_parts
from c2d_fast.console import result
from c2d_fast.errors import UserError
from c2d_fast.recipe import Clip, PipeFile, Recipe, load_pipe

# Torch is imported late: where it does not import, the machine is still shown.
if TYPE_CHECKING:
    from torch import nn

_CARD_FIELDS = ("progress", "lists", "versions", "used", "seed")
_SHOWN_CLASSES = 12


def run_info(args: argparse.Namespace) -> None:
    """Prints what is asked for, then the machine.

    Raises:
        UserError: the pipe file, the checkpoint or the list cannot be loaded.
    """
    facts: dict[str, Any] = {}
    pipe = load_pipe(args.pipe, args.set) if args.pipe else None
    if args.set and not args.json:
        _print_pipe_file(args, pipe)
        return
    if pipe:
        facts |= recipe_facts(pipe)
    if args.checkpoint:
        facts["checkpoint"] = checkpoint_facts(args.checkpoint)
    if args.list:
        from c2d_fast.commands.remote_facts import list_facts

        clip = pipe.recipe.clip if pipe else Clip(num_frames=8, interval=8)
        facts["list"] = list_facts(args.list, args.data_root, clip)
    elif args.data_root:
        raise UserError(f"--data-root {args.data_root}: is of a list; give its manifest with --list, or leave it out")
    facts["machine"] = machine_facts()
    facts = _plain(facts)
    if args.json:
        result(json.dumps(facts, indent=2, allow_nan=False))
        return
    lines = _recipe_lines(facts) if args.pipe else []
    if args.checkpoint:
        lines += ["", *_checkpoint_lines(facts["checkpoint"])]
    if args.list:
        from c2d_fast.commands.remote_facts import list_lines

        lines += ["", *(_row(*row) for row in list_lines(facts["list"]))]
    lines += ["", *_machine_lines(facts["machine"])]
    # Names come from files: what would move a terminal's cursor is shown, not sent.
    for line in lines if lines[0] else lines[1:]:
        result("".join(c if c.isprintable() else repr(c)[1:-1] for c in line))


def _print_pipe_file(args: argparse.Namespace, pipe: PipeFile | None) -> None:
    if pipe is None:
        raise UserError(f"--set {args.set[0]}: changes a recipe; give it with --pipe FILE")
    for name in ("checkpoint", "list", "data_root"):
        if given := getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} {given}: with --set a pipe file is printed, and nothing else; leave it out, or add --json")
    result(pipe_file_text(pipe, args.pipe))


def recipe_facts(pipe: PipeFile) -> dict[str, Any]:
    """Returns the recipe as plain values, and its model's parts with what they cost."""
    parts = count_parts(pipe.recipe)
    totals = {name: sum(part[name] for part in parts) for name in ("parameters", "macs")}
    return {"pipe": str(pipe.path), "recipe": pipe.recipe.as_dict(), "model": {"parts": parts, **totals}}


def count(recipe: Recipe) -> tuple[int, float]:
    """Counts a recipe's model without computing anything.

    Returns:
        Parameters, and multiply-accumulates of one clip's forward pass in units of 10**9.
    """
    parts = count_parts(recipe)
    return sum(part["parameters"] for part in parts), sum(part["macs"] for part in parts) / 1e9


def count_parts(recipe: Recipe) -> list[dict[str, Any]]:
    """Counts a recipe's model by its parts, without computing anything.

    Returns:
        Of stem, layer1..4 (with the non-local blocks in them) and head: output (of one clip: T, H, W, C, or K), parameters,
        macs (of one clip's forward pass), nonlocal_blocks.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from c2d_fast.model.c2d import C2D

    shapes: dict[str, list[int]] = {}
    with torch.device("meta"), torch.no_grad():
        model = C2D(recipe.model).eval()
        handles = _note_outputs(model, shapes)
        shape = (1, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(shape, dtype=torch.uint8))
    for handle in handles:
        handle.remove()
    parts: dict[str, dict[str, Any]] = {name: {"output": shapes[name], "parameters": 0, "macs": 0} for name in shapes}
    for name, parameter in model.named_parameters():
        parts[_part(name)]["parameters"] += parameter.numel()
    for name, operations in counter.get_flop_counts().items():
        # The modules just below the root, or below a group that is never called itself; what is deeper is counted in them.
        if re.fullmatch(r"C2D\.(?!layer\d$|nonlocal_blocks$)(\w+|layer\d\.\d+|nonlocal_blocks\.\w+)", name):
            # The counter counts a multiplication and an addition as two.
            parts[_part(name.removeprefix("C2D."))]["macs"] += sum(operations.values()) // 2
    blocks = [f"layer{stage}" for stage, _ in recipe.model.nonlocal_after]
    return [{"name": name, **part, "nonlocal_blocks": blocks.count(name)} for name, part in parts.items()]


def _note_outputs(model: nn.Module, shapes: dict[str, list[int]]) -> list[Any]:
    """Notes the shapes between the parts: what the next one is given, which is after non-local blocks and pooling."""

    def noting(name: str, *, frames: bool = True) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any = None) -> None:
            folded = (inputs[0] if output is None else output).shape  # [T, C, H, W] of one clip, or [1, K]
            shapes[name] = [folded[0], *folded[2:], folded[1]] if frames else list(folded[1:])

        return note

    handles = [
        model.get_submodule(f"layer{stage + 1}.0").register_forward_pre_hook(noting(f"layer{stage}" if stage else "stem"))
        for stage in range(4)
    ]
    last = model.get_submodule(f"layer4.{len(list(model.get_submodule('layer4').children())) - 1}")
    handles.append(last.register_forward_hook(noting("layer4")))
    return [*handles, model.get_submodule("fc").register_forward_hook(noting("head", frames=False))]


def _part(name: str) -> str:
    """Returns the part that a parameter or module belongs to."""
    stage = re.search(r"\blayer\d", name)
    return stage[0] if stage else "head" if name.startswith(("fc", "dropout")) else "stem"


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """Returns what a file of weights says that it is, as plain values; nothing in it is run.

    Raises:
        UserError: there is no such file, or it holds no weights.
    """
    from torch import Tensor

    from c2d_fast.model.model_file import read_model_file

    file = read_model_file(path, "--checkpoint")
    tensors = [value for value in file.state.values() if isinstance(value, Tensor)]
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "form": file.form,
        "tensors": len(tensors),
        "values": sum(tensor.numel() for tensor in tensors),
        "num_classes": file.num_classes,
        "classes": file.classes,
        "recipe": file.recipe or None,
        **{name: file.card[name] for name in _CARD_FIELDS if name in file.card},
    }


def _recipe_lines(facts: dict[str, Any]) -> list[str]:
    recipe, model = facts["recipe"], facts["model"]
    published = recipe.get("published")
    lines = [f"{recipe['name']} ({facts['pipe']})", *_groups(recipe), ""]
    lines.append(f"{'part':<13}{'output':>18}{'parameters':>14}{'GMAC / clip':>14}")
    for part in model["parts"]:
        blocks = f"   with {part['nonlocal_blocks']} non-local blocks" if part["nonlocal_blocks"] else ""
        shape = " x ".join(map(str, part["output"]))
        lines.append(f"{part['name']:<13}{shape:>18}{part['parameters'] / 1e6:>12.6f} M{part['macs'] / 1e9:>14.3f}{blocks}")
    rows = [("", "counted here", "published")]
    parameters, gmac = f"{model['parameters'] / 1e6:.6f} M", f"{model['macs'] / 1e9:.2f}"
    rows.append(("parameters", parameters, f"{published['parameters'] / 1e6:.6f} M" if published else "-"))
    rows.append(("GMAC / clip", gmac, f"{published['gmac_per_clip']:.2f}" if published else "-"))
    if published:
        rows.append(("top-1, 10x3", "-", f"{published['top1']:.2f} %"))
        rows.append(("top-5, 10x3", "-", f"{published['top5']:.2f} %"))
    return [*lines, "", *(f"{name:<13}{here:>14}{there:>14}" for name, here, there in rows)]


def _checkpoint_lines(facts: dict[str, Any]) -> list[str]:
    form = {"published": "weights in the published names", "torchvision": "weights in torchvision's names"}
    classes = facts["classes"]
    named = ", ".join(classes[:_SHOWN_CLASSES]) + (", ..." if len(classes) > _SHOWN_CLASSES else "") if classes else "not named"
    lines = [f"checkpoint {facts['path']}"]
    lines.append(_row("form", form.get(facts["form"], "of this project")))
    lines.append(
        _row("holds", f"{facts['values'] / 1e6:.6f} M values in {facts['tensors']} tensors, {facts['bytes'] / 1e6:.1f} MB")
    )
    lines.append(_row("classes", f"{facts['num_classes'] or 'no classifier'} ({named})"))
    if facts["recipe"]:
        lines += [_row("recipe", facts["recipe"].get("name")), *_groups(facts["recipe"])]
    progress = facts.get("progress")
    if isinstance(progress, dict):
        lines.append(_row("epochs done", f"{progress.get('epoch')}, {progress.get('step')} steps"))
        labels = facts["recipe"].get("labels") if facts["recipe"] else None
        best = "best mAP" if isinstance(labels, dict) and labels.get("kind") == "several" else "best top-1"
        lines.append(_row(best, f"{progress.get('best_top1')} % in validation, after epoch {progress.get('best_epoch')}"))
    for one in facts["lists"] if isinstance(facts.get("lists"), list) else []:
        lines.append(_row("list", _pairs(one)))
    return lines + [_row(name, _pairs(facts[name])) for name in ("versions", "used", "seed") if name in facts]


def _machine_lines(machine: dict[str, Any]) -> list[str]:
    cpu, memory, shm = machine["cpu"], machine["memory"], machine["shm"]
    files, cuda, decoding = machine["open_files"], machine["cuda"], machine["decoding"]
    lines = ["machine", _row("system", machine["system"])]
    if cpu:
        quota = f", time of {cpu['quota']:g}" if cpu["quota"] else ""
        bf16 = ", ".join(cpu["bf16"]) or "not native"
        lines.append(_row("CPU", f"{cpu['name']}, {cpu['usable']} usable{quota}; bf16: {bf16}"))
    if memory:
        limit = f", container's limit {_gb(memory['container_limit'])}" if memory["container_limit"] else ""
        lines.append(_row("memory", f"{_gb(memory['total'])}, {_gb(memory['available'])} available{limit}"))
    if shm:
        lines.append(_row("/dev/shm", f"{_gb(shm['total'])}, {_gb(shm['free'])} free"))
    if files:
        lines.append(_row("open files", f"{files['limit'] or 'no limit'} (at most {files['hard_limit'] or 'no limit'})"))
    for gpu in cuda["gpus"] if cuda else []:
        bf16 = "bf16" if gpu["bf16"] else "no native bf16"
        lines.append(
            _row("GPU", f"{gpu['name']}, {_gb(gpu['memory'])}, compute capability {gpu['compute_capability']}, {bf16}")
        )
    if cuda:
        none = "" if cuda["gpus"] else "; no GPU that it can use"
        built = f"built with CUDA {cuda['built_with']}" if cuda["built_with"] else "built without CUDA"
        lines.append(_row("torch", f"{cuda['torch']}, {built}{none}"))
    lines.append(_row("driver", machine["driver"] or "none found"))
    if decoding:
        lines.append(
            _row("NVDEC", f"the driver's library (libnvcuvid.so.1) is {'' if decoding['nvdec_library'] else 'not '}found")
        )
        lines.append(_row("H.264 here", f"decoded with {decoding['h264']}: {decoding['reason']}"))
        lines.append(_row("nvdec takes", ", ".join(f"{codec} from {size}" for codec, size in decoding["nvdec"].items())))
        lines.append(_row("dali takes", ", ".join(decoding["dali"])))
        lines.append(_row("ffmpeg takes", ", ".join(decoding["ffmpeg"]) + " and more"))
    if machine["encoders"]:
        found = (f"{name}{'' if there else ' missing'}" for name, there in machine["encoders"].items())
        lines.append(_row("encoders", ", ".join(found)))
    lines.append(_row("versions", ", ".join(f"{name} {version or 'missing'}" for name, version in machine["versions"].items())))
    for name in ("ffmpeg", "environment"):
        if machine[name]:
            lines.append(_row(name, _pairs(machine[name])))
    lines += [_row("note", note) for note in machine["notes"]]
    return lines + [_row("problem", problem) for problem in machine["problems"]]


def _groups(recipe: dict[str, Any]) -> list[str]:
    """Returns a line for each part of a recipe as plain values: all that it decides, but for newer fields at their defaults."""
    return [_row(name, _pairs(value)) for name, value in shown_parts(recipe).items()]


def _row(name: str, value: Any) -> str:
    return f"  {name:<15}{value}"


def _pairs(value: Any) -> str:
    return ", ".join(f"{key} {_brief(item)}" for key, item in value.items()) if isinstance(value, dict) else _brief(value)


def _brief(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, (list, bool)) else str(value)
    return text if len(text) <= 500 else f"{text[:500]} ..."


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _plain(value: Any) -> Any:
    """Returns what JSON can hold: what else a file holds, and numbers that are not finite, become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
