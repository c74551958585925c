"""The speed of `prepare check`: a table of very many videos, the search among as many hashes, and hashing itself."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from generated import make_videos

from c2d_fast.formats.manifest_file import ManifestFile, table_path
from c2d_fast.formats.packet_table import write_table
from c2d_fast.prepare.checked_lists import CheckedLists, read_manifest_list
from c2d_fast.prepare.frame_hash import hash_frames
from c2d_fast.prepare.near_pairs import near_pairs
from c2d_fast.prepare.packet_hash import repeated, size_hashes
from c2d_fast.video.facts import DTYPE
from c2d_fast.video.packets import DTYPE as PACKET


def prepare(*words: Any) -> None:
    """Runs a subcommand of `python -m c2d_fast.prepare`; 3 says that videos stand in both lists."""
    done = subprocess.run(
        [sys.executable, "-m", "c2d_fast.prepare", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        sys.exit(f"error: {' '.join(map(str, words))}: {done.stderr}")


def speed(folder: Path, count: int, packets: int, hashes: Any, threshold: int) -> dict[str, Any]:
    """Measures a table of so many videos, and the search among so many hashes: real ones, each with some bits changed."""
    rng = np.random.default_rng(0)
    path = folder / "many.npz"
    facts = np.zeros(count, DTYPE)
    facts[["frames", "packets"]] = packets
    facts["width"], facts["height"], facts["codec"], facts["container"], facts["pix_fmt"] = (
        340,
        256,
        b"h264",
        b"mov",
        b"yuv420p",
    )
    number = np.arange(count)
    texts = {"list_path": "many.txt", "list_sha256": "", "root": str(folder)}
    names = tuple(f"class {i % 400}/{i:09d}.mp4" for i in range(count))
    columns = {"labels": number % 400, "size": number + 10**9, "mtime_ns": number, "depth": np.zeros(count, np.uint8)}
    manifest = ManifestFile(
        **texts, videos=names, classes=None, facts=facts, reasons=("",) * count, **columns
    )  # fmt: skip
    manifest.write(path)
    rows = np.zeros(packets, PACKET)
    rows["shown"] = np.arange(packets)
    write_table(table_path(path), manifest.identity(), _many(rng, rows, count), np.full(count, packets, np.int64))
    listed = read_manifest_list("train", path, None)
    started_s = time.perf_counter()
    found = repeated(size_hashes(listed)[0])
    exact_s = time.perf_counter() - started_s
    assert len(found) == 1, "one pair was planted"
    exact_peak_mb = _peak_mb()
    many = hashes[rng.integers(0, len(hashes), count)]
    for _ in range(16):
        many ^= np.uint64(1) << rng.integers(0, 64, many.shape).astype(np.uint64)
    started_s = time.perf_counter()
    pairs, _ = near_pairs(many, np.ones(many.shape, np.bool_), threshold)
    near_s = time.perf_counter() - started_s
    path.unlink()
    table_path(path).unlink()
    return {
        "videos": count,
        "packets": packets,
        "exact_s": round(exact_s, 1),
        "exact_peak_mb": round(exact_peak_mb),
        "near_s": round(near_s, 1),
        "near_peak_mb": round(_peak_mb()),
        "near_pairs": len(pairs),
        "hashed_per_core_s": _hashing(folder),
    }


def _many(rng: np.random.Generator, rows: Any, count: int) -> Iterator[tuple[bytes, bytes]]:
    for i in range(count):
        if i + 1 < count:  # the last is as that before
            rows["size"] = rng.integers(20, 60_000, len(rows))
        yield rows.tobytes(), bytes(40)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _hashing(folder: Path) -> dict[str, float]:
    """Returns how many videos of 300 frames of 340x256 a core hashes in a second, by how they are stored."""
    rates = {}
    for form, gop in {"GOP 250": 250, "all-intra": 1}.items():
        made = folder / form
        make_videos(made, 8, gop=gop)
        (folder / f"{form}.txt").write_text("".join(f"{path.name} 0\n" for path in sorted(made.iterdir())))
        prepare("scan", "--list", folder / f"{form}.txt", "--data-root", made, "--out", folder / f"{form}.npz")
        lists = CheckedLists([read_manifest_list("train", folder / f"{form}.npz", None)])
        hash_frames(lists.video(0), lambda: None)
        started_s = time.perf_counter()
        for number in range(len(lists)):
            assert not hash_frames(lists.video(number), lambda: None).reason
        rates[form] = round(len(lists) / (time.perf_counter() - started_s), 1)
    return rates
