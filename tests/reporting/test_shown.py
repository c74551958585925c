"""What comes from data is shown, and moves no cursor, opens no formula and no tag."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from media import make_video
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from c2d_fast.console import EscapedStream, escape_control
from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.lists.listing import read_list
from c2d_fast.reporting.tensorboard_writer import TensorBoardWriter
from c2d_fast.tables import Table, csv_cell

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b[2J\x1b]0;title\x07"


def test_controls_are_shown():
    file = io.StringIO()
    stream = EscapedStream(file)
    assert stream.write(f"a\tb{ESCAPE}c\r\u202ed\x9be\n") == len(f"a\tb{ESCAPE}c\r\u202ed\x9be\n")
    assert file.getvalue() == "a\tb\\x1b[2J\\x1b]0;title\\x07c\\r\\u202ed\\x9be\n"
    print("grün, 日本語", file=stream)
    assert file.getvalue().endswith("grün, 日本語\n")
    assert not stream.isatty()


def test_names_in_a_folder_reach_no_terminal(tmp_path, run_command):
    for name in ("plain", f"odd{ESCAPE[:4]}"):
        make_video(tmp_path / "data" / name / "a.mp4", num_frames=12)
    (tmp_path / "data" / "plain" / f"broken{ESCAPE[:4]}.mp4").write_text("no video")
    done = run_command("prepare", "scan", "--list", tmp_path / "data", "--out", tmp_path / "a.npz")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "broken\\x1b[2J" in done.stdout + done.stderr


def test_closed_outputs_are_borne(tmp_path):
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{sys.executable} -m c2d_fast.info --pipe dali_pipes/none.py {closed}"
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, (closed, done.stderr)
        assert "Traceback" not in done.stderr


def test_nul_is_refused_where_names_are_read(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.mp4 0\nb\0c.mp4 1\n")
    with pytest.raises(UserError, match=r"list .*list.txt:2: holds a NUL byte"):
        read_list(tmp_path / "list.txt", None, 2)
    (tmp_path / "map.txt").write_bytes(b"one\ntw\0o\n")
    with pytest.raises(UserError, match=r"map.txt:2: holds a NUL byte"):
        read_label_map(tmp_path / "map.txt")


def test_tables_hold_no_formula_and_no_tag():
    table = Table(columns=[("class", ""), ("top-1", ".1f")], rows=[["=1+1", -1.5], ["<script>a|b</script>", 2.0], ["-", None]])
    assert table.csv().splitlines()[1:] == ["'=1+1,-1.5", "<script>a|b</script>,2.0", "'-,"]
    assert "| &lt;script&gt;a\\|b&lt;/script&gt; | 2.0 |" in table.markdown()


HOSTILE = ["=1+1", "\x1b[2Jcls", "two\nlines", "\u202egpj.exe", "<script>x</script>", "a|b", "[x](javascript:y)", "\u2028end"]
MOVES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f]")


def test_all_ends_of_lines_and_directions_are_shown():
    file = io.StringIO()
    print(
        "".join(map(chr, [*range(32), 127, *range(128, 160), 0x61C, 0x200E, 0x2028, 0x2029, 0x2066])), file=EscapedStream(file)
    )
    assert not MOVES.search(file.getvalue().replace("\t", ""))
    assert "\u200d" in escape_control("\u0646\u200c\u200d")  # joiners are part of words


@pytest.mark.parametrize("name", ["\n=1+1", " =1+1", "\t@x", "\uff1d1+1", "+1", "-cmd", "=1+1"])
def test_no_cell_is_a_formula(name):
    assert str(csv_cell(name)).startswith("'")
    assert "\n" not in csv_cell(name)
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("class 1") == "class 1"


@pytest.fixture(scope="module")
def hostile_run(eight_videos, tmp_path_factory):
    """A checkpoint whose metadata and classes are hostile, and a list of videos whose names are."""
    from runs import flags, run

    folder = tmp_path_factory.mktemp("hostile")
    for number, name in enumerate(HOSTILE):
        make_video(folder / "data" / name.replace("/", "_") / f"v{name.replace('/', '_')}.mp4", num_frames=20, hue=number)
    done = run(*flags(eight_videos, folder / "run", epochs=1))
    assert done.returncode == 0, done.stderr
    content = torch.load(folder / "run" / "last.pt", weights_only=True)
    content["classes"] = ["two\nlines: forged", "=1+1 \x1b[2J\u202e"]
    content["recipe"] |= {"name": "mine\n\x1b[2Jforged", "clip": "x\nforged \x1b[0m"}
    content["seed"] = "7\nforged \x1b[2J"
    content["used"] = {"precision": "fp\n\x1b[2Jforged"}
    torch.save(content, folder / "hostile.pt")
    return folder


def harmless(done, code=0):
    assert done.returncode == code, done.stderr
    assert not MOVES.search(done.stdout + done.stderr), done.stdout + done.stderr
    assert not any(line.lstrip().startswith("forged") for line in (done.stdout + done.stderr).splitlines()), done.stdout
    return done.stdout + done.stderr


def test_commands_that_read_a_hostile_checkpoint_stay_on_their_lines(hostile_run, eight_videos, tmp_path, run_command):
    from runs import PIPE

    checkpoint, video = hostile_run / "hostile.pt", eight_videos.parent
    said = harmless(run_command("predict", video, "--pipe", PIPE, "--checkpoint", checkpoint, "--workers", 1))
    assert "two\\nlines: forged" in said
    harmless(run_command("info", "--checkpoint", checkpoint))
    harmless(run_command("export", "--checkpoint", checkpoint, "--pipe", PIPE, "--out", tmp_path / "x.safetensors"))
    harmless(run_command("test", "--pipe", PIPE, "--checkpoint", checkpoint, "--list", eight_videos, "--views", "1x1"))
    words = ["--pipe", PIPE, "--train-list", eight_videos, "--epochs", 1, "--batch-size", 2, "--workers", 1]
    harmless(run_command("train", *words, "--out", tmp_path / "a", "--weights", checkpoint))
    said = harmless(run_command("train", *words, "--out", tmp_path / "b", "--resume", checkpoint))
    assert "note: it was trained with --seed 7\\nforged" in said


def test_names_of_files_and_classes_stay_on_their_lines(hostile_run, tmp_path, run_command):
    data = tmp_path / "data"
    shutil.copytree(hostile_run / "data", data)
    for folder in list(data.iterdir()):
        (folder / "broken\n\x1b[2Jforged.mp4").write_text("no video")
    said = harmless(run_command("prepare", "scan", "--list", data, "--out", tmp_path / "m.npz"))
    assert "broken\\n\\x1b[2Jforged" in said
    harmless(run_command("prepare", "show", tmp_path / "m.npz", "--csv", tmp_path / "m.csv"))
    said = harmless(run_command("prepare", "list", "--train", data, "--out", tmp_path / "lists"), code=2)
    assert len(said.strip().splitlines()) <= 2, "no label map can hold these"
    harmless(run_command("prepare", "transcode", "--list", data, "--out", tmp_path / "small", "--preset", "ultrafast"))
    rows = list(csv.reader((tmp_path / "m.csv").open(newline="")))
    cells = [cell for row in rows for cell in row]
    assert not MOVES.search("".join(cells))
    assert not any(cell[:1] in "=+@" for cell in cells if cell)
    assert "'=1+1/v=1+1.mp4" in cells


def test_tables_of_hostile_names_are_harmless(tmp_path, capsys):
    from c2d_fast.analyze import parse
    from c2d_fast.commands.run_analyze import run_analyze

    rows = [{"path": f"{name}.mp4", "label": label, "scores": [0.125] * 8} for label, name in enumerate(HOSTILE)]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    (tmp_path / "s.json.summary.json").write_text(json.dumps({"classes": HOSTILE, "flags": {"checkpoint": "=1\n\x1b[2J"}}))
    run_analyze(parse([str(tmp_path / "s.json"), "--out", str(tmp_path / "out")]))
    assert "\x1b" not in capsys.readouterr().out
    for path in (tmp_path / "out").iterdir():
        if path.suffix == ".md":
            text = path.read_text()
            assert not MOVES.search(text), path
            assert "<script" not in text
            assert "](" not in text.replace("\\]", "")
            assert len({line.replace("\\|", "").count("|") for line in text.splitlines()}) == 1
        elif path.suffix == ".csv":
            cells = [cell for row in csv.reader(path.open(newline="")) for cell in row]
            assert not MOVES.search("".join(cells)), path
            assert not any(cell[0] in "=+@" for cell in cells if cell), path


def test_a_command_with_lines_in_it_opens_no_markdown(tmp_path):
    board = TensorBoardWriter(tmp_path, purge_step=None)
    board.config({"command": "train --out a\n\n<script>x</script>\n# big\x1b[2J", "classes": ["```\n<script>"]}, ())
    board.close(finished=False)
    events = EventAccumulator(str(tmp_path)).Reload()
    command, config = (
        events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode() for tag in ("command", "config")
    )
    assert command.startswith("    ")
    assert len(command.splitlines()) == 1
    assert not MOVES.search(command)
    assert not any(line.startswith("```") for line in config.splitlines()[1:-1])
