"""The house's rules, held by reading the source: which room may import which, and what each file may know."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from c2d_fast import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "c2d_fast"
CODE = ("c2d_fast", "dali_pipes", "benchmarks", "examples", "tools")


def dotted(path):
    """Returns a file's module below c2d_fast: "video.facts", "train"; of a room's __init__ the room."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in PACKAGE.rglob("*.py")}
BELOW = {
    "processes": set(),
    "remote": {"processes"},
    "video": {"remote", "processes"},
    "formats": {"remote", "video"},
    "lists": {"formats", "video", "remote"},
    "manifest": {"lists", "formats", "video", "remote", "processes"},
    "prepare": {"lists", "formats", "video", "remote", "processes"},
    "loading": {"manifest", "lists", "formats", "video", "remote", "processes"},
    "model": {"formats"},
    "reporting": {"loading.batch", "formats", "video", "processes"},
    "training": {"reporting", "model", "loading.batch", "formats", "processes"},
}
BELOW["commands"] = set(BELOW)
"""Room -> the rooms, or files of them, that it may import, beside BASE and itself. An earlier room imports no later one."""
BASE = {"errors", "console", "tables", "files", "recipe", "recipe_model", "recipe_training", "overrides", "versions"}
"""Files that stand in c2d_fast/ because every room may import them."""
COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info")
DOORS = {"cli", "flag_parser", "program", "completion", "__main__", "__init__", "decode", "sampler", *COMMANDS}
"""The other files there: no room imports one, but for the command line of prepare."""

LIGHT_ROOMS = ("processes", "remote", "video", "formats", "lists", "manifest", "prepare")
LIGHT = {name for name in MODULES if name.split(".")[0] in (*LIGHT_ROOMS, "cli", "program", "completion", *COMMANDS, *BASE)}
LIGHT |= {
    f"loading.{name}"
    for name in (
        "sampler", "frame_sampling", "crop_sampling", "plan", "source", "crop_buffers", "sample_streams", "sample_info",
        "sample_memory", "worker_loop", "worker_pool",
    )
}  # fmt: skip
LIGHT |= {
    f"reporting.{name}" for name in ("sheet", "clip_pictures", "clip_archive", "overlay", "confusion", "charts", "curves")
}
LIGHT |= {
    f"reporting.{name}" for name in ("html_parts", "html_report", "hardest_cards", "video_strip", "run_notes", "heat_maps")
}
LIGHT |= {"reporting.dump_file"}
LIGHT |= {"reporting.history", "reporting.ranking", "reporting.score_figures", "loading.loader_defaults"}
HEAVY = ("torch", "torchvision", "nvidia", "tensorboard")


