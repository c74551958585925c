"""The house's rules, held by reading the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {path.stem: path for path in (ROOT / "c2d_fast").glob("*.py")}
KNOW_DALI = {"decode", "loader"}
PURE = {"errors", "recipe", "listing", "sampler", "plan", "video", "source", "cli", "label_map", "list_shapes", "make_lists"}
PURE |= {"facts", "examine", "scan", "transcode", "encode", "children", "manifest_file", "packet_table", "packets", "crops"}
PURE |= {"train", "test", "prepare", "browse", "export", "info", "predict", "analyze"}
PURE |= {"worker_counts", "worker_pool", "sample_memory", "sheet", "video_writer", "clip_pictures", "clip_archive", "overlay"}
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
