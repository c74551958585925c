"""Damaged files of every kind that this project reads back: what a whole one holds, and how it is read."""

import copy
import io
import json
import math
import pickle
import zipfile
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.lib import format as npy

from c2d_fast import checkpoint, checksums, history, manifest, manifest_cache, run_analyze, schemas
from c2d_fast.checkpoints import newest
from c2d_fast.demo_data import _is_made
from c2d_fast.dump_file import read_dump
from c2d_fast.errors import UserError
from c2d_fast.facts import DTYPE, Facts
from c2d_fast.findings import report
from c2d_fast.folder_lock import _owner
from c2d_fast.journal import Journal
from c2d_fast.label_map import read_label_map
from c2d_fast.list_shapes import list_rows
from c2d_fast.listing import read_list
from c2d_fast.manifest_file import ManifestFile, read_manifest_file
from c2d_fast.metrics_file import open_without_later_steps
from c2d_fast.model_file import of_checkpoint, read_model_file
from c2d_fast.packet_store import PacketStore
from c2d_fast.packet_table import TableError, open_table, write_table
from c2d_fast.packets import DTYPE as PACKETS
from c2d_fast.published_config import backbone_of
from c2d_fast.recipe import load_pipe
from c2d_fast.resume import check_classes, known_paths, note_changes, read_resumed
from c2d_fast.run_info import _checkpoint_lines, _plain, checkpoint_facts

FACTS = Facts(12, 12, 12, 160, 96, 160, 96, 25.0, True, "h264", "mov", "yuv420p", False, 1, 1, 1, 0, 0, False, False, 1, 12,
              True, 4, True, True, 1)  # fmt: skip
PLACE = ["0" * 32, 32, 0, 0, 0]
RECIPE = load_pipe(Path(__file__).parent / "tiny_pipe.py").recipe.as_dict()
MODEL = {"fc.bias": torch.zeros(2), "fc.weight": torch.arange(8.0).reshape(2, 4)}

# Values that parsers of JSON, of other languages or by other rules, stumble over.
ODD = [math.inf, -math.inf, math.nan, 2**31, -(2**63), 2**64, 10**400, 1e308, -0.0, "\udcff", "a\nb\x1b[2J", "", [], {}, None]
VALUES = st.recursive(
    st.sampled_from(ODD) | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def deep(depth):
    """Lists within each other: as a text each takes two bytes."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


SHAPES = VALUES | st.sampled_from([deep(100), deep(400), {"a": deep(300)}])
TEXTS = st.sampled_from(
    [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"NaN", b"", b"\0" * 64, b"\xff\xfe", b'"' + b"x" * 2**21]
)


@st.composite
def damaged(draw, whole):
    """Bytes of a whole file with some flipped, cut out, cut off or put in; or others altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=64) | TEXTS)
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["bit", "byte", "cut", "end", "insert", "again"]))
        if how == "bit" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif how == "end":
            del data[at:]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b"\n", b"\0" * 16, b"}", b"]", b'"']))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


def places(value):
    """Yields the paths of all parts of a value: keys that lead there."""
    yield ()
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from ((key, *path) for path in places(child))


@st.composite
def replaced(draw, whole, values=SHAPES):
    """A value some part of which is another one, or missing, or there twice."""
    path = draw(st.sampled_from(list(places(whole))))
    value = copy.deepcopy(whole)
    if not path:
        return draw(values)
    at = value
    for key in path[:-1]:
        at = at[key]
    how = draw(st.integers(0, 5))
    if how == 0:
        del at[path[-1]]
    elif how == 1 and isinstance(at, list):
        at.append(at[path[-1]])
    else:
        at[path[-1]] = draw(values)
    return value


def lines_of(values, *, summed=False):
    texts = [json.dumps(value) for value in values]
    return b"".join((checksums.with_sum(text) if summed and text[-1] in "]}" else text.encode()) + b"\n" for text in texts)


