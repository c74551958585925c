"""Readers of text: journals, caches, records, lists and label maps."""

import json
from dataclasses import astuple
from functools import partial
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st

from c2d_fast.commands import analyze_runs
from c2d_fast.errors import UserError
from c2d_fast.formats import checksums, schemas
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.packet_store import PacketStore
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.lists.list_shapes import class_columns, list_rows
from c2d_fast.lists.listing import read_list
from c2d_fast.lists.numbering import Meaning, number_labels
from c2d_fast.manifest import cache, manifest
from c2d_fast.prepare.demo_data import _is_made
from c2d_fast.reporting import history
from c2d_fast.reporting.metrics_file import open_without_later_steps
from c2d_fast.training.folder_lock import _owner
from c2d_fast.video.facts import DTYPE
from c2d_fast.video.packets import DTYPE as PACKETS
from fuzzed.inputs import FACTS, PLACE, RECIPE, Reader, damaged, damaged_lines, lines_of, replaced


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
            place = store.restore(self.place)
            found = next(iter(store._videos([place]))) if place else None
            assert found in (None, (b"x" * PACKETS.itemsize, b"extradata"))


class CacheFile(Reader):
    videos: ClassVar = {f"{i}.mp4": [100 + i, 5, *astuple(FACTS)] for i in range(3)}

    def prepare(self):
        self.cache = partial(manifest._Cache, self.folder)
        self.path = self.cache().path
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def files(self):
        content = {"format": cache.FORMAT, "root": str(self.folder.resolve()), "videos": self.videos}
        summed = replaced(content).map(json.dumps).map(lambda text: checksums.add_checksum(text) if text[-1] in "]}" else b"x")
        return damaged(checksums.add_checksum(json.dumps(content))) | summed

    def read(self):
        cache = self.cache()
        for video in self.videos:
            facts = cache.get(video, (100, 5))
            if facts is not None:
                np.array([astuple(facts)], DTYPE)


class DamagedCache(CacheFile):
    """Without a right checksum for wrong values: what is found is what was written."""

    def files(self):
        content = {"format": cache.FORMAT, "root": str(self.folder.resolve()), "videos": self.videos}
        return damaged(checksums.add_checksum(json.dumps(content)))

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
        panels = [analyze_runs._curves([run], *pair) for pair in analyze_runs._CURVES.items()]
        table = analyze_runs.Table([("", "")] * 20, [[str(value) for value in analyze_runs._run_row(run, "run")]])
        return [table.markdown(), table.csv(), analyze_runs._speed([run]), panels]


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
        "path,",
        "labels",
        *":;1",
        "0.5",
        "{id}",
        "\u2028",
        "\x85",
        "٣",
    ]

    def files(self):
        return st.lists(st.sampled_from(self.words), max_size=40).map("".join).map(str.encode)

    def read(self):
        text = self.path.read_text()
        number_labels(list(list_rows(text, self.path, None)), self.path, Meaning(columns=class_columns(text, self.path, None)))
