"""--set and --balance: fields of a recipe from the command line, in the run's record, and as a pipe file that runs."""

import hashlib
import json
import subprocess
import sys

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import PIPE, flags, last, one_line, run, train

from c2d_fast.commands import run_data, run_info
from c2d_fast.commands.recipe_text import pipe_file_text
from c2d_fast.errors import UserError
from c2d_fast.info import parse
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import load_pipe
from c2d_fast.train import parse as parse_train

FIELDS = {
    "name": st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
        lambda text: text.strip() == text and text.isprintable() and "/" not in text
    ),
    "model.depth": st.sampled_from((18, 50, 101)),
    "model.dropout": st.floats(0, 0.99),
    "model.num_classes": st.integers(1, 1000),
    "model.temporal_pool": st.booleans(),
    "model.nonlocal_after": st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), max_size=40).map(tuple),
    "clip.num_frames": st.integers(2, 64),
    "clip.interval": st.integers(1, 16),
    "crop.scales": st.lists(st.floats(0.1, 1), min_size=1, max_size=30).map(tuple),
    "crop.flip": st.floats(0, 1),
    "crop.area": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
    "training.lr": st.floats(1e-9, 1e9),
    "training.weights": st.text("az/.'\"\\ é", max_size=150).filter(lambda text: text.strip() == text),
    "training.milestones": st.sets(st.integers(1, 90), max_size=40).map(lambda found: tuple(sorted(found))),
    "training.decay_norms": st.booleans(),
    "training.ema": st.floats(0, 0.9999),
    "training.betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    "training.grid": st.lists(st.tuples(st.just(1), st.integers(1, 64), st.integers(1, 999)), max_size=40).map(tuple),
    "augment.mixup": st.floats(0, 8),
    "augment.color": st.tuples(*[st.floats(0, 0.5)] * 4),
    "labels.ignore": st.none() | st.integers(-9, 9),
    "labels.balance": st.booleans(),
    "distill.weight": st.floats(0.01, 1),
    "distill.temperature": st.floats(0.01, 99),
}
SOME = st.fixed_dictionaries({}, optional=FIELDS)


def written(values):
    return [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]


def by_hand(recipe, values):
    """The recipe's plain values with fields set, without any code of the project's that does so."""
    plain = json.loads(json.dumps(recipe.as_dict()))
    for name, value in values.items():
        *parts, field = name.split(".")
        place = plain
        for part in parts:
            if place[part] is None:
                place[part] = {"weight": 0.5, "temperature": 1.0, "teacher": None}
            place = place[part]
        place[field] = json.loads(json.dumps(value))
    before = json.loads(json.dumps(recipe.as_dict()))
    if any(plain[part] != before[part] for part in ("model", "clip", "crop")):
        plain |= {"published": None, "expected_top1": None}
    return json.loads(json.dumps(plain))


def test_any_fields_are_set_and_printed_as_a_pipe_file(tmp_path):
    counts, drawn = {"set": 0, "refused": 0}, [0]

    @settings(max_examples=80, deadline=None)
    @given(values=SOME, pipe=st.sampled_from(("k400_8x8", "k400_8x8_nonlocal", "demo", str(PIPE))), data=st.data())
    def set_and_print(values, pipe, data):
        if pipe == str(PIPE):  # its depth is its own
            values = {name: value for name, value in values.items() if not name.startswith("model.")}
        words = data.draw(st.permutations(written(values)))
        original = load_pipe(pipe)
        drawn[0] += 1
        try:
            changed = load_pipe(pipe, words)
        except UserError as error:  # a rule of one field with another
            counts["refused"] += str(error).startswith("--set ")
            return
        counts["set"] += 1
        assert json.loads(json.dumps(changed.recipe.as_dict())) == by_hand(original.recipe, values)
        assert load_pipe(pipe, words[::-1]).recipe.sha256 == changed.recipe.sha256
        path = tmp_path / f"printed_{counts['set']}.py"
        path.write_text(pipe_file_text(changed, pipe) + "\n")
        printed = load_pipe(path)
        assert printed.recipe == changed.recipe
        assert printed.recipe.sha256 == changed.recipe.sha256
        assert printed.train_pipe.__code__.co_filename == original.train_pipe.__code__.co_filename

    set_and_print()
    assert counts["set"] > 20, counts
    assert sum(counts.values()) == drawn[0]
    for number, name in enumerate(('"a', '""', '"', 'a"', "\\a")):  # a quote right behind the docstring's
        (tmp_path / f"q{number}.py").write_text(pipe_file_text(load_pipe("demo", [f"name={name}"]), "demo") + "\n")
    assert ruff("format", "--diff", tmp_path).stdout == ""
    checked = ruff("check", "--ignore", "E501,RUF001,RUF002", tmp_path)  # what is set may be of any length and letters
    assert checked.returncode == 0, checked.stdout