def imports(nodes):
    """Yields the modules that statements import; of `from a import b` also a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_import(module):
    """The modules that one imports when it is imported itself."""
    return set(imports(ast.parse(MODULES[module].read_text()).body))


def of_any_time(module):
    """The modules of this project that one imports anywhere, also in its functions and for its types."""
    names = imports(ast.walk(ast.parse(MODULES[module].read_text())))
    ours = {name.removeprefix("c2d_fast.") for name in names if name and name.startswith("c2d_fast.")}
    return {name for name in ours if name in MODULES and name not in BELOW}


def closure(module, step):
    seen, todo = set(), [module]
    while todo:
        for name in step(todo.pop()) - seen:
            seen.add(name)
            if (ours := name.removeprefix("c2d_fast.")) in MODULES and (ours != name or step is of_any_time):
                todo.append(ours)
    return seen


def room_of(module):
    return module.split(".")[0] if "." in module or module in BELOW else ""


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_is_below_it(room):
    order = list(BELOW)
    assert all(order.index(other.split(".")[0]) < order.index(room) for other in BELOW[room])
    for module in MODULES:
        if room_of(module) == room:
            for name in of_any_time(module):
                allowed = name in BASE or room_of(name) == room or BELOW[room] & {name, room_of(name)}
                assert allowed or (module, name) == ("prepare.command_line", "cli") or module == "prepare.__main__", (
                    module,
                    name,
                )


def test_every_file_has_its_place():
    assert {module for module in MODULES if not room_of(module)} == BASE | DOORS
    for module in BASE:
        assert of_any_time(module) <= BASE, module


@pytest.mark.parametrize("room", BELOW)
def test_a_room_says_what_it_holds_and_may_import(room):
    text = ast.get_docstring(ast.parse(MODULES[room].read_text()))
    code = MODULES[room].read_text().removeprefix(f'"""{text}\n"""\n')
    assert not code or room == "prepare", "a room's __init__ is its sign, and no code; prepare is a command, too"
    files = re.findall(r"^(\w+)\.py {2,}\S", text, re.MULTILINE)
    assert sorted(files) == sorted(path.stem for path in MODULES[room].parent.glob("*.py") if path.stem != "__init__")
    (below,) = re.findall(r"^May import: ([\w., ]+?)(?:; .*)?\.$", text, re.MULTILINE)
    assert {"nothing": set(), "all rooms": BELOW["commands"]}.get(below, set(below.split(", "))) == BELOW[room]


def reach(edges, start):
    seen, todo = set(), [start]
    while todo:
        for end in edges.get(todo.pop(), set()) - seen:
            seen.add(end)
            todo.append(end)
    return seen


def test_the_picture_of_the_rooms_is_true():
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    edges = {}
    for start, end in re.findall(r"^ *(\w+) --> (\w+)$", picture, re.MULTILINE):
        edges.setdefault(start, set()).add(end)
    rooms = {room: {name.split(".")[0] for name in names} for room, names in BELOW.items()}
    assert set(edges) | set().union(*edges.values()) == set(rooms)
    for room, below in rooms.items():
        assert edges.get(room, set()) <= below, f"{room}: an arrow that no import may take"
        assert below <= reach(edges, room), f"{room}: an arrow is missing"


def test_the_trainer_and_all_it_imports_know_no_dali_and_no_video():
    for module in MODULES:
        if room_of(module) in ("training", "model") or module == "reporting.records":
            assert not {name for name in closure(module, of_import) if name.split(".")[0] in ("nvidia", "av")}, module


def test_only_the_decoding_step_and_pipe_files_know_dali():
    assert {name for name in MODULES if any(i.startswith("nvidia.dali") for i in of_import(name))} == {
        "loading.decode",
        "loading.each_clip",
    }


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_what_worker_and_child_processes_import_is_light(module):
    assert not {name for name in closure(module, of_import) if name.split(".")[0] in HEAVY}


def test_nothing_needs_safetensors_to_be_imported():
    # Machines without a registry lack it; only files of that form need it.
    assert not {name for module in MODULES for name in of_import(module) if name.startswith("safetensors")}


def test_the_sampler_is_numpy_alone():
    assert {name.split(".")[0] for name in closure("loading.sampler", of_import)} <= {"numpy", "collections"}


def test_what_others_import_stays_where_it_is():
    door, room = (importlib.import_module(f"c2d_fast.{name}") for name in ("sampler", "loading.sampler"))
    public = {
        name for name in vars(room) if not name.startswith("_") and getattr(vars(room)[name], "__module__", "") == room.__name__
    }
    assert public <= set(door.__all__)
    assert all(getattr(door, name) is getattr(room, name) for name in door.__all__)
    door, room = (importlib.import_module(f"c2d_fast.{name}") for name in ("decode", "loading.decode"))
    assert (door.read_clips, door.read_crops) == (room.read_clips, room.read_crops)


def test_files_stay_small():
    paths = [path for name in (*CODE, "tests") for path in (ROOT / name).rglob("*.py")]
    assert {path: count for path in paths if (count := len(path.read_text().splitlines())) > 300} == {}
    assert not [path for path in paths if path.stem == "utils"]


def test_imports_of_this_project_lead_somewhere():
    """Also those within functions, and of files that no test imports."""
    for name in (*CODE, "tests"):
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("c2d_fast"):
                    module = node.module.removeprefix("c2d_fast").removeprefix(".")
                    assert (module or "__init__") in MODULES, f"{path}: {node.module}"


# Flags that messages of a shared module name although some of its users lack them. Each was looked at: another command's
# (with its name), another program's, or of a function that only commands which have the flag call.
OF_OTHERS = {
    "commands.data_flags": {"--train-list", "--val-list", "--data-root", "--list", "--checkpoint"},
    "commands.dataset": {"--max-bad-videos", "--deterministic", "--allow-missing"},
    "commands.recipe_text": {"--train-list", "--val-list"},
    "commands.run_export": {"--onnx"},  # of trtexec
    "commands.run_train": {"--logdir"},
    "errors": {"--resume", "--batch-size", "--accumulate", "--decode-batch", "--decoder-threads", "--workers"},  # asks first
    "formats.packet_table": {"--packets"},
    "commands.remote_facts": {"--packets"},
    "remote.range_cache": {"--cache", "--cache-gb"},
    "lists.list_shapes": {"--video-name"},
    "commands.label_kinds": {"--set"},
    "lists.numbering": {"--label-map", "--num-classes"},
    "loading.decode": {"--decoder"},
    "loading.decoder_fit": {"--decoder"},
    "loading.plan": {"--batch-size"},
    "loading.stream": {"--shm-size"},
    "manifest.bad_videos": {"--max-bad-videos"},
    "manifest.manifest": {"--allow-missing"},
    "model.checkpoint": {"--out"},
    "model.model_file": {"--out"},
    "model.weights": {"--weights", "--new-head"},
    "overrides": {"--set"},
    "prepare.ray_driver": {"--head"},
    "prepare.scan": {"--train-list"},
    "prepare.transcode": {"--train-list"},
    "recipe": {"--pipe"},
    "training.distributed": {"--nproc-per-node"},
    "training.run_folder": {"--out", "--resume", "--max-restarts"},
    "training.step_profile": {"--mode"},
    "video.reader": {"--decoder"},
}

OF_OTHERS["reporting.html_report"] = {  # colours of its CSS
    f"--{name}" for name in ("paper", "ink", "faint", "line", "shade", "link", "wrong", "right")
}


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
    words = [[]] if "." not in command else [[name] for name in ("check", "demo", "list", "scan", "show", "transcode")]
    for some in words:
        with pytest.raises(SystemExit):
            importlib.import_module(f"c2d_fast.{command}").parse([*some, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize("command", [*COMMANDS, "prepare.command_line"])
def test_no_message_of_a_command_names_a_flag_that_it_lacks(command, capsys):
    has = flags_of(command, capsys)
    for module in closure(command, of_any_time) - {"cli", *COMMANDS}:
        assert flags_named(MODULES[module]) - has <= OF_OTHERS.get(module, set()), module


@pytest.mark.parametrize("command", ["train", "test", "predict", "browse"])
def test_remedies_are_of_the_command(command, capsys):
    has = flags_of(command, capsys)
    flags = {flag.removeprefix("--").replace("-", "_") for flag in has}
    for remedy in (errors.restart_hint(flags), errors.smaller_batches_hint(flags)):
        assert set(re.findall(r"--[a-z][a-z-]+", remedy)) <= has
    assert ("--resume" in errors.restart_hint(flags)) == (command == "train")
    assert errors.smaller_batches_hint(set()) == "lower the number of videos"
