"""What comes from data is shown, and moves no cursor, opens no formula and no tag."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from media import make_video

from c2d_fast.console import ShownStream
from c2d_fast.errors import UserError
from c2d_fast.label_map import read_label_map
from c2d_fast.listing import read_list
from c2d_fast.tables import Table

ROOT = Path(__file__).parents[1]
ESCAPE = "\x1b[2J\x1b]0;title\x07"


def test_controls_are_shown():
    file = io.StringIO()
    stream = ShownStream(file)
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
