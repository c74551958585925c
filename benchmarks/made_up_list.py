"""A manifest of very many videos that do not exist, and its packet table: made in seconds, for benchmarks and tests."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats import packet_table
from c2d_fast.formats.manifest_file import FORMAT, ManifestFile, table_path
from c2d_fast.formats.manifest_part import Part, part_path
from c2d_fast.formats.texts import chosen
from c2d_fast.video.facts import DTYPE, Facts, to_table
from c2d_fast.video.packets import DTYPE as PACKETS

CLASSES = 400
_BROKEN = 100  # one video in so many
_REASONS = ("does not decode (Invalid data found when processing input)", "is cut off: 4096 bytes are missing", "no such file")
_WITH_PACKETS = 1000
_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
_PATH = b"class_0000/abcdefghijk_000012_000022.mp4"


def made_up(count: int, root: Path, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a manifest such as a scan of a large collection writes, by their names in the archive.

    Args:
        count: of videos; one in 100 is broken.
        root: the data root that it names.
        seed: of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    paths = np.tile(np.frombuffer(_PATH + b"\0", np.uint8), (count, 1))
    for place in range(4):
        paths[:, 6 + place] = ord("0") + labels // 10 ** (3 - place) % 10
    paths[:, 11:22] = _LETTERS[rng.integers(0, len(_LETTERS), (count, 11), np.uint8)]
    like = Facts(
        frames=300, packets=300, promised_frames=300, width=340, height=256, coded_width=352, coded_height=256, fps=29.97,
        constant_rate=True, codec="h264", container="mov", pix_fmt="yuv420p", full_range=False, matrix=2, primaries=2,
        transfer=2, rotation=0, orientation=0, interlaced=False, audio=True, key_frames=2, longest_gop=250, reordered=True,
        disposable=130, closed_gops=True, in_order=True, entries=2, pixel_aspect=1.0, video_streams=1,
    )  # fmt: skip
    facts = np.repeat(to_table([like]), count)
    facts["frames"] = facts["packets"] = facts["promised_frames"] = rng.integers(60, 330, count)
    facts["key_frames"] = facts["entries"] = rng.integers(1, 6, count)
    facts["width"] = facts["coded_width"] = rng.choice([340, 454, 256, 144, 1920], count, p=[0.5, 0.3, 0.1, 0.05, 0.05])
    facts["fps"] = rng.choice([25.0, 30000 / 1001, 30.0, 24.0], count)
    is_broken = rng.random(count) < 1 / _BROKEN
    facts[is_broken] = np.zeros((), DTYPE)
    texts = np.array(["", *_REASONS])[np.where(is_broken, rng.integers(1, len(_REASONS) + 1, count), 0)]
    reasons = "\0".join(texts.tolist()) + "\0"
    return {
        "format": np.array(FORMAT),
        "list_path": _packed(b"/data/large/train.txt"),
        "list_sha256": np.array("0" * 64),
        "root": _packed(os.fsencode(root)),
        "videos": paths.reshape(-1),
        "classes": np.frombuffer(b"".join(b"class %04d\0" % label for label in range(CLASSES)), np.uint8),
        "reasons": np.frombuffer(reasons.encode(), np.uint8),
        "labels": labels,
        "size": np.where(is_broken, -1, rng.integers(2 * 10**5, 2 * 10**6, count)),
        "mtime_ns": rng.integers(15 * 10**17, 16 * 10**17, count),
        "depth": np.full(count, 2, np.uint8),
        "facts": facts,
    }


def _packed(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text + b"\0", np.uint8)


def make_table(manifest: ManifestFile, path: Path) -> None:
    """Writes a packet table as write_table does, with packets of the first videos only."""
    count = len(manifest.labels)
    counts = np.where(np.arange(count) < _WITH_PACKETS, manifest.facts["packets"], 0).astype(np.int64)
    rows = [_packets(int(number)) for number in counts[:_WITH_PACKETS]]
    checksums = np.full(count, packet_table.checksum(b"", b""), np.uint32)
    checksums[: len(rows)] = [packet_table.checksum(part.tobytes(), b"") for part in rows]
    arrays = {
        "packets": np.concatenate([np.zeros(0, PACKETS), *rows]),
        "format": np.array(packet_table.FORMAT),
        "identity": np.array(manifest.identity()),
        "starts": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "extradata_starts": np.zeros(count + 1, np.int64),
        "extradata": np.zeros(0, np.uint8),
        "checksums": checksums,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def make_parts(manifest: ManifestFile, target: Path, count: int) -> None:
    """Writes a manifest in parts, each with its packet table, as scans with --part leave them beside target."""
    for number in range(1, count + 1):
        rows = np.arange(number - 1, len(manifest.labels), count)
        settings = {"command": "scan", "depth": "full", "packets": "True"}
        columns = {name: getattr(manifest, name)[rows] for name in ("labels", "size", "mtime_ns", "depth", "facts")}
        texts = {name: chosen(getattr(manifest, name), rows) for name in ("videos", "reasons")}
        part = replace(manifest, part=Part(number, count, len(manifest.labels), settings, rows), **columns, **texts)
        part.write(part_path(target, number, count))
        make_table(part, table_path(part_path(target, number, count)))


def _packets(count: int) -> NDArray[Any]:
    rows = np.zeros(count, PACKETS)
    rows["position"], rows["size"], rows["shown"] = 4000 * np.arange(count), 4000, np.arange(count)
    rows["entry"][:1] = rows["key"][:1] = True
    return rows
