"""Files of the right kind and the wrong shape: refused in one line, soon, and without filling the memory."""

import dataclasses
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from fuzzed.archives import a_manifest
from fuzzed.inputs import FACTS, MODEL, RECIPE
from fuzzed.models import our_checkpoint, saved, show
from fuzzed.texts import ScanJournal
from test_fuzz import at_most, peak_bytes

from c2d_fast.errors import UserError
from c2d_fast.formats import schemas
from c2d_fast.formats.checksums import add_checksum, strip_checksum
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.formats.schemas import ShapeError, check_plain, decode_object, encode
from c2d_fast.manifest import cache as cache_file
from c2d_fast.manifest import manifest
from c2d_fast.model import checkpoint
from c2d_fast.model.model_file import read_model_file
from c2d_fast.prepare.show import report
from c2d_fast.reporting.history import read_history
from c2d_fast.reporting.metrics_file import open_without_later_steps
from c2d_fast.training.progress import Progress
from c2d_fast.training.schedule import load_moments


def test_a_checksum_is_a_member_more_and_holds_every_byte():
    for value in ({"a": [1, "}"]}, [1, {"b": 2}], {"crc32": "12345678"}):
        line = add_checksum(json.dumps(value))
        assert type(json.loads(line)) is type(value)
        assert strip_checksum(line) == (json.dumps(value).encode(), True)
        for at in range(len(line)):
            flipped = bytearray(line)
            flipped[at] ^= 1
            try:
                _, has_sum = strip_checksum(bytes(flipped))
            except ShapeError:
                continue
            assert not has_sum
    assert strip_checksum(b'{"a": 1}') == (b'{"a": 1}', False)


def test_every_shape_takes_what_is_written():
    facts = [*dataclasses.astuple(FACTS)]
    assert schemas.scan_entry(["a", 1, 2, 0, facts, "", None])[4] == dataclasses.astuple(FACTS)
    assert schemas.scan_entry(["a", -1, -1, 2, None, "why", None])[5] == "why"
    assert schemas.transcode_entry(["a", "b", [1, 2], [3, 4], facts, "", ["t", 0, 1, 2]])[6].rows == 1
    assert schemas.is_cache_entry([1, 2, *facts])
    assert not schemas.is_cache_entry([1, 2, 10**30, *facts[1:]])
    for wrong in (["a", 1, 2, 0, facts, "why", None], ["a", 1, 2, 0, None, "", None], ["a", 1, 2, 3, facts, "", None], {}, 1):
        with pytest.raises(ShapeError):
            schemas.scan_entry(wrong)


def test_figures_that_are_not_finite_are_written_as_null_and_read_as_gaps(tmp_path):
    line = {"kind": "train", "step": 1, "epoch": 1, "time_s": 5.0}
    assert json.loads(encode(line | {"loss": float("nan"), "top1": [float("inf")]})) == line | {"loss": None, "top1": [None]}
    texts = [json.dumps(line | {"loss": 1.0}), encode(line | {"step": 2, "loss": float("inf")})]
    texts += ['{"kind": "train", "step": 3, "loss": Infinity}', '{"kind": "train", "step": Infinity, "loss": 4}', "[1]"]
    (tmp_path / "metrics.jsonl").write_text("".join(text + "\n" for text in texts))
    np.testing.assert_array_equal(read_history(tmp_path).train["loss"], [1, np.nan, np.nan])
    open_without_later_steps(tmp_path / "metrics.jsonl", 9, None).close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == texts[:3]


def test_a_damaged_line_costs_that_line_only(tmp_path, capsys):
    path, header = tmp_path / "m.npz.journal", ScanJournal.header
    with Journal(path, header, "a test", entry=schemas.scan_entry) as journal:
        for entry in ScanJournal.entries:
            journal.add(entry)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[2] = lines[2].replace(b"1.mp4", b"7.mp4")
    path.write_bytes(b"".join(lines) + b'["torn')
    with Journal(path, header, "a test", entry=schemas.scan_entry) as journal:
        assert [entry[0] for entry in journal.entries] == ["0.mp4", "2.mp4"]
        journal.add(ScanJournal.entries[1])
    assert (
        f"note: {path}:3: is damaged (it does not match its checksum): what they tell of is done again"
        in capsys.readouterr().out
    )
    with Journal(path, header, "a test", entry=schemas.scan_entry) as journal:
        assert [entry[0] for entry in journal.entries] == ["0.mp4", "2.mp4", "1.mp4"]
    with pytest.raises(UserError, match=r"m.npz.journal:3: is damaged .*; mend or remove that line"):
        Journal(path, header, "a test", entry=schemas.scan_entry, must_be_whole=True)


