import os

import numpy as np

from c2d_fast.formats.manifest_file import ManifestFile, read_manifest_file
from c2d_fast.video.facts import DTYPE


def test_names_of_any_bytes_survive_a_manifest(tmp_path):
    names = ("a b.mp4", "ü\n.mp4", os.fsdecode(b"\xff\xfe.mp4"), " ")
    zeros = np.zeros(4, np.int64)
    facts = np.ones(4, DTYPE)
    columns = {"labels": zeros, "size": zeros, "mtime_ns": zeros, "depth": zeros.astype(np.uint8), "facts": facts}
    made = ManifestFile(list_path="l", list_sha256="0", root="/", videos=names, classes=None, reasons=("",) * 4, **columns)
    made.write(tmp_path / "m.npz")
    read = read_manifest_file(tmp_path / "m.npz")
    assert read.videos == names
    assert read.classes is None