def ruff(*words):
    command = [sys.executable, "-m", "ruff", words[0], "--no-cache", "--config", ROOT / "pyproject.toml", *words[1:]]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


REFUSED = {
    "training.lr": "must be PART.FIELD=VALUE, such as training.lr=0.02",
    "=1": "must be PART.FIELD=VALUE",
    "lr=1": "a recipe has no part lr (did you mean training.lr?); its parts: name, model, clip, crop, training, augment,",
    "trainign.lr=1": "a recipe has no part trainign (did you mean training?)",
    "published.top1=99": "a recipe has no part published; its parts: name,",
    "expected_top1=99": "a recipe has no part expected_top1",
    "training.momentun=1": "training has no field momentun (did you mean training.momentum?); its fields: lr, lr_batch,",
    "training.lr.x=1": "training.lr has no fields; set it itself: training.lr=VALUE",
    "distill.teacher.dept=18": "distill.teacher has no field dept (did you mean distill.teacher.depth or",
    "training=1": "training is a part of the recipe; set one of its fields: training.FIELD=VALUE, of lr, lr_batch",
    "distill=0.5": "must be none, or set one of its fields: distill.FIELD=VALUE, of weight, temperature, teacher",
    "distill.teacher.depth=101": "distill.teacher is none so far; set distill.teacher.temporal_pool, distill.teacher.dropout",
    "training.lr=fast": "must be a number; the recipe has 0.01",
    "training.lr=nan": "must be a number; the recipe has 0.01",
    "training.lr=1e999": "must be a number; the recipe has 0.01",
    "training.epochs=1e2": "must be a whole number; the recipe has 100",
    "training.epochs=99999999999999999999": "must be a whole number; the recipe has 100",
    "training.decay_norms=0": "must be true or false; the recipe has True",
    "labels.ignore=all": "must be a whole number, or none",
    "crop.area=0.5": "must be 2 numbers, such as 0.4,0.8; the recipe has (0.08, 1.0)",
    "crop.area=0.5,x": "must be 2 numbers",
    "crop.area=0.5,True": "must be 2 numbers",
    "training.milestones=1.5": "must be whole numbers, such as 40,80; the recipe has (40, 80)",
    "training.milestones=" + "(" * 5000: "must be whole numbers",
    "training.milestones=__import__('os')": "must be whole numbers",
    "training.grid=1,2": "must be tuples of 3 whole numbers, such as (1, 2, 3),(1, 2, 3); the recipe has ()",
    "name=": "must be the name of a file, without a folder; the recipe has k400_8x8",
    "name=../x": "must be the name of a file, without a folder",
    "training.schedule=cosine": "training milestones ((40, 80)) must be () with the schedule cosine, which has none",
    "clip.num_frames=1": "clip (Clip(num_frames=1, interval=8, sampling='dense')) must have 2 frames at least",
    "crop.scales=": "crop scales (()) must be parts of the short side, one at least, above 0, and 1 at most",
    "crop.test_short_side=0": "crop train_short_side (256), test_short_side (0) and short_sides ((256, 320)) must be 1 pixel",
    "training.lr=1e300": "training lr (1e+300) must be 1000000 at most",
    "training.gamma=1e300": "training gamma (1e+300) must be 1000000 at most",
    "training.weight_decay=1e300": "training weight_decay (1e+300) must be 1000000 at most",
    "augment.color=1e300,0,0,0": "augment color ((1e+300, 0.0, 0.0, 0.0)) must be four numbers, 0 to 1000000, the last (hue)",
    "augment.policy_ops=101": "augment policy_ops (101) must be 1 to 100",
    "distill.temperature=1e300": "distill temperature (1e+300) must be above 0, and 1000000 at most",
    "model.depth=34": "depth (34) must be 18, 50 or 101",
}