@st.composite
def damaged_lines(draw, values, summed):
    """Lines of JSON: damaged as bytes, or one of the values replaced, with a checksum that is right then."""
    if draw(st.booleans()):
        return draw(damaged(lines_of(values, summed=summed)))
    at = draw(st.integers(0, len(values) - 1))
    return lines_of([*values[:at], draw(replaced(values[at])), *values[at + 1 :]], summed=summed and draw(st.booleans()))


@dataclass
class Reader:
    """One kind of file, in a folder of its own."""

    folder: Path
    file: ClassVar[str] = "file"
    needs_torch: ClassVar[bool] = False

    def __post_init__(self):
        self.path = self.folder / self.file
        self.prepare()

    def prepare(self):
        """Makes what stands beside the file."""

    def files(self):
        """Returns a strategy of the file's bytes."""
        raise NotImplementedError

    def read(self) -> Any:
        """Reads the file, and goes through what it holds."""
        raise NotImplementedError

    def give(self, data):
        self.path.write_bytes(data)


class ScanJournal(Reader):
    entries: ClassVar = [
        ["0.mp4", 100, 5, 2, [*astuple(FACTS)], "", PLACE],
        ["1.mp4", 101, 5, 2, None, "does not decode", None],
        ["2.mp4", 102, 5, 0, [*astuple(FACTS)], "", None],
    ]
    header: ClassVar = {"format": "c2d_fast.scan/2", "root": "/data"}
    entry = staticmethod(schemas.scan_entry)
    more: ClassVar[dict] = {}

    def files(self):
        return damaged_lines([self.header, *self.entries], summed=True)

    def open(self):
        return Journal(self.path, self.header, "a test", entry=self.entry, **self.more)

    def read(self):
        with self.open() as journal:
            entries = journal.entries
        with self.open() as journal:
            assert journal.entries == entries  # what is damaged is left aside each time, and stops nothing


class TranscodeJournal(ScanJournal):
    entries: ClassVar = [[f"{i}.avi", f"{i}.mp4", [9, 9], [8, 8], [*astuple(FACTS)], "", PLACE] for i in range(2)]
    header: ClassVar = {"format": "c2d_fast.transcode/2", "gop": 1, "codec": "h264"}
    entry = staticmethod(schemas.transcode_entry)
    more: ClassVar = {"must_match": True}


class QuarantineFile(ScanJournal):
    entries: ClassVar = [{"list": "train", "path": "a.mp4", "where": "l.txt:1: a.mp4", "reason": "x", "time": "t"}] * 2
    header: ClassVar = {"format": "c2d_fast.quarantine/1"}
    entry = staticmethod(schemas.quarantine_entry)
    more: ClassVar = {"must_match": True, "must_be_whole": True}


class StoredPackets(Reader):
    """The file of packets beside a journal, and the places that the journal tells."""

    def files(self):
        with PacketStore(self.path, None) as store:
            self.place = store.add(b"x" * PACKETS.itemsize, b"extradata")
        return damaged(self.folder.joinpath("file.journal-packets").read_bytes())

    def give(self, data):
        self.folder.joinpath("file.journal-packets").write_bytes(data)

    def read(self):
        with PacketStore(self.path, None) as store:
            place = store.known(self.place)
            found = next(iter(store._videos([place]))) if place else None
            assert found in (None, (b"x" * PACKETS.itemsize, b"extradata"))


class CacheFile(Reader):
    videos: ClassVar = {f"{i}.mp4": [100 + i, 5, *astuple(FACTS)] for i in range(3)}

    def prepare(self):
        self.cache = partial(manifest._Cache, self.folder)
        self.path = self.cache().path
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def files(self):
        content = {"format": manifest_cache.FORMAT, "root": str(self.folder.resolve()), "videos": self.videos}
        summed = replaced(content).map(json.dumps).map(lambda text: checksums.with_sum(text) if text[-1] in "]}" else b"x")
        return damaged(checksums.with_sum(json.dumps(content))) | summed

    def read(self):
        cache = self.cache()
        for video in self.videos:
            facts = cache.get(video, (100, 5))
            if facts is not None:
                np.array([astuple(facts)], DTYPE)


