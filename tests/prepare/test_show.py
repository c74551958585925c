"""`prepare show`: how even classes are, and the plots."""

import csv

import matplotlib.image
import numpy as np
import pytest
from made_up import made

from c2d_fast.formats.manifest_file import read_manifest_file, read_narrow
from c2d_fast.prepare import tallies
from c2d_fast.prepare.show import report
from c2d_fast.prepare.show_plots import draw


def packed(texts):
    return np.frombuffer("".join(f"{text}\0" for text in texts).encode(), np.uint8)


def lines_of(path):
    """The report's lines, the same of both ways of reading and of any number of videos at a time."""
    lines = report(read_manifest_file(path))
    assert report(read_narrow(path)[0]) == lines
    return lines


def test_balance_is_told(tmp_path):
    reasons = packed(["", "", "", "", "", "broken 7", "broken 12", ""])
    labels = np.array([2, 2, 2, 0, 4, 3, 3, 2])
    made(tmp_path / "m.npz", 8, labels=labels, reasons=reasons, classes=packed("abcdef"))
    lines = lines_of(tmp_path / "m.npz")
    assert "3 classes have videos: most c (4), fewest e (1), 4.0 to 1" in lines
    assert "3 classes have no video that can be used: b, d, f" in lines
    assert ["broken", "N", "2"] in [line.split() for line in lines]
    made(tmp_path / "n.npz", 8, labels=labels, reasons=reasons, classes=packed([]))
    lines = lines_of(tmp_path / "n.npz")
    assert "2 classes have no video that can be used: class 1, class 3" in lines


def test_any_number_at_a_time_is_counted_alike(tmp_path, monkeypatch):
    made(tmp_path / "m.npz", 2000)
    lines = lines_of(tmp_path / "m.npz")
    monkeypatch.setattr(tallies, "_ROWS", 7)
    assert lines_of(tmp_path / "m.npz") == lines


def test_plots_are_drawn(tmp_path, run_command):
    made(tmp_path / "m.npz", 3000)
    shown = run_command("prepare", "show", tmp_path / "m.npz", "--png", tmp_path / "m.png", "--csv", tmp_path / "m.csv")
    assert shown.returncode == 0, shown.stderr
    assert f"plots written to {tmp_path / 'm.png'}" in shown.stdout
    image = matplotlib.image.imread(tmp_path / "m.png")
    assert image.shape[:2] == (900, 1800)
    assert 0.1 < (image[..., :3].sum(-1) < 2.5).mean() < 0.6  # something is drawn
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    manifest = read_manifest_file(tmp_path / "m.npz")
    assert [row["frames"] for row in rows if not row["reason"]] == [str(n) for n in manifest.facts["frames"] if n]
    refused = run_command("prepare", "show", tmp_path / "m.npz", "--png", tmp_path / "nowhere" / "m.png")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["one row", "all broken", "no rates", "one class of odd letters"])
def test_odd_manifests_are_drawn(tmp_path, kind):
    count = 1 if kind == "one row" else 50
    changes = {"reasons": packed([""] * count)}
    if kind == "all broken":
        changes["reasons"] = packed(["does not decode"] * count)
    if kind == "one class of odd letters":
        changes |= {"labels": np.zeros(count, np.int64), "classes": packed(["$x_{\n\u4e00 very long name that is cut"])}
    arrays = made(tmp_path / "m.npz", count, **changes)
    if kind != "all broken":  # none of them is broken now
        arrays["facts"][:] = arrays["facts"][arrays["facts"]["frames"] > 0][0] if count > 1 else arrays["facts"]
        arrays["facts"]["fps"] *= kind != "no rates"
        np.savez_compressed(tmp_path / "m.npz", **arrays)
    figure = draw(read_narrow(tmp_path / "m.npz")[0])
    figure.savefig(tmp_path / "m.png")
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        "videos per class", "length, seconds", "length, frames", "frames in a second", "width x height", "short side, pixels",
        "size of the file, MB", "bit rate, kbit/s",
    ]  # fmt: skip
    empty = [axes for axes in figure.axes if any(text.get_text().startswith("no video") for text in axes.texts)]
    assert len(empty) == {"all broken": 8, "no rates": 3}.get(kind, 0)
    lines_of(tmp_path / "m.npz")