@pytest.mark.parametrize("word", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_set_is_refused_in_one_line(word):
    with pytest.raises(UserError) as refused:
        load_pipe("k400_8x8", [word])
    message = str(refused.value)
    assert message.startswith(f"--set {word}: ")
    assert REFUSED[word] in message
    assert "\n" not in message


def test_words_count_together_and_none_twice():
    with pytest.raises(UserError, match=r"crop train_short_side \(200\) must be 224 at least, the crop's size$"):
        load_pipe("k400_8x8", ["crop.kind=centre", "crop.train_short_side=200"])
    cosine = ["training.schedule=cosine", "training.milestones=", "training.final_factor=0.1"]
    for words in (cosine, cosine[::-1]):  # alone, neither keeps the rules
        training = load_pipe("k400_8x8", words).recipe.training
        assert (training.schedule, training.milestones, training.final_factor) == ("cosine", (), 0.1)
    with pytest.raises(UserError, match=r"^--set training.lr=2: --set training.lr=1 sets the same; leave one of them out$"):
        load_pipe("k400_8x8", ["training.lr=1", " training.lr = 2"])
    with pytest.raises(UserError, match=r"^--set distill.weight=1: --set distill=none sets the same"):
        load_pipe("k400_8x8", ["distill=none", "distill.weight=1"])
    with pytest.raises(UserError, match=r"^--set augment.cutmix=-1: augment cutmix \(-1.0\) must be 0 or more$"):  # no other
        load_pipe("k400_8x8", ["augment.mixup=1", "augment.cutmix=-1", "training.lr=1"])
    with pytest.raises(UserError, match=r"^--set distill.weight=1 --set labels.kind=several: distill must be None with labels"):
        load_pipe("k400_8x8", ["distill.weight=1", "labels.kind=several"])


def test_parts_that_are_none_begin_at_their_defaults():
    teacher = {"depth": 101, "temporal_pool": False, "dropout": 0.4, "num_classes": 400}
    words = [f"distill.teacher.{name}={value}" for name, value in teacher.items()]
    distill = load_pipe("k400_8x8", [*words, "distill.weight=0.7"]).recipe.distill
    assert (distill.weight, distill.temperature) == (0.7, 1.0)
    assert {name: getattr(distill.teacher, name) for name in teacher} == teacher
    assert load_pipe("k400_8x8", ["distill=none"]).recipe == load_pipe("k400_8x8").recipe


def test_tuples_are_written_in_several_ways():
    for text in ("40,80", "(40, 80)", "[40,80]", "40, 80,", "(40,80,)"):
        assert load_pipe("demo", [f"training.milestones={text}", "training.epochs=100"]).recipe.training.milestones == (40, 80)
    for text in ("", "()", "[]", " "):
        assert load_pipe("demo", [f"training.milestones={text}"]).recipe.training.milestones == ()
    assert load_pipe("demo", ["training.milestones=7"]).recipe.training.milestones == (7,)
    for text in ("2,1", "(2,1)", "((2,1),)", "(2,1),"):
        assert load_pipe("k400_8x8", [f"model.nonlocal_after={text}"]).recipe.model.nonlocal_after == ((2, 1),)
    for text in ("(2,1),(3,0)", "((2,1),(3,0))"):
        assert load_pipe("k400_8x8", [f"model.nonlocal_after={text}"]).recipe.model.nonlocal_after == ((2, 1), (3, 0))


def test_what_is_known_is_of_the_model_and_its_clips():
    known = load_pipe("k400_8x8").recipe.published
    for word in ("training.lr=1", "augment.mixup=1", "labels.balance=true", "distill.weight=1", "name=x", "clip.interval=8"):
        assert load_pipe("k400_8x8", [word]).recipe.published == known
    for word in ("model.dropout=0.1", "clip.interval=4", "crop.flip=0"):
        assert load_pipe("k400_8x8", [word]).recipe.reference == {}
        assert load_pipe("demo", [word]).recipe.expected_top1 is None


def test_a_run_records_what_was_set_and_goes_on_with_it(ten_videos, tmp_path, monkeypatch, capsys):
    out, words = tmp_path / "run", ["--set", "training.lr=0.02", "--set", "training.momentum = 0.8"]
    train(*flags(ten_videos, out, *words, epochs=1), monkeypatch=monkeypatch)
    config = json.loads((out / "config.json").read_text())
    canonical = json.dumps(config["recipe"], sort_keys=True, separators=(",", ":"))
    for record in (config, last(out)):
        assert record["overrides"] == ["training.lr=0.02", "training.momentum = 0.8"]
        assert record["recipe_sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
        assert record["recipe"]["training"]["lr"] == 0.02
    assert {group["momentum"] for group in last(out)["optimizer"]["param_groups"]} == {0.8}
    capsys.readouterr()
    train(*flags(ten_videos, out, *words, "--resume", "auto", epochs=2), monkeypatch=monkeypatch)
    assert "note: its recipe" not in capsys.readouterr().out
    train(*flags(ten_videos, out, "--set", "augment.mixup=0.2", "--resume", "auto", epochs=2), monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "had training {'lr': 0.02, 'momentum': 0.8}, and goes on with {'lr': 0.003, 'momentum': 0.9}" in said
    assert "note: its recipe had augment {'mixup': 0.0}, and goes on with {'mixup': 0.2}" in said


def test_balance_is_a_word_for_a_field(ten_videos, tmp_path, run_command):
    given = flags(ten_videos, tmp_path / "run", "--balance")
    one_line(run_command("train", *given, "--set", "labels.balance=false"), 2,
             "error: --balance: --set labels.balance=false says otherwise; leave one of them out")  # fmt: skip
    one_line(run_command("train", *given, "--set", "labels.class_weights=balanced"), 2,
             "error: --set labels.class_weights=balanced --balance: labels balance (True) must be without")  # fmt: skip
    for words in ([], ["--set", "labels.balance = True"]):
        pipe = run_data._load_pipe(parse_train(["--pipe", "demo", "--balance", "--set", "training.lr=1", *words]))
        assert (pipe.recipe.labels.balance, pipe.overrides) == (True, ("training.lr=1", "labels.balance=true"))


def test_a_printed_pipe_file_trains(ten_videos, tmp_path, run_command):
    words = ["--set", "crop.flip=0", "--set", "name=mine", "--set", "training.weight_decay=0"]
    done = run_command("info", "--pipe", PIPE, *words)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "mine.py"
    path.write_text(done.stdout)
    assert path.read_text().startswith('"""mine: the recipe of ')
    out = tmp_path / "run"
    given = ["--pipe", path, "--train-list", ten_videos, "--out", out, "--epochs", 1, "--batch-size", 5, "--workers", 1]
    done = run(*given)
    assert done.returncode == 0, done.stderr
    end = last(out)
    assert (end["progress"]["step"], end["overrides"]) == (2, [])
    assert end["recipe"] == json.loads(json.dumps(load_pipe(PIPE, words[1::2]).recipe.as_dict()))


def test_info_prints_a_pipe_file_and_nothing_else(run_command, tmp_path, capsys):
    words = ["--pipe", "k400_8x8", "--set", "crop.flip=0"]
    run_info.run_info(parse(words))
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith('"""k400_8x8: the recipe of dali_pipes/k400_8x8.py, with\n')
    assert shown.out.endswith('\n__all__ = ["RECIPE", "eval_pipe", "train_pipe"]\n')
    assert "from dali_pipes.k400_8x8 import eval_pipe, train_pipe\n" in shown.out
    run_info.run_info(parse([*words, "--json"]))
    assert json.loads(capsys.readouterr().out)["recipe"]["crop"]["flip"] == 0
    with pytest.raises(UserError, match=r"^--set crop.flip=0: changes a recipe; give it with --pipe FILE$"):
        run_info.run_info(parse(words[2:]))
    with pytest.raises(UserError, match=r"^--checkpoint x.pt: with --set a pipe file is printed, and nothing else; leave"):
        run_info.run_info(parse([*words, "--checkpoint", "x.pt"]))


def test_published_recipes_print_no_fields_that_they_leave_alone(capsys):
    run_info.run_info(parse(["--pipe", "k400_8x8"]))
    rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows] == ["k400_8x8", "model", "clip", "crop", "training"]
    assert rows[2] == "  clip           num_frames 8, interval 8"
    assert rows[4].endswith("weight_decay 0.0001, clip_grad_norm 40.0, weights imagenet")


def test_every_command_that_uses_a_recipe_takes_it(ten_videos, tmp_path, run_command):
    path, video = tmp_path / "demo.pt", next(ten_videos.parent.rglob("*.mp4"))
    recipe = load_pipe("demo").recipe
    checkpoint.save({"model": C2D(recipe.model).state_dict(), "optimizer": {}, "scaler": {}, "progress": {},
                     "recipe": recipe.as_dict()}, path)  # fmt: skip
    for name, *words in (
        ["test", "--checkpoint", path, "--list", ten_videos],
        ["predict", video, "--checkpoint", path],
        ["browse", "--list", ten_videos, "--png", tmp_path / "x.png"],
        ["export", "--checkpoint", path, "--out", tmp_path / "x.safetensors"],
    ):
        done = run_command(name, *words, "--pipe", "demo", "--set", "crop.flip=2")
        one_line(done, 2, "error: --set crop.flip=2: crop flip (2.0) must be 0 to 1")
    done = run_command("export", "--checkpoint", path, "--out", tmp_path / "x.safetensors", "--set", "crop.flip=0")
    one_line(done, 2, "--set crop.flip=0: changes a recipe; give it with --pipe FILE, or leave --set out")
