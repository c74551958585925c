"""Manifests and packet tables whose arrays are not what they must be are refused before anything of them is read."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from media import make_dataset
from numpy.lib import format as npy

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_table import open_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, run_command):
    folder = tmp_path_factory.mktemp("scanned")
    data = make_dataset(folder, count=2, num_frames=(12,))
    done = run_command("prepare", "scan", "--list", data, "--out", folder / "list.npz")
    assert done.returncode == 0, done.stderr
    return folder / "list.npz"


def rewritten(source, target, **changes):
    """Copies an archive with other members: name -> bytes, what makes them, or None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", old.infolist()[0].compress_type) as new:
        for name in {*old.namelist(), *(f"{name}.npy" for name in changes)}:
            content = changes.get(name.removesuffix(".npy"), old.read(name) if name in old.namelist() else None)
            if content is not None:
                new.writestr(name, content() if callable(content) else content)
    return target


def array(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def header(descr, shape, data=b""):
    file = io.BytesIO()
    npy.write_array_header_2_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


TABLE = {
    "objects": {"packets": header("|O", (8,), b"\x41" * 64)},
    "objects in extradata": {"extradata": header("|O", (8,), b"\x41" * 64)},
    "other fields": {"packets": array(np.zeros(24, [("position", "<i8")]))},
    "more than there is": {"packets": header([("position", "<i8")], (2**40,))},
    "two dimensions": {"starts": array(np.zeros((3, 1), np.int64))},
    "places that go back": {"starts": array(np.array([0, 30, 24]))},
    "places from elsewhere": {"starts": array(np.array([5, 12, 24]))},
    "places past the end": {"extradata_starts": array(np.array([0, 3, 10**9]))},
    "an unknown one": {"more": array(np.zeros(1))},
    "none": {"starts": None},
    "no text": {"identity": array(np.zeros(3))},
}
MANIFEST = {
    "objects": {"labels": header("|O", (2,), b"\x41" * 16)},
    "an unknown one": {"more": array(np.zeros(1))},
    "none": {"labels": None},
    "other numbers": {"labels": array(np.zeros(2))},
    "too many rows": {"size": header("<i8", (2**40,))},
    "a bomb": {"videos": lambda: header("|u1", (2**30,), bytes(2**30))},  # not made for who only collects the tests
    "a long text": {"list_sha256": array(np.array("0" * 100_000))},
}


@pytest.mark.parametrize("name", TABLE)
def test_tables(scanned, tmp_path, name):
    identity = read_manifest_file(scanned).identity()
    open_table(table_path(scanned), identity)
    path = rewritten(table_path(scanned), tmp_path / "list.packets.npz", **TABLE[name])
    with pytest.raises(UserError, match=r"list.packets.npz: .*; make it again with python -m c2d_fast.prepare scan") as error:
        open_table(path, identity)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", MANIFEST)
def test_manifests(scanned, tmp_path, name):
    path = rewritten(scanned, tmp_path / "list.npz", **MANIFEST[name])
    assert path.stat().st_size < 2**21
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from c2d_fast.formats.manifest_file import *\n"
        f"from pathlib import Path\ntry: read_manifest_file(Path({str(path)!r}))\nexcept UserError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert "make it again with python -m c2d_fast.prepare scan" in done.stdout
    assert done.stdout.count("\n") == 1


def test_frames_that_no_video_has_are_not_believed(scanned, tmp_path):
    with np.load(scanned) as archive:
        facts = archive["facts"]
    facts["frames"] = 2**31 - 1
    with pytest.raises(UserError, match="columns do not fit each other"):
        read_manifest_file(rewritten(scanned, tmp_path / "list.npz", facts=array(facts)))


BOUNDS = {
    "entries": -1,
    "key_frames": 10**6,
    "packets": 0,
    "width": -16,
    "height": 2**30,
    "orientation": 8,
    "fps": np.nan,
    "codec": b"\xff\xfe",
    "depth": 3,
    "labels": -1,
    "size": -2,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_values_out_of_bounds_are_refused(scanned, tmp_path, name):
    with np.load(scanned) as archive:
        columns = {column: archive[column] for column in ("facts", "depth", "labels", "size")}
    column = name if name in columns else "facts"
    (columns["facts"][name] if column == "facts" else columns[name])[1] = BOUNDS[name]
    with pytest.raises(UserError, match="columns do not fit each other"):
        read_manifest_file(rewritten(scanned, tmp_path / "list.npz", **{column: array(columns[column])}))


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_are_compressed_otherwise_are_refused(scanned, tmp_path, how):
    identity = read_manifest_file(scanned).identity()
    for path, read in ((table_path(scanned), lambda p: open_table(p, identity)), (scanned, read_manifest_file)):
        target = tmp_path / path.name
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", how) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        if path == scanned and how == zipfile.ZIP_DEFLATED:
            assert read(target).identity() == identity
            continue
        with pytest.raises(UserError, match="is compressed"):
            read(target)


def test_a_message_is_of_one_line_whatever_names_are_in_the_archive(scanned, tmp_path):
    target = rewritten(scanned, tmp_path / "list.npz", **{"a\nb": array(np.zeros(1))})
    with pytest.raises(UserError, match=r"it holds a b\.npy") as error:
        read_manifest_file(target)
    assert "\n" not in str(error.value)