class DamagedCache(CacheFile):
    """Without a right checksum for wrong values: what is found is what was written."""

    def files(self):
        content = {"format": manifest_cache.FORMAT, "root": str(self.folder.resolve()), "videos": self.videos}
        return damaged(checksums.with_sum(json.dumps(content)))

    def read(self):
        assert self.cache().get("0.mp4", (100, 5)) in (None, FACTS)


class DamagedJournal(ScanJournal):
    def files(self):
        return damaged(lines_of([self.header, *self.entries], summed=True))

    def read(self):
        begins_well = self.path.read_bytes().startswith(lines_of([self.header], summed=True))
        with self.open() as journal:
            found = [json.loads(json.dumps(entry)) for entry in journal.entries]
        assert not begins_well or all(entry in self.entries for entry in found)


RECORDS = [{"kind": "train", "step": s, "epoch": 1, "time_s": 1e9 + s, "loss": 1.5, "top1": 9.0, "lr": 0.1} for s in (1, 2, 3)]
RECORDS += [{"kind": "val", "step": 3, "epoch": 1, "time_s": 1e9 + 9, "loss": 1.5, "top1": 9.0, "top5": 50.0}]


class MetricsFile(Reader):
    def files(self):
        return damaged_lines(RECORDS, summed=False)

    def read(self):
        open_without_later_steps(self.path, 2, 1).close()


class RunFolder(Reader):
    file = "metrics.jsonl"
    config: ClassVar = {"recipe": RECIPE, "flags": {"seed": 0}, "machine": {"host": "h", "gpu": None},
                        "used": {"epochs": 2, "ranks": 1, "global_batch": 4, "base_lr": 0.1, "precision": "fp32"}}  # fmt: skip

    def files(self):
        return st.tuples(damaged_lines(RECORDS, summed=False), damaged_lines([self.config], summed=False))

    def give(self, data):
        self.path.write_bytes(data[0])
        (self.folder / "config.json").write_bytes(data[1])

    def read(self):
        run = history.read_history(self.folder)
        run.reference(), run.duration_s(), run.epochs_done()
        panels = [run_analyze._curves([run], *pair) for pair in run_analyze._CURVES.items()]
        table = run_analyze.Table([("", "")] * 20, [[str(value) for value in run_analyze._run_row(run, "run")]])
        return [table.markdown(), table.csv(), run_analyze._speed([run]), panels]


class ConfigFile(RunFolder):
    """A whole record beside a configuration of any shape."""

    def files(self):
        return st.tuples(st.just(lines_of(RECORDS)), replaced(self.config).map(json.dumps).map(str.encode))


class LockFile(Reader):
    def files(self):
        return damaged_lines([{"pid": 1, "host": "h", "since": "now"}], summed=False)

    def read(self):
        assert "\n" not in UserError(_owner(self.path)).args[0]


class DemoStamp(Reader):
    file = "demo.json"

    def files(self):
        return damaged_lines([{"made by": "x", "version": 1, "videos per class": {"train": 1}}], summed=False)

    def read(self):
        _is_made(self.folder, {"version": 1})


class LabelMap(Reader):
    def files(self):
        return damaged("playing guitar\ngrün 7\n'quoted name'\n".encode()) | damaged(b"one 1\nzero 0\ntwo 2\n")

    def read(self):
        read_label_map(self.path)


class ListFile(Reader):
    wholes: ClassVar = (
        b'a b/c.mp4 0\n"d e.mp4" 1\n',
        b"abc 10 0\ndef 20 1\n",
        b"abc,10,0\n'd,f',20,1\n",
        b'label,youtube_id,time_start,time_end,split\n"play ""it""",a_b,1,11,train\nx,y,2,12,val\n',
    )

    def files(self):
        return st.sampled_from(self.wholes).flatmap(damaged)

    def read(self):
        for template in (None, "{id}_x.mp4"):
            read_list(self.path, self.folder, None, video_name=template)


