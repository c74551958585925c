"""Manifests of very many videos: the same to the byte, in little memory, and shared with workers."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made_up import ROOT, made
from media import make_video
from numpy.lib import recfunctions
from scans import scan, write_list

from c2d_fast.formats.manifest_file import read_manifest_file, read_narrow
from c2d_fast.lists.listing import read_list
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.source import stored_of
from c2d_fast.manifest import manifest as module
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, Crop


def opened(path):
    return read_manifest(read_list(path, None, None), allow_missing=True, jobs=1)


def test_a_manifest_is_written_as_it_was_read(tmp_path):
    arrays = made(tmp_path / "m.npz", 3000)
    whole, (narrow, identity) = read_manifest_file(tmp_path / "m.npz"), read_narrow(tmp_path / "m.npz", with_identity=True)
    for name, manifest in {"whole": whole, "narrow": narrow}.items():
        manifest.write(tmp_path / f"{name}.npz")
        assert (tmp_path / f"{name}.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()
    parts = (arrays["videos"], arrays["size"], arrays["mtime_ns"], arrays["facts"])
    expected = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    tuples = replace(whole, videos=tuple(whole.videos), reasons=tuple(whole.reasons))
    assert expected == identity == whole.identity() == narrow.identity() == tuples.identity()
    tuples.write(tmp_path / "tuples.npz")
    assert (tmp_path / "tuples.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()
    assert whole.facts.dtype == arrays["facts"].dtype
    assert narrow.facts.dtype.itemsize < whole.facts.dtype.itemsize / 1.5


@pytest.mark.parametrize("is_long", [False, True])
def test_videos_are_those_of_tuples(tmp_path, monkeypatch, is_long):
    made(tmp_path / "m.npz", 3000)
    monkeypatch.setattr(module, "_LONG", 1 if is_long else 10**6)
    manifest = opened(tmp_path / "m.npz")
    assert bool(manifest.shared) == is_long
    names, broken = (
        tuple(manifest.listing.videos),
        [row for row, reason in enumerate(manifest.listing.scanned.reasons) if reason],
    )
    plain = replace(manifest, listing=replace(manifest.listing, videos=names, labels=tuple(manifest.listing.labels)), shared={})
    videos, expected = manifest.videos(), plain.videos()
    assert list(manifest.broken) == broken != []
    assert videos is manifest.videos()
    assert videos.digest == expected.digest
    assert videos.stored_column("codec").tolist() == expected.stored["codec"].tolist()
    assert videos.sizes.tolist() == expected.size.tolist()
    plans = [
        TrainPlan(videos=v, clip=Clip(num_frames=8, interval=8), crop=Crop(), seed=1, batch_size=16) for v in (videos, expected)
    ]
    plans.append(pickle.loads(pickle.dumps(plans[0])))
    for step in (0, 7, plans[0].steps_per_epoch + 3):
        for slot in range(16):
            samples = [plan.sample(step, slot) for plan in plans]
            assert len({(s.index, s.frames.tobytes(), s.boxes.tobytes(), s.flip) for s in samples}) == 1
            index = samples[0].index
            assert len({(p.videos.file(index), p.videos.state(index), int(p.videos.labels[index])) for p in plans}) == 1
            assert len({p.videos.stored[p.videos.row(index)]["codec"] for p in plans}) == 1
    other = replace(videos, size=np.full(len(names), 7))
    assert pickle.loads(pickle.dumps(other)).state(0)[0] == 7  # and not what was shared before


def test_left_out_rows_stay_left_out(tmp_path):
    made(tmp_path / "m.npz", 2000)
    bad = BadVideos(opened(tmp_path / "m.npz"), (100.0, True), "")
    broken = list(bad.manifest.broken)
    assert bad.excluded_rows() == broken
    bad.exclude_only([3, *broken[1:], 10**9])
    assert bad.excluded_rows() == sorted([3, *broken[1:]])
    assert [bad.manifest.kept[index] for index in bad.kept_but_broken()] == [broken[0]]
    kept = bad.manifest.kept
    names = {bad.manifest.listing.videos[int(kept[5])], bad.manifest.listing.videos[3], "nowhere.mp4"}
    assert bad.indices_of(names).tolist() == [5]
    assert bad.indices_of(set()).tolist() == []


@pytest.mark.parametrize(("videos", "batch", "world"), [(10, 3, 2), (12, 3, 2), (1, 4, 3), (100, 7, 3)])
def test_each_rank_scores_its_own(tmp_path, videos, batch, world):
    made(tmp_path / "m.npz", 300)
    some = replace(opened(tmp_path / "m.npz"), broken={})
    some = replace(some, kept=some.kept[:videos]).videos()
    for rank in range(world):
        what = {"clip": Clip(num_frames=8, interval=8), "crop": Crop(), "batch_size": batch, "rank": rank, "world": world}
        plan = EvalPlan(videos=some, quarantined=frozenset({0}), **what)
        valid = sum(plan.is_valid(step, slot) for step in range(plan.steps) for slot in range(batch))
        assert plan.num_valid == valid


def test_packets_are_those_of_the_video_also_behind_a_broken_one(tmp_path, run_command):
    """The table is asked with each file's own size: of another's, packets would seem to lie outside the file."""
    for number, frames in enumerate((40, 9, 20)):
        make_video(tmp_path / f"{number}.mp4", num_frames=frames)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    path = write_list(tmp_path, ["broken.mp4", "1.mp4", "0.mp4", "2.mp4"])
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    videos = opened(tmp_path / "m.npz").videos()
    assert [videos.state(i)[0] for i in range(3)] == [(tmp_path / f"{name}.mp4").stat().st_size for name in (1, 0, 2)]
    assert [len(stored_of(videos, i, whole_files=False).rows) for i in range(3)] == [9, 40, 20]


_START = """
import json, re, sys, pickle
sys.path.insert(0, "benchmarks")
from pathlib import Path
import contextlib, io
from large_list_start import plan_of, take_first_samples
before = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
with contextlib.redirect_stdout(io.StringIO()):
    _, plan = plan_of(Path(sys.argv[1]), train=True)
    take_first_samples(plan, 0)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps((peak - before) * 1024 / 1e6))
"""


def test_200_000_videos_start_in_little_memory(tmp_path):
    made(tmp_path / "m.npz", 200_000)
    done = subprocess.run(
        [sys.executable, "-c", _START, tmp_path / "m.npz"], capture_output=True, text=True, cwd=ROOT, timeout=100, check=True
    )
    assert float(done.stdout) < 90  # MB; 64 were seen, and 121 with tuples of strings


def test_facts_are_narrowed_without_loss(tmp_path):
    arrays = made(tmp_path / "m.npz", 1000)
    scanned = read_list(tmp_path / "m.npz", None, None).scanned
    names = list(scanned.facts.dtype.names)
    assert (scanned.facts.astype(recfunctions.repack_fields(arrays["facts"][names]).dtype) == arrays["facts"][names]).all()