def test_a_journal_of_before_there_were_checksums_goes_on(tmp_path):
    path = tmp_path / "m.npz.journal"
    path.write_text("".join(json.dumps(line) + "\n" for line in [ScanJournal.header, *ScanJournal.entries]))
    with Journal(path, ScanJournal.header, "a test", entry=schemas.scan_entry) as journal:
        assert len(journal.entries) == 3
        journal.add(ScanJournal.entries[0])
    with Journal(path, ScanJournal.header, "a test", entry=schemas.scan_entry) as journal:
        assert len(journal.entries) == 4


@pytest.mark.parametrize("first", ["[1]", "1", '"x"', "null", '{"format": {"a": [1]}}', "{", "[" * 5000])
def test_a_journal_with_another_first_line(tmp_path, first):
    path = tmp_path / "j"
    path.write_text(first + "\n[2]\n")
    with pytest.raises(UserError, match=r"with other options|:1: is damaged") as caught:
        Journal(path, {"format": "x"}, "--out", must_match=True)
    assert str(caught.value).isprintable()
    with Journal(path, {"format": "x"}, "--out") as journal:
        assert journal.entries == []


def test_a_cache_whose_figures_changed_is_read_again(tmp_path):
    cache = manifest._Cache(tmp_path)
    cache.put("a.mp4", (1, 2), FACTS)
    cache.put("b.mp4", (1, 2), dataclasses.replace(FACTS, fps=float("inf")))  # no video is kept with what no cache may hold
    cache.save()
    assert manifest._Cache(tmp_path).get("a.mp4", (1, 2)) == FACTS
    assert manifest._Cache(tmp_path).get("b.mp4", (1, 2)) is None
    text = cache.path.read_text()
    cache.path.write_text(text.replace("[1, 2, 12,", "[1, 2, 13,"))
    assert manifest._Cache(tmp_path).get("a.mp4", (1, 2)) is None


def test_a_user_without_a_home_has_no_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    cache = manifest._Cache(tmp_path)
    cache.put("a.mp4", (1, 2), FACTS)
    cache.save()
    assert (cache_file.cache_folder(), cache.path, capsys.readouterr().out) == (None, None, "")


def laughs(depth=60):
    """Lists that name one list twice, and so on: read whole, more than any memory."""
    value = ["ha"]
    for _ in range(depth):
        value = [value, value]
    return value


def itself():
    value = {}
    value["again"] = value
    return value


def deep_pickle(depth):
    return b"\x80\x02" + b"](" * depth + b"e" * depth + b"."


@pytest.mark.parametrize("value", [laughs(40), laughs(100), itself(), {"a": 10**5000}], ids=["many", "deep", "itself", "long"])
def test_checkpoints_that_unfold_without_end(value, tmp_path):
    path = tmp_path / "x.pt"
    for part in ("recipe", "meta"):
        checkpoint.save({**our_checkpoint(), "model": MODEL, part: {"x": value}}, path)
        refused(lambda: show(path), "nested more than|more than tensors and plain values")
        refused(lambda: checkpoint.load(path, "--resume"), "nested more than|more than tensors and plain values")
    torch.save({"state_dict": MODEL, "meta": value}, path)
    with at_most(10):
        show(path)  # of a published file the weights alone are looked at