class ListText(Reader):
    """Words of lists in any order: more of it is read as a list than of damaged bytes."""

    words: ClassVar = [
        *"\"' ,\t\n0",
        "-1",
        "1.5",
        "a.mp4",
        "label",
        "youtube_id",
        "time_start",
        "time_end",
        "{id}",
        "\u2028",
        "\x85",
        "٣",
    ]

    def files(self):
        return st.lists(st.sampled_from(self.words), max_size=40).map("".join).map(str.encode)

    def read(self):
        list(list_rows(self.path.read_text(), self.path, None))


def a_manifest(count=3):
    facts = np.zeros(count, DTYPE)
    facts[:] = tuple(value.encode() if isinstance(value, str) else value for value in astuple(FACTS))
    numbers = {"size": np.full(count, 9), "mtime_ns": np.full(count, 5), "depth": np.full(count, 2, np.uint8)}
    return ManifestFile(
        list_path="/data/list.txt", list_sha256="0" * 64, root="/data", videos=tuple(f"{i}.mp4" for i in range(count)),
        labels=np.arange(count) % 2, classes=("a", "b"), facts=facts, reasons=("",) * (count - 1) + ("broken",), **numbers,
    )  # fmt: skip


def same_manifest(a, b):
    texts = ("list_path", "list_sha256", "root", "videos", "classes", "reasons")
    arrays = ("labels", "size", "mtime_ns", "depth", "facts")
    return all(getattr(a, n) == getattr(b, n) for n in texts) and all((getattr(a, n) == getattr(b, n)).all() for n in arrays)


class DamagedManifest(Reader):
    file = "m.npz"

    def files(self):
        self.whole = a_manifest()
        self.whole.write(self.path)
        return damaged(self.path.read_bytes())

    def read(self):
        assert same_manifest(read_manifest_file(self.path), self.whole)


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"
HEADERS = damaged(HEADER.format("'<i8'", "(3,)").encode()) | st.sampled_from(
    [HEADER.format(descr, shape).encode() for descr, shape in (
        ("'|O'", "(1,)"), ("'<i8'", "(-1,)"), ("'<i8'", "(True,)"), ("'<i8'", "(2**62, 2)"), ("'<i8'", f"({2**63},)"),
        ("'|V2147483647'", "(1000000,)"), ("[('a', 3)]", "()"), ("(('a', 'b'), 'c')", "(1,)"), ("'<M8[9999999999s]'", "(3,)"),
        ("'<i8'", "(" * 300 + ")" * 300), ("'<i8'", "3L"), ("{}", "[]"),
    )]
    + [b"(" * 500, b"[" * 9000, b"{" * 9000, b"-" * 9000 + b"1", b"{1: 2, 'a': 3}", b"1L", b"'\\", b"\xff", b" 1\n  2"]
)  # fmt: skip


@st.composite
def npy_bytes(draw):
    """An .npy file with a header of its own making."""
    text = draw(HEADERS) + b"\n"
    version, length = draw(st.sampled_from([(1, 2), (2, 4), (3, 4), (9, 4)]))
    largest = 2 ** (8 * length) - 1
    size = min(draw(st.sampled_from([len(text)] * 9 + [len(text) + 1, 0, largest])), largest)
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(length, "little") + text + draw(st.binary(max_size=32))


