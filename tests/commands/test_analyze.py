"""Charts and tables of real runs and results, and of damaged and hostile ones."""

import csv
import io
import json
import pickle
import warnings

import numpy as np
import pytest
from dumps import random_rows, write_rows
from PIL import Image
from runs import PIPE, one_line

from c2d_fast import analyze
from c2d_fast.commands import analyze_runs, run_analyze
from c2d_fast.errors import UserError
from c2d_fast.reporting import charts

RUN_FILES = {"curves.png", "speed.png", "runs.md", "runs.csv"}


@pytest.fixture(scope="module")
def dump(whole_run, eight_videos, tmp_path_factory, run_command):
    path = tmp_path_factory.mktemp("dump") / "scores.pkl"
    args = ["--pipe", PIPE, "--checkpoint", whole_run / "best.pt", "--list", eight_videos, "--views", "1x1", "--workers", 1]
    env = {"PYTHONPATH": str(PIPE.parent)}
    done = run_command("test", *args, "--dump", path, env=env)
    assert done.returncode == 0, done.stderr
    return path


def run_analysis(*words):
    """Runs the command in this process; nothing may warn."""
    with warnings.catch_warnings(action="error"):
        run_analyze.run_analyze(analyze.parse(list(map(str, words))))


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def picture(data):
    """The pixels of a PNG file that is not blank."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert (pixels.min(2) < 200).mean() > 0.002
    return pixels


def make_run(folder, lines, config=None):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def train_line(step, time_s, **more):
    figures = {"loss": 1.0, "top1": 50.0, "lr": 0.1, "clips_per_s": 10.0, "data_wait_percent": 1.0}
    return {"kind": "train", "step": step, "epoch": 1, "time_s": time_s, **figures, **more}


def test_a_run_and_its_result(whole_run, dump, tmp_path, run_command):
    out = tmp_path / "a" / "b"
    done = run_command("analyze", whole_run, dump, "--out", out, "--top", 3)
    assert (done.returncode, done.stderr) == (0, "")
    results = {"results.md", "results.csv", "confusion-scores.png", "classes-scores.png"}
    results |= {f"{kind}-scores.{suffix}" for kind in ("classes", "hardest") for suffix in ("md", "csv")}
    assert {path.name for path in out.iterdir()} == RUN_FILES | results
    assert {line.removeprefix("written: ") for line in done.stdout.splitlines() if line.startswith("written: ")} == {
        str(path) for path in out.iterdir()
    }
    for path in out.glob("*.png"):
        picture(path.read_bytes())
    (run,) = table(out / "runs.csv")
    validated = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    validated = [line for line in validated if line["kind"] == "val"]
    assert (run["recipe"], run["epochs done"], run["of"], run["steps"], run["global batch"]) == ("tiny", "2", "2", "8", "2")
    assert float(run["best top-1, %"]) == max(line["top1"] for line in validated)
    assert float(run["last top-5, %"]) == validated[-1]["top5"]
    # What test itself has said of the same scores.
    (result,), said = table(out / "results.csv"), json.loads((dump.parent / "scores.pkl.summary.json").read_text())["result"]
    assert float(result["top-1, %"]) == pytest.approx(said["top1"])
    assert float(result["top-5, %"]) == pytest.approx(said["top5"])
    assert float(result["mean class accuracy, %"]) == pytest.approx(said["mean_class_accuracy"])
    rows = pickle.loads(dump.read_bytes())
    hardest = table(out / "hardest-scores.csv")
    own = sorted(row["scores"][row["label"]] for row in rows)[:3]
    assert [float(row["probability of the label"]) for row in hardest] == own
    assert sum(int(row["videos"]) for row in table(out / "classes-scores.csv")) == 8
    assert f"top-1, %  {float(run['best top-1, %']):.2f}" in done.stdout


def test_help_is_light(run_command):
    done = run_command("analyze", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "example: python -m c2d_fast.analyze" in done.stdout


def test_counts_of_a_confusion():
    rng = np.random.default_rng(0)
    for num_classes, videos in ((1, 3), (7, 0), (7, 100), (400, 1000)):
        labels, guesses = rng.integers(0, num_classes, (2, videos))
        counts = charts.confusion_counts(labels, guesses, num_classes)
        assert (counts.shape, counts.dtype, counts.sum()) == ((num_classes, num_classes), np.int64, videos)
        assert (counts.sum(1) == np.bincount(labels, minlength=num_classes)).all()
        assert (counts.sum(0) == np.bincount(guesses, minlength=num_classes)).all()
        assert counts.trace() == (labels == guesses).sum()


@pytest.mark.parametrize("num_classes", [1, 2, 8, 20, 21, 40, 41, 400])
def test_figures_of_any_number_of_classes(num_classes):
    labels = np.arange(2 * num_classes) % num_classes
    counts = charts.confusion_counts(labels, labels[::-1], num_classes)
    counts[num_classes // 2] = 0  # none of it was scored
    hostile = ["$x_{1$ and $", "\N{CJK UNIFIED IDEOGRAPH-4E2D} \ud800 \x1b[0m", "_begins", "a very long name " * 20, ""]
    names = [hostile[place % len(hostile)] for place in range(num_classes)]
    with warnings.catch_warnings(action="error"):
        for draw in (charts.confusion_figure, charts.class_accuracy_figure):
            height, width, _ = picture(charts.encode_png(draw(counts, names))).shape
            assert 80 < height < 1400
            assert 300 < width < 1400
            charts.encode_png(draw(np.zeros_like(counts), names))


def test_a_perfect_confusion_is_a_dark_diagonal():
    pixels = picture(charts.encode_png(charts.confusion_figure(np.diag(np.arange(41)), ["x"] * 41)))
    dark = (pixels[:, :, 2] > pixels[:, :, 0] + 60).nonzero()
    within = dark[1] < 800  # the rest is the bar of colours
    assert np.corrcoef(dark[0][within], dark[1][within])[0, 1] > 0.99
    assert (pixels == 0xEE).all(2).sum() > 5000  # the class without a video


def test_results_of_the_same_name_keep_apart(tmp_path, run_command):
    paths = [tmp_path / "a" / "s.pkl", tmp_path / "b" / "s.pkl", tmp_path / "b" / "s.json", tmp_path / "b" / "s.json"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        write_rows(path, random_rows(30, 5, seed))
    run_analysis(*paths[:2], "--out", tmp_path / "two")
    assert (tmp_path / "two" / "confusion-a-s.png").exists()
    assert (tmp_path / "two" / "confusion-b-s.png").exists()
    run_analysis(*paths, "--out", tmp_path / "four")
    assert len(list((tmp_path / "four").glob("confusion-*.png"))) == 4
    assert len({row["result"] for row in table(tmp_path / "four" / "results.csv")}) == 4


def test_names_of_classes(tmp_path, capsys):
    path, names = write_rows(tmp_path / "s.json", random_rows(40, 3)), tmp_path / "names.txt"
    run_analysis(path, "--out", tmp_path / "x")
    assert {row["class"] for row in table(tmp_path / "x" / "classes-s.csv")} == {"class 0", "class 1", "class 2"}
    (tmp_path / "s.json.summary.json").write_text(json.dumps({"classes": ["a|b", "c", "d"]}))
    run_analysis(path, "--out", tmp_path / "x")
    assert {row["class"] for row in table(tmp_path / "x" / "classes-s.csv")} == {"a|b", "c", "d"}
    assert "a\\|b" in (tmp_path / "x" / "classes-s.md").read_text()
    names.write_text("e\nf\ng\n")
    run_analysis(path, "--label-map", names, "--out", tmp_path / "x")
    assert {row["class"] for row in table(tmp_path / "x" / "classes-s.csv")} == {"e", "f", "g"}
    names.write_text("e\nf\n")
    with pytest.raises(UserError, match=r"has 2 classes, .*s.json has scores of 3"):
        run_analysis(path, "--label-map", names, "--out", tmp_path / "x")


def test_records_of_every_state(tmp_path, capsys):
    val = {"kind": "val", "step": 30, "epoch": 1, "time_s": 130.0, "loss": 2, "top1": 40, "top5": None}
    runs = [
        make_run(tmp_path / "empty", []),
        make_run(tmp_path / "half", [train_line(10, 100.0), '{"kind": "train", "st']),
        make_run(tmp_path / "odd", ["[1]\n", "\n", "\xff\n", {"kind": "future", "step": 5}, {"kind": "train", "step": "x"},
                                    train_line(10, 100, loss=float("nan"), top1=float("inf"), new={"a": 1}, lr=10**300),
                                    "[" * 100_000 + "\n", train_line(20, "late", loss=True), val], {"recipe": 3, "used": []}),
        make_run(tmp_path / "_alone $x$", [train_line(n, 9.0 + n, gradient_norm=n) for n in range(9)], {"flags": {"seed": 7}}),
    ]  # fmt: skip
    (tmp_path / "half" / "config.json").write_text('{"recipe": ')
    for some in ([runs[0]], runs):
        run_analysis(*some, "--out", tmp_path / f"out{len(some)}")
    assert {path.name for path in (tmp_path / "out1").iterdir()} == {"runs.md", "runs.csv"}
    for name in ("curves.png", "speed.png"):
        picture((tmp_path / "out4" / name).read_bytes())
    empty, half, odd, alone = table(tmp_path / "out4" / "runs.csv")
    assert (empty["steps"], empty["epochs done"], half["steps"]) == ("", "", "10")
    assert (odd["best top-1, %"], odd["last top-5, %"], odd["train loss"], odd["epochs done"]) == ("40.0", "", "", "1")
    assert (alone["best top-1, %"], alone["seed"], alone["run"]) == ("", "7", "_alone $x$")


def test_records_of_any_values(tmp_path, capsys):
    rng = np.random.default_rng(0)
    values = [0, -1, 1, 3.5, 1e14, -1e308, 1e308, 10**300, None, True, "x", [], {}, float("nan"), float("inf"), 1e-300]
    keys = [
        "kind",
        "step",
        "epoch",
        "time_s",
        "loss",
        "top1",
        "top5",
        "lr",
        "clips_per_s",
        "data_wait_percent",
        "gradient_norm",
    ]
    for number in range(5):
        lines = [{key: values[rng.integers(len(values))] for key in keys} for _ in range(30)]
        lines = [line | {"kind": ("train", "val")[rng.integers(2)], "step": int(rng.integers(-5, 20))} for line in lines]
        config = {key: values[rng.integers(len(values))] for key in ("recipe", "used", "flags", "machine")}
        run_analysis(make_run(tmp_path / str(number), lines, config), "--out", tmp_path / "out")


def test_an_interruption_is_no_time_of_the_run(tmp_path):
    lines = [train_line(step, 1000.0 + step + (50_000 if step > 50 else 0), epoch=1 + step // 50) for step in range(1, 101)]
    config = {
        "recipe": {"name": "k400", "model": {"num_classes": 400}, "published": {"top1": 73.89}},
        "used": {"global_batch": 8},
    }
    run = make_run(tmp_path / "run", lines, config)
    (run / "config-resumed-20260101-000000.json").write_text(json.dumps(config | {"used": {"global_batch": 16}}))
    run_analysis(run, "--out", tmp_path / "out")
    (row,) = table(tmp_path / "out" / "runs.csv")
    assert float(row["hours"]) == pytest.approx(99 / 3600)
    assert (row["resumed"], row["global batch"]) == ("1", "8 > 16")
    history = run_analyze.read_history(run)
    assert history.seconds()[1].nonzero()[0].tolist() == [50]
    wait, *_ = analyze_runs._speed([history])
    assert np.isnan(wait.lines[0].y).sum() == 1
    top1 = analyze_runs._curves([history], "top1", "top-1, %")
    assert top1.levels == ((73.89, "published (10x3), k400: 73.89 %"),)


def test_wrong_arguments(tmp_path, run_command):
    good, file = write_rows(tmp_path / "s.pkl", random_rows(5, 3)), tmp_path / "file.txt"
    file.write_text("x")
    make_run(tmp_path / "run", [])
    for words, part in (
        ([], "the following arguments are required: PATH"),
        ([tmp_path / "none"], "no such file or folder"),
        ([tmp_path], "has no metrics.jsonl"),
        ([file], "is neither a run folder nor a file that ends in .pkl or .json"),
        ([tmp_path / "run", good, "--out", file], "is not a folder; give another"),
        ([good, "--out", file / "x"], "cannot be made"),
        ([good, "--label-map", tmp_path / "none"], "cannot be read"),
        ([good, "--top", 0], "--top: 0 must be a whole number, 1 or more"),
    ):
        done = run_command("analyze", *words)
        one_line(done, 2, part)
        assert done.stdout == ""
