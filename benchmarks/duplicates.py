"""Measures `prepare check`: copies found and false alarms over 200 pairs of videos, by kind and threshold, and its speed.

    python benchmarks/duplicates.py                  # some 10 minutes on two CPU cores
    python benchmarks/duplicates.py --data /tmp/d    # keeps the videos, and takes those that are there

Videos are drawn (duplicate_videos.py); of clips in --clips, which need not be there, each is one source more in the place of a
drawn one.
"""

import argparse
import csv
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from duplicate_videos import COPIES, HARDER, KINDS, LENGTH, SOURCE, STATIC, flat, real_images, write_video
from duplicates_speed import prepare, speed
from machine import describe_host
from result_file import write_result

from c2d_fast.prepare.frame_hash import NUM_FRAMES
from c2d_fast.prepare.near_pairs import MOST_THRESHOLD, near_pairs

FORMAT = "c2d_fast.benchmark.duplicates/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "duplicates-cpu.json"
"""What docs/duplicates.md shows."""
DEFAULT = 10
FIRST = 9000
"""Number of the first video that is drawn. Threshold, contrast and number of frames were chosen on videos 0 to 127; then the
threshold was raised, after a look at 5000 to 5199."""
FLAT = 16
REAL = "real"


def table(result: dict[str, Any]) -> str:
    """Returns what is found and what is alarmed about by the threshold, as Markdown, and what it was measured on."""
    head = ("`--threshold`", "copies found", "pairs of different videos alarmed about", "videos with a false alarm")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in result["thresholds"]:
        name = f"**{row['bits']}** (default)" if row["bits"] == DEFAULT else str(row["bits"])
        found = f"{row['found']} of {result['pairs']} ({100 * row['found'] / result['pairs']:.1f} %)"
        lines.append(
            f"| {name} | {found} | {row['false_pairs']} of {result['different_pairs']:,} | {row['false_videos']} of "
            f"{2 * result['pairs']} |"
        )
    machine = result["machine"]
    return "\n".join(
        [
            *lines,
            "",
            f"Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs, with PyAV {machine['av']} and "
            f"ImageHash {machine['ImageHash']}. {result['real']} of the {result['pairs']} sources are real clips.",
        ]
    )


def kinds_table(result: dict[str, Any]) -> str:
    """Returns what is found by kind of copy at the default threshold, and of what is no copy, or hardly one, as Markdown."""
    lines = ["| a copy, or what resembles one | counts as | found as near |", "|---|---|---|"]
    for group, counts_as in (("copies", "copy"), ("harder", "apart: a copy that was altered"), ("others", "apart")):
        for row in result[group]:
            lines.append(f"| {row['kind']} | {counts_as} | {row['found']} of {row['of']} |")
    lines.append(f"| black, grey, white, fades | different | {result['flat']['alarms']} alarms of {result['flat']['videos']} |")
    return "\n".join(lines)


def speed_table(result: dict[str, Any]) -> str:
    """Returns what a check takes as Markdown."""
    speed = result["speed"]
    many = f"{speed['videos']:,} videos"
    lines = ["| what | takes |", "|---|---|"]
    what = f"the packet table of {many} of {speed['packets']} packets (just written: it is in memory)"
    lines.append(f"| `exact`: reading and hashing {what} | {speed['exact_s']:.1f} s; {speed['exact_peak_mb']} MB at most |")
    lines.append(
        f"| `near`: the search among the hashes of {many} (the benchmark's, with bits changed) | {speed['near_s']:.1f} s; "
        f"{speed['near_peak_mb']} MB |"
    )
    rates = ", ".join(f"{rate:.0f} videos/s ({form})" for form, rate in speed["hashed_per_core_s"].items())
    lines.append(f"| `near`: hashing videos of 300 frames of 340x256, one core | {rates} |")
    exact = result["exact"]
    found = f"{exact['found']} of {exact['planted']} found, {exact['false_pairs']} false alarms"
    lines.append(f"| `exact`: {exact['planted']} planted copies, one half renamed, the other in another container | {found} |")
    return "\n".join(lines)


TABLES = {"duplicates": table, "duplicates-kinds": kinds_table, "duplicates-speed": speed_table}
"""Marks of docs/duplicates.md -> what stands between them."""


