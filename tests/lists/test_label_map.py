"""Label maps, of either form, right and wrong."""

import pytest
from listed import write

from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import read_label_map


@pytest.mark.parametrize(
    "content",
    [
        "playing guitar\ntai chi\nlevel 3\n",
        "\ufeffplaying guitar 0\r\n\r\n'level 3' 2\r\ntai chi\t1\r\n",
        '"playing guitar"\n"tai chi"\n"level 3"',
        "level 3 2\nplaying guitar 0\ntai chi 1",
    ],
)
def test_label_maps_of_either_form(tmp_path, content):
    assert read_label_map(write(tmp_path, content)) == ("playing guitar", "tai chi", "level 3")


def test_names_that_differ_by_a_number_only_are_names(tmp_path):
    assert read_label_map(write(tmp_path, "abseiling\n1 on 1\n")) == ("abseiling", "1 on 1")
    assert read_label_map(write(tmp_path, "level 1\nlevel 2\n")) == ("level 1", "level 2")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("\n", "is empty"),
        ("tai chi\nyoga\ntai_chi\n", "list.txt:3: class 'tai_chi' stands in line 1 already"),
        ("tai chi 0\nyoga 0\n", "list.txt:2: index 0 is that of 'tai chi' already"),
        ("tai chi 0\nyoga 2\n", "has 2 classes but no index 1"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        ("id,name\n0,tai chi\n1,yoga\n", "has lines with the index in front, such as '0,tai chi'"),
        ("0 tai chi\n1 yoga\n", "has lines with the index in front"),
        ("tai chi,0\nyoga,1\n", "has lines with commas, such as 'tai chi,0'"),
        ('{"tai chi": 0,\n"yoga": 1}\n', 'list.txt:1: {"tai chi": 0, is no class name'),
        ("# classes\ntai chi\n", "list.txt:1: # classes is no class name"),
        ('tai chi\n""\n', "list.txt:2: '' is no class name"),
        ("tai chi\n\x1b[2Jyoga\n", "is no class name"),
    ],
)
def test_label_maps_that_break_a_rule(tmp_path, content, complaint):
    with pytest.raises(UserError, match=r"list\.txt") as error:
        read_label_map(write(tmp_path, content))
    assert complaint in str(error.value)
