import hashlib

import pytest

from c2d_fast.errors import UserError
from c2d_fast.listing import read_list


def write(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_paths_with_spaces_in_order(tmp_path):
    content = "a b/c d.mp4 3\n\n  lead.mp4\t0  \n"
    listing = read_list(write(tmp_path, content), None, 4)
    assert listing.videos == ("a b/c d.mp4", "lead.mp4")
    assert listing.labels == (3, 0)
    assert listing.lines == (1, 3)
    assert listing.file(0) == tmp_path / "a b/c d.mp4"
    assert listing.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_reads_what_windows_writes(tmp_path):
    assert read_list(write(tmp_path, b"\xef\xbb\xbfx.mp4 1\r\ny.mp4 0\r\n"), None, 2).videos == ("x.mp4", "y.mp4")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("ok.mp4 0\nno_label.mp4\n", "list.txt:2: 'no_label.mp4' has no label"),
        ("ok.mp4 0\n\nbad.mp4 one\n", "list.txt:3: label 'one' is not a whole number"),
        ("ok.mp4 4\n", "list.txt:1: label 4 is out of range; labels go from 0 to 3"),
        ("ok.mp4 -1\n", "list.txt:1: label -1 is out of range"),
        ("ok.mp4 1_0\n", "is not a whole number"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_names_the_line_that_breaks_a_rule(tmp_path, content, complaint):
    with pytest.raises(UserError, match=r"list\.txt") as error:
        read_list(write(tmp_path, content), None, 4)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_list_and_missing_root(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_list(tmp_path / "none.txt", None, 4)
    with pytest.raises(UserError, match="is not a folder"):
        read_list(write(tmp_path, "a.mp4 0\n"), tmp_path / "none", 4)