@pytest.mark.parametrize("depth", [50, 200, 900, 5000, 200_000])
def test_nested_metadata(depth, tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("x/data.pkl", deep_pickle(depth))
        new.writestr("x/version", "3\n")
        new.writestr("x/byteorder", "little")
    with pytest.raises(UserError):
        show(path)
    card = '{"format": "c2d_fast.card/1", "recipe": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    header = json.dumps(
        {"__metadata__": {"c2d_fast.card": card}, "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    )
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    if depth < 60:
        show(path)
    else:
        with pytest.raises(UserError):
            show(path)


@pytest.mark.parametrize(
    "model", [{"depth": 7}, {"depth": []}, {"num_classes": 10**12}, {"dropout": "x"}, {"more": 1}, {"dropout": None}]
)
def test_a_recipe_of_no_model(model, tmp_path):
    whole = {**our_checkpoint(), "model": MODEL, "recipe": {**RECIPE, "model": {**RECIPE["model"], **model}}}
    checkpoint.save(whole, tmp_path / "x.pt")
    assert read_model_file(tmp_path / "x.pt", "--checkpoint").model is None
    checkpoint.save({**whole, "recipe": RECIPE}, tmp_path / "x.pt")
    assert read_model_file(tmp_path / "x.pt", "--checkpoint").model.depth == RECIPE["model"]["depth"]


@pytest.mark.parametrize(
    "change",
    [
        {"left_out_rows": [[1], [2, 3]]},
        {"left_out_rows": ["a"]},
        {"tally": ["a"] * 6},
        {"tally": 1},
        {"scaler": {"scale": "x"}},
    ],
)
def test_parts_that_a_run_cannot_go_on_from(change, tmp_path):
    (tmp_path / "x.pt").write_bytes(saved({**our_checkpoint(), "model": MODEL, **change}))
    with pytest.raises(UserError, match=f"its {next(iter(change))} is not of a run"):
        checkpoint.load(tmp_path / "x.pt", "--resume")


def test_a_momentum_of_another_shape_is_refused_before_the_first_step():
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = optimizer.state_dict()
    load_moments(optimizer, {**state, "state": {0: {"momentum_buffer": torch.ones(3, 2)}}})
    for buffer in (torch.ones(2, 3), "x", 1.0):
        with pytest.raises(ValueError, match="momentum"):
            load_moments(optimizer, {**state, "state": {0: {"momentum_buffer": buffer}}})


def overlapping(path, parts):
    """An archive of many parts that are all the same bytes of it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data/0", bytes(2**20))
        first = archive.infolist()[0]
        for number in range(parts):
            entry = zipfile.ZipInfo(f"x/data/{number + 1}")
            for name in ("compress_size", "file_size", "CRC", "header_offset"):
                setattr(entry, name, getattr(first, name))
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry


def test_small_files_that_would_fill_the_memory(tmp_path):
    before = peak_bytes(reset=True)
    path = tmp_path / "x.pt"
    overlapping(path, 20_000)
    refused(lambda: checkpoint.load(path, "--resume"), "its parts are to have")
    refused(lambda: show(path), "its parts are to have")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(2**28))
    refused(lambda: checkpoint.load(path, "--resume"), "is compressed")
    refused(lambda: show(path), "is compressed")
    path.write_bytes((2**60).to_bytes(8, "little") + b"{" + bytes(99))
    refused(lambda: show(path), "damaged")
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02\x8a\x04" + struct.pack("<i", 2**30) + b".")
    refused(lambda: show(path), "checkpoint")

    lines = (json.dumps({"kind": "train", "step": step, f"figure {step}": 1}) + "\n" for step in range(20_000))
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    (tmp_path / "config.json").write_text("[" + "{}," * (40 * 2**20 // 3) + "{}]")
    run = read_history(tmp_path)
    assert (len(run.train["step"]), run.configs) == (20_000, ())

    manifest_file = a_manifest()
    manifest_file.facts["frames"] = 2**27 - 1
    manifest_file.write(tmp_path / "m.npz")
    assert report(read_manifest_file(tmp_path / "m.npz"))
    assert peak_bytes() - before < 2**30


def refused(read, part):
    with at_most(10), pytest.raises(UserError, match=part) as caught:
        read()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("change", [("codec", b"\xff"), ("orientation", 9), ("fps", np.nan), ("frames", 0)])
def test_facts_that_no_scan_finds(change, tmp_path):
    odd = a_manifest()
    odd.facts[change[0]][0] = change[1]
    odd.write(tmp_path / "m.npz")
    with pytest.raises(UserError, match="do not fit each other"):
        read_manifest_file(tmp_path / "m.npz")


def test_what_is_plain():
    check_plain({"a": [1, 2.5, None, "x", (True, {1, 2})]})
    for value in (laughs(), itself(), {"a": 1 << 5000}):
        with pytest.raises(ShapeError):
            check_plain(value)
    with pytest.raises(ShapeError):
        decode_object("[1]")


def test_a_checkpoint_may_hold_what_a_trainer_writes():
    assert [field.name for field in dataclasses.fields(schemas.Position)] == [f.name for f in dataclasses.fields(Progress)]
