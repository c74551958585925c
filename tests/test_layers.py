"""The house's rules, held by reading the source."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from c2d_fast import errors

ROOT = Path(__file__).parents[1]
MODULES = {path.stem: path for path in (ROOT / "c2d_fast").glob("*.py")}
KNOW_DALI = {"decode", "loader"}
PURE = {"errors", "recipe", "listing", "sampler", "plan", "video", "source", "cli", "label_map", "list_shapes", "make_lists"}
PURE |= {"facts", "examine", "scan", "transcode", "encode", "children", "manifest_file", "packet_table", "packets", "crops"}
PURE |= {"train", "test", "prepare", "browse", "export", "info", "predict", "analyze"}
PURE |= {"worker_counts", "worker_pool", "sample_memory", "sheet", "video_writer", "clip_pictures", "clip_archive", "overlay"}
PURE |= {"images", "kept_images", "confusion", "first_signals"}
PURE |= {"charts", "curves", "tables", "history"}


def imports(path):
    """Yields the modules that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure(module):
    seen, todo = set(), [module]
    while todo:
        for name in imports(MODULES[todo.pop()]):
            if name not in seen:
                seen.add(name)
                stem = name.removeprefix("c2d_fast.")
                if name.startswith("c2d_fast.") and stem in MODULES:
                    todo.append(stem)
    return seen


@pytest.mark.parametrize("module", ["trainer", "evaluate", "model", "checkpoint", "records", "weights", "model_file"])
def test_the_trainer_and_all_it_imports_know_no_dali_and_no_video(module):
    assert not {name for name in closure(module) if name.split(".")[0] in ("nvidia", "av")}


def test_only_the_loader_and_decoder_and_pipe_files_know_dali():
    users = {name for name, path in MODULES.items() if any(i.startswith("nvidia") for i in imports(path))}
    assert users <= KNOW_DALI


@pytest.mark.parametrize("module", sorted(PURE))
def test_what_worker_processes_import_is_light(module):
    assert not {name for name in closure(module) if name.split(".")[0] in ("torch", "torchvision", "nvidia", "tensorboard")}


def test_nothing_needs_safetensors_to_be_imported():
    # Machines without a registry lack it; only files of that form need it.
    assert not {name for module in MODULES for name in imports(MODULES[module]) if name.startswith("safetensors")}


def test_the_sampler_is_numpy_alone():
    assert {name.split(".")[0] for name in closure("sampler")} <= {"numpy", "collections"}


@pytest.mark.parametrize("path", [*MODULES.values(), *(ROOT / "dali_pipes").glob("*.py")], ids=lambda path: path.name)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem != "utils"


COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info", "prepare")
# Flags that messages of a shared module name although some of its users lack them. Each was looked at: another command's
# (with its name), another program's, or of a function that only commands which have the flag call.
OF_OTHERS = {
    "bad_videos": {"--max-bad-videos"},
    "checkpoint": {"--out"},
    "data_flags": {"--train-list", "--val-list", "--data-root", "--list", "--checkpoint"},
    "dataset": {"--max-bad-videos", "--deterministic", "--allow-missing"},
    "distributed": {"--nproc-per-node"},
    "errors": {"--resume", "--batch-size", "--accumulate", "--decode-batch", "--decoder-threads", "--workers"},  # asks first
    "list_shapes": {"--video-name"},
    "listing": {"--label-map", "--num-classes"},
    "manifest": {"--allow-missing"},
    "model_file": {"--out"},
    "packet_table": {"--packets"},
    "plan": {"--batch-size"},
    "recipe": {"--pipe"},
    "run_folder": {"--out", "--resume", "--max-restarts"},
    "run_train": {"--logdir"},
    "scan": {"--train-list"},
    "step_profile": {"--mode"},
    "stream": {"--shm-size"},
    "transcode": {"--train-list"},
    "video": {"--decoder"},
    "weights": {"--weights", "--new-head"},
}


def whole_closure(module):
    """The project's modules that a module imports anywhere, also in its functions."""
    seen, todo = set(), [module]
    while todo:
        for node in ast.walk(ast.parse(MODULES[todo.pop()].read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                stem = (name or "").removeprefix("c2d_fast.")
                if (name or "").startswith("c2d_fast.") and stem in MODULES and stem not in seen:
                    seen.add(stem)
                    todo.append(stem)
    return seen


def flags_named(path):
    """The flags that a module's texts name, docstrings aside."""
    tree = ast.parse(path.read_text())
    docs = {id(node.body[0].value) for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)
            and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    docs |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
             and id(node) not in docs]  # fmt: skip
    return {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+\b", text)}


def flags_of(command, capsys):
    words = [[]] if command != "prepare" else [[name] for name in ("demo", "list", "scan", "show", "transcode")]
    for some in words:
        with pytest.raises(SystemExit):
            importlib.import_module(f"c2d_fast.{command}").parse([*some, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_message_of_a_command_names_a_flag_that_it_lacks(command, capsys):
    has = flags_of(command, capsys)
    for module in whole_closure(command) - {"cli", *COMMANDS}:
        assert flags_named(MODULES[module]) - has <= OF_OTHERS.get(module, set()), module


@pytest.mark.parametrize("command", ["train", "test", "predict", "browse"])
def test_remedies_are_of_the_command(command, capsys):
    has = flags_of(command, capsys)
    flags = {flag.removeprefix("--").replace("-", "_") for flag in has}
    for remedy in (errors.start_again(flags), errors.smaller_batches(flags)):
        assert set(re.findall(r"--[a-z][a-z-]+", remedy)) <= has
    assert ("--resume" in errors.start_again(flags)) == (command == "train")
    assert errors.smaller_batches(set()) == "lower the number of videos"