def main() -> None:
    """Makes the videos, checks them with the command, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="pairs (default 200)")
    parser.add_argument("--videos", type=int, default=240_000, help="of the table that speed is measured with")
    parser.add_argument("--packets", type=int, default=300, help="of each of them (default 300)")
    parser.add_argument("--clips", type=Path, default=HERE.parent.parent / "shared" / "videos", help="folder of real clips")
    parser.add_argument("--data", type=Path, help="folder for the videos, kept (default: one that goes away)")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file")
    args = parser.parse_args()
    with _folder(args.data) as folder:
        names = make_data(folder, args.count, args.clips)
        result: dict[str, Any] = {
            "format": FORMAT,
            "date": time.strftime("%Y-%m-%d"),
            "machine": describe_host("ImageHash", "pillow", "scipy", "opencv-python-headless"),
            "pairs": args.count,
            "real": sum(name.startswith(REAL) for name in names),
            "frames": NUM_FRAMES,
            "first": FIRST,
            **near(folder, names),
            "exact": exact(folder, names),
        }
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # whose memory is of nothing else
            result["speed"] = pool.submit(speed, folder, args.videos, args.packets, result.pop("hashes"), DEFAULT).result()
    write_result(args.out, result)
    print(*(made(result) for made in TABLES.values()), sep="\n\n")


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def make_data(folder: Path, count: int, clips: Path) -> list[str]:
    """Makes the videos, in processes; returns the sources' names, each with its kind."""
    real = sorted(path for path in clips.glob("*") if path.suffix in (".mp4", ".avi", ".mkv", ".webm"))[:count]
    names = [f"{list(KINDS)[i % len(KINDS)]} {i:03d}" for i in range(count - len(real))]
    names += [f"{REAL} {path.name}" for path in real]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_make, repeat(folder), range(count), names, repeat(clips)))
        list(pool.map(_make_flat, repeat(folder), range(FLAT)))
    for name in ("source", "copy", "other", "flat", *(f"harder{i}" for i in range(len(HARDER)))):
        videos = sorted(path.name for path in (folder / name).iterdir() if not path.name.startswith("partial"))
        (folder / f"{name}.txt").write_text("".join(f"{video} 0\n" for video in videos))
        prepare("scan", "--list", folder / f"{name}.txt", "--data-root", folder / name, "--out", folder / f"{name}.npz")
    return names


