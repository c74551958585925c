"""Readers of archives and scores: manifests, packet tables, dumps."""

import io
import json
import pickle
import zipfile
from dataclasses import astuple, replace
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st
from numpy.lib import format as npy

from c2d_fast.commands import analyze_results
from c2d_fast.formats.label_sets import LabelSets
from c2d_fast.formats.manifest_file import ManifestFile, read_manifest_file
from c2d_fast.formats.packet_table import TableError, open_table, write_table
from c2d_fast.prepare.show import report
from c2d_fast.reporting.confusion import count_pairs
from c2d_fast.reporting.dump_file import read_dump
from c2d_fast.video.facts import DTYPE
from c2d_fast.video.packets import DTYPE as PACKETS
from fuzzed.inputs import FACTS, Reader, damaged, damaged_lines, one_line, replaced


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


class OddLabels(OddManifest):
    """Any numbers in the columns of several labels a video."""

    def files(self):
        sets = LabelSets.from_pairs([[(1, 1.0), (0, 0.5)], [], [(0, 1.0)]])
        self.whole = replace(a_manifest(), labels=sets.heaviest(), label_sets=sets)
        self.whole.write(self.path)
        ends = st.lists(st.sampled_from([0, 1, 2, 3]) | st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=4)
        classes = st.lists(st.sampled_from([0, 1]) | st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=4)
        weights = st.lists(st.sampled_from([0.5, 1.0]) | st.floats(width=32), min_size=2, max_size=4)
        arrays = [ends.map(lambda v: np.array(v, np.int64)), classes.map(lambda v: np.array(v, np.int32))]
        return with_member(
            self.path.read_bytes(), st.one_of(*arrays, weights.map(lambda v: np.array(v, np.float32))).map(npy_of)
        )


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
        result = read_dump(self.path).of_counted()
        names = analyze_results.class_names(result, None, None)
        tables = [analyze_results._hardest(result, names, 3)]
        if result.kind == "single":
            confusion = count_pairs(result.labels, result.guesses(), len(names))
            tables.append(analyze_results._by_class(result, confusion, result.ranks(), names))
        else:
            scores, precision = analyze_results._scores_of_several(result)
            tables.append(analyze_results._precision_by_class(result, precision, names))
            analyze_results._result_row(result, "name", scores)
        for table in tables:
            table.text(), table.csv()


class DumpPickle(DumpJson):
    file = "d.pkl"

    def rows(self):
        return damaged(pickle.dumps(ROWS)) | replaced(ROWS).map(pickle.dumps)


SHARES = [{"path": f"{i}.mp4", "label": [i % 2, 1 - i % 2], "weights": [0.25, 0.75], "scores": [0.25, 0.75]} for i in range(3)]


class DumpOfSharesJson(DumpJson):
    def rows(self):
        return damaged(json.dumps(SHARES).encode()) | replaced(SHARES).map(json.dumps).map(str.encode)


class DumpOfSharesPickle(DumpJson):
    file = "d.pkl"

    def rows(self):
        return damaged(pickle.dumps(SHARES)) | replaced(SHARES).map(pickle.dumps)