@st.composite
def with_member(draw, whole, arrays):
    """An archive one of whose members is another .npy file, and all checksums right."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[draw(st.sampled_from(sorted(members)))] = draw(npy_bytes() | arrays)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw(st.sampled_from([0, 8, 12, 14]))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy_of(array):
    file = io.BytesIO()
    npy.write_array(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


@st.composite
def odd_facts(draw):
    """The facts of a manifest with any numbers and texts in them."""
    facts = a_manifest().facts.copy()
    for _ in range(draw(st.integers(1, 3))):
        name, row = draw(st.sampled_from(DTYPE.names)), draw(st.integers(0, 2))
        kind = DTYPE[name].kind
        if kind == "S":
            facts[name][row] = draw(st.binary(max_size=16))
        elif kind == "f":
            facts[name][row] = draw(st.floats())
        elif kind == "b":
            facts[name][row] = draw(st.booleans())
        else:
            facts[name][row] = draw(st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, -1, 2**27 - 1]))
    return npy_of(facts)


class OddManifest(DamagedManifest):
    def files(self):
        self.whole = a_manifest()
        self.whole.write(self.path)
        columns = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3)
        odd = odd_facts() | columns.map(lambda v: npy_of(np.array(v))) | st.binary(max_size=20).map(
            lambda b: npy_of(np.frombuffer(b, np.uint8))
        )  # fmt: skip
        return with_member(self.path.read_bytes(), odd)

    def read(self):
        found = read_manifest_file(self.path)
        "\n".join(report(found, 99)).encode(errors="backslashreplace")


ROWS_OF_TABLE = np.zeros(4, PACKETS)
ROWS_OF_TABLE["position"], ROWS_OF_TABLE["size"], ROWS_OF_TABLE["shown"] = [0, 5, 10, 15], 5, range(4)
ROWS_OF_TABLE["entry"][0] = True


class PacketTableFile(Reader):
    file = "m.packets.npz"

    def files(self):
        write_table(self.path, "identity", [(ROWS_OF_TABLE.tobytes(), b"configuration")] * 2, np.array([4, 4]))
        whole = self.path.read_bytes()
        columns = st.lists(st.integers(-9, 2**40), min_size=3, max_size=3)
        return damaged(whole) | with_member(whole, columns.map(lambda v: npy_of(np.array(v))))

    def read(self):
        table = open_table(self.path, "identity")
        for video in range(len(table)):
            try:
                rows, extradata = table.read(video, 100)
            except TableError as error:  # such videos are read through
                one_line(error)
            else:
                assert (rows.tobytes(), extradata) in ((ROWS_OF_TABLE.tobytes(), b"configuration"), (b"", b""))


ROWS = [{"path": f"{i}.mp4", "label": i % 2, "scores": [0.25, 0.75]} for i in range(3)]


class DumpJson(Reader):
    file = "d.json"
    summary: ClassVar = {"classes": ["a", "b"], "result": {"views": "1x1"}, "flags": {"checkpoint": "x"}}

    def files(self):
        return st.tuples(self.rows(), damaged_lines([self.summary], summed=False))

    def rows(self):
        return damaged(json.dumps(ROWS).encode()) | replaced(ROWS).map(json.dumps).map(str.encode)

    def give(self, data):
        self.path.write_bytes(data[0])
        self.path.with_name(f"{self.file}.summary.json").write_bytes(data[1])

    def read(self):
        result = read_dump(self.path)
        names = run_analyze._class_names(result, None, None)
        counts, ranks = run_analyze.confusion_counts(result.labels, result.guesses(), len(names)), result.ranks()
        confusion = run_analyze.pairs_of(counts)
        for table in (run_analyze._by_class(result, confusion, ranks, names), run_analyze._hardest(result, names, 3)):
            table.text(), table.csv()
        run_analyze._result_row(result, "name", confusion, ranks)


class DumpPickle(DumpJson):
    file = "d.pkl"

    def rows(self):
        return damaged(pickle.dumps(ROWS)) | replaced(ROWS).map(pickle.dumps)


def our_checkpoint():
    progress = {"step": 8, "epoch": 2, "clips": 0, "best_top1": 12.5, "best_epoch": 1, "skipped": 0}
    return {
        "format": checkpoint.FORMAT, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": {},
        "progress": progress, "tally": [0.0] * 6, "recipe": RECIPE, "classes": ["a", "b"], "seed": 0, "videos": "0" * 64,
        "lists": [{"path": "/l.txt", "sha256": "0" * 64}], "versions": {"torch": "2"}, "left_out_rows": [1, 2],
        "used": {"batch_size": 2, "hybrid_share": 0.5, "decoder": "ffmpeg"},
    }  # fmt: skip


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


class CheckpointFile(Reader):
    file = "last.pt"

    def files(self):
        whole = {**our_checkpoint(), "model": MODEL}
        parts = replaced(our_checkpoint(), VALUES | st.sampled_from([deep(100), deep(300)]))
        odd = parts.map(lambda parts: saved({**parts, "model": MODEL} if isinstance(parts, dict) else parts))
        return damaged(saved(whole)) | damaged(saved(whole, _use_new_zipfile_serialization=False)) | odd

    def read(self):
        try:
            show(self.path)
        except UserError as error:
            one_line(error)
        content = read_resumed(self.path)
        check_classes(content, _NoList())
        known_paths(content, ["list.txt"])
        assert newest(self.folder, "--resume")
        identity = {key: our_checkpoint()[key] for key in ("seed", "videos", "lists", "used", "recipe", "versions")}
        identity["used"] = dict.fromkeys(("global_batch", "precision", "decoder", "hybrid_share", "base_lr"))
        note_changes(content, identity)
        return of_checkpoint(content, self.path).model


class DamagedCheckpoint(CheckpointFile):
    """Without anything replaced: its weights are those that were saved, or it is refused."""

    def files(self):
        return damaged(saved({**our_checkpoint(), "model": MODEL}))

    def read(self):
        file = read_model_file(self.path, "--checkpoint")
        assert all(torch.equal(file.state[name], value) for name, value in MODEL.items())


class _NoList:
    path, classes = "list.txt", ("a", "b")


def show(path):
    facts = _plain(checkpoint_facts(path))
    json.dumps(facts, allow_nan=False)
    "\n".join(_checkpoint_lines(facts))


class PublishedFile(Reader):
    file = "published.pth"

    def files(self):
        state = {"backbone.conv1.conv.weight": torch.zeros(2, 2), "cls_head.fc_cls.bias": torch.zeros(2)}
        whole = {"meta": {"cfg": "model = dict(backbone=dict(type='C2D'))", "epoch": 1}, "state_dict": state}
        meta = replaced({"cfg": "x", "hooks": [{"a": None}], "state": {"b": [1]}}, VALUES | st.just(deep(200)))
        odd = meta.map(lambda meta: saved({"meta": meta, "state_dict": {**state, **(meta if isinstance(meta, dict) else {})}}))
        foreign = saved({**whole, "optimizer": Foreign()})
        return damaged(saved(whole)) | odd | damaged(foreign) | damaged(saved(whole, _use_new_zipfile_serialization=False))

    def read(self):
        backbone_of(self.path)
        show(self.path)


class Foreign:
    """An object that only its own program can build."""


class SafetensorsFile(Reader):
    file = "a.safetensors"

    def files(self):
        import safetensors.torch

        card = {"format": "c2d_fast.card/1", "recipe": RECIPE, "classes": ["a", "b"], "progress": {"step": 1}}

        def with_card(card):
            return safetensors.torch.save(MODEL, {"format": "pt", "c2d_fast.card": json.dumps(card)})

        return damaged(with_card(card)) | replaced(card).map(with_card) | self.headers()

    @staticmethod
    def headers():
        """Files with a header of any shape, and a right length before it."""
        whole = {"__metadata__": {"format": "pt"}, "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        texts = replaced(whole, SHAPES | st.sampled_from(["F8_E4M3", "F4", "C64", "BOOL", [0], [2, 0]])).map(json.dumps)
        return texts.map(lambda text: len(text).to_bytes(8, "little") + text.encode() + b"\0" * 8)

    def read(self):
        show(self.path)
        return read_model_file(self.path, "--checkpoint").model


READERS = {
    kind.__name__: kind
    for kind in (
        *(ScanJournal, DamagedJournal, TranscodeJournal, QuarantineFile, StoredPackets, CacheFile, DamagedCache, MetricsFile),
        *(RunFolder, ConfigFile, LockFile, DemoStamp, LabelMap, ListFile, ListText, DamagedManifest, OddManifest),
        *(PacketTableFile, DumpJson, DumpPickle, CheckpointFile, DamagedCheckpoint, PublishedFile, SafetensorsFile),
    )
}


def one_line(error):
    text = str(error)
    assert text.isprintable(), text[:200]
    assert len(text) < 2000, text[:200]