def _make(folder: Path, number: int, name: str, clips: Path) -> None:
    kind, rest = name.split(" ", 1)
    images = real_images(clips / rest) if kind == REAL else list(KINDS[kind](FIRST + number, 3 * LENGTH))
    first, other = images[:LENGTH], images[-LENGTH:]
    how = list(COPIES.values())[number // len(KINDS) % len(COPIES)]
    todo = {"source": (first, SOURCE), "copy": (first, how), "other": (other, SOURCE)}
    todo |= {f"harder{i}": (first, how) for i, how in enumerate(HARDER.values())}
    for place, (some, encoding) in todo.items():
        path = folder / place / f"{name.replace('.', '_')}.{encoding.ending}"
        if not path.exists():
            write_video(path, some, encoding)


def _make_flat(folder: Path, number: int) -> None:
    path = folder / "flat" / f"flat {number:03d}.mp4"
    if not path.exists():
        write_video(path, list(flat(FIRST + number)), SOURCE)


def _pairs(folder: Path, train: str, val: str, *flags: Any) -> list[tuple[str, str, str]]:
    """Checks two lists; returns (kind, the one's name, the other's name) of each pair, without the names' endings."""
    out = folder / "pairs.csv"
    prepare("check", "--train", folder / f"{train}.npz", "--val", folder / f"{val}.npz", "--csv", out, *flags)
    with out.open(newline="") as file:
        return [(row["kind"], Path(row["path_a"]).stem, Path(row["path_b"]).stem) for row in csv.DictReader(file)]


def near(folder: Path, names: list[str]) -> dict[str, Any]:
    """Finds near copies at the default threshold with the command, and at others with its hashes."""
    stems = sorted(name.replace(".", "_") for name in names)
    counts: dict[str, list[int]] = {kind: [0, 0] for kind in COPIES}
    of_kind = {name.replace(".", "_"): list(COPIES)[i // len(KINDS) % len(COPIES)] for i, name in enumerate(names)}
    found = {a for _, a, b in _pairs(folder, "source", "copy") if a == b}
    for stem in stems:
        counts[of_kind[stem]][0] += stem in found
        counts[of_kind[stem]][1] += 1
    harder = []
    for i, kind in enumerate(HARDER):
        harder.append(_row(kind, {a for _, a, b in _pairs(folder, "source", f"harder{i}") if a == b}, stems))
    again = {a for _, a, b in _pairs(folder, "source", "other") if a == b}
    still = [stem for stem in stems if stem.split()[0] in STATIC]
    others = [
        _row("another time of a scene, the camera stands still", again, still),
        _row("another time of a scene, the camera moves", again, [stem for stem in stems if stem not in still]),
    ]
    hashes, has_hash = _hashes(folder, [("source", stem) for stem in stems] + [("copy", stem) for stem in stems])
    thresholds = [_at_threshold(hashes, has_hash, bits, len(stems)) for bits in range(MOST_THRESHOLD + 1)]
    default = thresholds[DEFAULT]
    assert default["found"] == sum(count for count, _ in counts.values()), "the command and its hashes say the same"
    alarms = [pair for pair in _pairs(folder, "source", "flat") if pair[2].startswith("flat")]
    return {
        "different_pairs": len(stems) * (2 * len(stems) - 2),
        "thresholds": [row for row in thresholds if row["bits"] in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15)],
        "copies": [{"kind": kind, "found": count, "of": of} for kind, (count, of) in counts.items()],
        "harder": harder,
        "others": others,
        "flat": {"videos": FLAT, "alarms": len(alarms)},
        "hashes": hashes,
    }


def _row(kind: str, found: set[str], stems: list[str]) -> dict[str, Any]:
    return {"kind": kind, "found": sum(stem in found for stem in stems), "of": len(stems)}


def _at_threshold(hashes: Any, has_hash: Any, bits: int, count: int) -> dict[str, int]:
    pairs, _ = near_pairs(hashes, has_hash, bits)
    is_copy = pairs[:, 1] - pairs[:, 0] == count
    is_same = pairs[:, 0] % count == pairs[:, 1] % count
    wrong = pairs[~is_same]
    return {
        "bits": bits, "found": int(is_copy.sum()), "false_pairs": len(wrong), "false_videos": len(np.unique(wrong)),
    }  # fmt: skip


def _hashes(folder: Path, videos: list[tuple[str, str]]) -> tuple[Any, Any]:
    """Returns what the command has kept of videos: uint64 [videos, frames], and whether there is a hash."""
    kept = {}
    for line in (folder / "source.npz.hashes").read_text().splitlines()[1:]:
        place, _, _, what, values, *_ = json.loads(line)
        if what == "frames":
            kept[Path(place).parent.name, Path(place).stem] = values
    rows = [kept[video] for video in videos]
    hashes = np.array([[int(value or "0", 16) for value in row] for row in rows], np.uint64)
    return hashes, np.array([[bool(value) for value in row] for row in rows])


def exact(folder: Path, names: list[str]) -> dict[str, Any]:
    """Finds renamed copies, and the same packets in other containers, without decoding."""
    out = folder / "planted"
    out.mkdir(exist_ok=True)
    planted = {}
    for i, path in enumerate(sorted((folder / "copy").iterdir())):
        to = out / (f"renamed {i}{path.suffix}" if i % 2 else f"remuxed {i}{'.mp4' if path.suffix == '.mkv' else '.mkv'}")
        if i % 2:
            shutil.copyfile(path, to)
        else:
            _remux(path, to)
        planted[to.stem] = path.stem
    (folder / "planted.txt").write_text("".join(f"{path.name} 0\n" for path in sorted(out.iterdir())))
    prepare("scan", "--list", folder / "planted.txt", "--data-root", out, "--out", folder / "planted.npz")
    pairs = _pairs(folder, "copy", "planted", "--no-near")
    right = {b for kind, a, b in pairs if kind == "exact" and planted.get(b) == a}
    return {
        "planted": len(planted),
        "found": len(right),
        "renamed": sum(name.startswith("renamed") for name in right),
        "remuxed": sum(name.startswith("remuxed") for name in right),
        "false_pairs": len(pairs) - len(right),
    }


def _remux(source: Path, target: Path) -> None:
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copied = output.add_stream_from_template(stream, opaque=True)
        for packet in container.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                output.mux(packet)


if __name__ == "__main__":
    main()
