"""Several labels a video, and soft ones: as lists and tables give them, and as arrays hold them."""

import csv
import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listed import write

from c2d_fast.commands.label_kinds import label_to_ignore, of_kind
from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import LabelSets, chosen, joined
from c2d_fast.lists.listing import read_list
from c2d_fast.recipe import Labels

NUM_CLASSES = 7
WEIGHTS = st.one_of(st.just(1.0), st.floats(2**-20, 1.0, width=32))
ONE_SET = st.dictionaries(st.integers(0, NUM_CLASSES - 1), WEIGHTS, max_size=4)
SETS = st.lists(ONE_SET, min_size=1, max_size=12)
SEVERAL = SETS.filter(lambda sets: any(len(one) > 1 or (one and set(one.values()) != {1}) for one in sets))


def expected(sets, rows=None):
    """Targets by the definition, cell by cell."""
    some = sets if rows is None else [sets[row] for row in rows]
    targets = np.zeros((len(some), NUM_CLASSES), np.float32)
    for row, one in enumerate(some):
        for label, weight in one.items():
            targets[row, label] = weight
    return targets


def made(sets):
    return LabelSets.from_pairs(one.items() for one in sets)


def targets_of(listing):
    return listing.label_sets.targets(np.arange(len(listing)), NUM_CLASSES)


def read(content, num_classes=None, **kwargs):
    with tempfile.TemporaryDirectory() as folder:
        return read_list(write(Path(folder), content), None, num_classes, **kwargs)


def heaviest(one):
    return max(one, key=lambda label: one[label], default=-1)  # of like ones the first


@given(SETS, st.data())
def test_sets_are_what_they_were_made_of(sets, data):
    held = made(sets)
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=20))
    assert [held.of(i) for i in range(len(sets))] == [list(one.items()) for one in sets]
    assert np.array_equal(held.targets(np.array(rows, np.int64), NUM_CLASSES), expected(sets, rows))
    assert held.take(np.array(rows, np.int64)) == made([sets[row] for row in rows])
    assert held.heaviest().tolist() == [heaviest(one) for one in sets]
    assert held.lengths.tolist() == [len(one) for one in sets]
    assert np.allclose(held.sums, [sum(one.values()) for one in sets], atol=1e-6)
    assert held.odd.tolist() == [len(one) > 1 or any(weight != 1 for weight in one.values()) for one in sets]
    assert held.largest == max((label for one in sets for label in one), default=-1)
    assert held.is_sensible(NUM_CLASSES)
    cut = data.draw(st.integers(0, len(sets)))
    assert joined([made(sets[:cut]), made(sets[cut:])]) == held
    known = np.arange(NUM_CLASSES)
    numbers = np.array(data.draw(st.permutations(range(-2, NUM_CLASSES - 2))))
    moved = [{int(numbers[label]): weight for label, weight in one.items() if numbers[label] >= 0} for one in sets]
    assert held.renumbered(known, np.maximum(numbers, -1)) == made(moved)


def test_sets_that_no_list_makes_are_refused():
    for pairs, problem in (([(3, 1), (3, 0.5)], "twice"), ([(-1, 1)], "from 0 up"), ([(1, 1.5)], "0 to 1")):
        with pytest.raises(ValueError, match=problem):
            LabelSets.from_pairs([pairs])
    with pytest.raises(ValueError, match="label 3 is none of 3 classes"):
        made([{3: 1.0}]).targets(np.array([0]), 3)
    sound = made([{1: 1.0, 2: 0.5}, {}, {1: 1.0}])
    assert sound.is_sensible(3)
    assert sound != made([{1: 1.0, 2: 0.5}, {1: 1.0}, {}])
    assert not sound.is_sensible(2)
    for name, values in {
        "ends": ([2, 1, 3], [2, 2, 2], [2, 2, 4]),
        "classes": ([1, 1, 1], [1, -2, 1]),
        "weights": ([1, 0.5], [1, 0, 1], [1, np.nan, 1], [1, 2, 1]),
    }.items():
        for value in values:
            columns = {field: getattr(sound, field) for field in ("ends", "classes", "weights")}
            assert not LabelSets(**(columns | {name: np.array(value, columns[name].dtype)})).is_sensible(3), (name, value)


def test_sets_of_one_label_each():
    sets = LabelSets.from_labels(np.array([4, -1, 0], np.int16))
    assert sets == made([{4: 1.0}, {}, {0: 1.0}])
    assert [sets.text(i) for i in range(3)] == ["4", "-1", "0"]
    assert chosen(None, np.array([0])) is None


@given(SEVERAL)
def test_a_list_of_paths_is_read_back(sets):
    held = made(sets)
    listing = read("".join(f"some dir/{i}.mp4 {held.text(i)}\n" for i in range(len(sets))), NUM_CLASSES)
    assert listing.label_sets == held  # to the bit
    assert listing.labels == tuple(map(heaviest, sets))
    assert listing.videos == tuple(f"some dir/{i}.mp4" for i in range(len(sets)))
    assert listing.num_classes == len({label for one in sets for label in one})
    assert [listing.label_text(i) for i in range(len(sets))] == [held.text(i) for i in range(len(sets))]


@given(SETS, st.sampled_from(["cells", "columns", "classes", "numbers"]))
def test_tables_are_read_back(sets, form):
    """Each form of table says the same, and so do names in place of numbers."""
    names = ["z", "a b", "c:d", "e,f", 'g"h', "i;j" if form != "cells" else "ij", "9 lives"]
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    words = [[f"{label}:{weight!r}" if weight != 1 else str(label) for label, weight in one.items()] for one in sets]
    if form == "cells":
        named = [[word.replace(word.partition(":")[0], names[int(word.partition(":")[0])], 1) for word in one] for one in words]
        table.writerows([("path", "split", "labels"), *((f"{i}.mp4", "x", "; ".join(one)) for i, one in enumerate(named))])
    elif form == "columns":
        columns = ["label", "label_2", "Label3", "labels_4"]
        rows = [[f"{i}.mp4", *one, *[""] * (4 - len(one))] for i, one in enumerate(words)]
        table.writerows([["video", "note", *columns], *([row[0], "n", *row[1:]] for row in rows)])
    else:
        header = names if form == "classes" else list(map(str, range(NUM_CLASSES)))
        table.writerow(["path", *header])
        for i, one in enumerate(sets):
            cells = [
                repr(one.get(label, "")).strip("'") if label % 2 else repr(one.get(label, 0)) for label in range(NUM_CLASSES)
            ]
            table.writerow([f"{i}.mp4", *cells])
    listing = read(file.getvalue(), NUM_CLASSES, classes=tuple(names) if form == "cells" else None)
    assert listing.videos == tuple(f"{i}.mp4" for i in range(len(sets)))
    assert listing.lines == tuple(range(2, len(sets) + 2))
    assert listing.classes == (tuple(names) if form in ("cells", "classes") else None)
    if listing.label_sets is None:
        assert form == "cells"
        assert listing.labels == tuple(map(heaviest, sets))
        assert all(list(one.values()) == [1] for one in sets)
    else:
        assert np.array_equal(targets_of(listing), expected(sets))


def test_some_lines_with_several_make_a_list_of_several(tmp_path):
    listing = read("a b.mp4 3\nc.mp4 5,0\nd.mp4 -1\n", 6)
    assert listing.labels == (3, 5, -1)
    assert [listing.label_sets.of(i) for i in range(3)] == [[(3, 1.0)], [(5, 1.0), (0, 1.0)], []]
    assert "3 videos of 3 classes" in listing.summary()
    assert read("a.mp4 3\nb.mp4 5\n").label_sets is None
    soft = read("a.mp4 3:0.25,5:0.75\nb.mp4 4:1,2:0\n")
    assert (soft.labels, soft.label_sets.of(1)) == ((5, 4), [(4, 1.0)])


def test_a_table_of_one_label_each_is_a_list_of_single_labels():
    listing = read("path,label\na.mp4,playing guitar\nb.mp4,dog\n", 2)
    assert (listing.labels, listing.label_sets, listing.classes) == ((1, 0), None, ("dog", "playing guitar"))
    assert read("path,label\na.mp4,3\nb.mp4,0\n", 4).labels == (3, 0)
    assert read("path,label\na.mp4,3 1\nb.mp4,0\n", 4).label_sets.of(0) == [(3, 1.0), (1, 1.0)]
    by_map = read("path,label\na.mp4,dog\nb.mp4,3\n", 4, classes=("a", "b", "dog", "d"))
    assert by_map.labels == (2, 3)


def test_columns_have_their_order_until_a_label_map_says_another():
    table = "path,walk,run,jump\na.mp4,1,0,0.5\nb.mp4,0,,1\n"
    listing = read(table, 3)
    assert (listing.classes, listing.labels) == (("walk", "run", "jump"), (0, 2))
    mapped = read(table, 4, classes=("jump", "sit", "run", "walk"))
    assert (mapped.classes, mapped.labels) == (("jump", "sit", "run", "walk"), (3, 0))
    assert mapped.label_sets.of(0) == [(3, 1.0), (0, 0.5)]
    with pytest.raises(UserError, match="has 3 class names, and the model 5 classes; give --num-classes 3"):
        read(table, 5)
    with pytest.raises(UserError, match=r"list.txt:2: class 'walk' is not in the label map of 2 names"):
        read(table, 2, classes=("run", "jump"))


@pytest.mark.parametrize("first", ["video,300,17", "abc,300,17", "abc 300 17"])
def test_ids_stay_ids(first):
    assert read(f"{first}\n", 20).videos == (first.replace(",", " ").split()[0] + ".mp4",)


def test_a_table_of_classes_zero_and_one_is_no_list_of_ids():
    assert read("path,0,1\na.mp4,0,1\n").label_sets.of(0) == [(1, 1.0)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a.mp4 1\nb.mp4 1,4\n", "list.txt:2: label 4 is out of range; labels go from 0 to 3"),
        ("a.mp4 1,-2\n", "list.txt:1: label -2 is out of range"),
        ("a.mp4 1,x\n", "list.txt:1: label 'x' is not a whole number"),
        ("a.mp4 1,,2\n", "list.txt:1: label '' is not a whole number"),
        ("a.mp4 1,2,1\n", "list.txt:1: label 1 is there twice; name each once"),
        ("a.mp4 1:1.5\n", "list.txt:1: weight of label 1 1.5 is out of range; it must be 0 to 1"),
        ("a.mp4 1:-0.5\n", "list.txt:1: weight of label 1 -0.5 is out of range"),
        ("a.mp4 1:nan\n", "list.txt:1: weight of label 1 'nan' is not a number"),
        ("a.mp4 1:\n", "list.txt:1: weight of label 1 '' is not a number"),
        ("path,label\na.mp4,1;4\n", "list.txt:2: label 4 is out of range"),
        ("path,label,label2\na.mp4,1,1\n", "list.txt:2: label 1 is there twice"),
        ("path,label\na.mp4,3 3:0.5\n", "list.txt:2: label 3 is there twice"),
        ("path,label\na.mp4,dog:2\n", "list.txt:2: weight of label dog 2 is out of range"),
        ("path,label\na.mp4,3:much\n", "list.txt:2: weight of label 3 'much' is not a number"),
        ("path,label\na.mp4,_\n", "list.txt:2: label '_' can be no class"),
        ("path,label\na.mp4,3\nb.mp4,dog\n", "list.txt:2: label 3 is a number, and 'dog' a class's name"),
        ("path,label\na.mp4\n", "list.txt:2: has 1 fields, the table's first line 2"),
        ("path,label\n,1\n", "list.txt:2: its path is empty"),
        ("path,label,label\na.mp4,1,2\n", "list.txt:1: the table has the column 'label' more than once"),
        ("path,a_b,a b\na.mp4,1,0\n", "list.txt:1: the table has the column 'a b' more than once"),
        ("path,a,\na.mp4,1,0\n", "list.txt:1: the table's column '' can be no class"),
        ("path,a,b,c,d\na.mp4,1,yes,0,0\n", "list.txt:2: what column b holds, 'yes' is not a number; it must be 0 to 1"),
        ("path,a,b,c,d\na.mp4,1,2,0,0\n", "list.txt:2: what column b holds, 2 is out of range"),
        ('path,a\n"a.mp4,1\n', "cannot be read as comma-separated values"),
        ("path,label\n", "has no videos"),
    ],
)
def test_lines_that_break_a_rule_are_named(content, problem):
    with pytest.raises(UserError) as error:
        read(content, 4)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_to_ignore_says_that_there_is_none():
    listing = read("a.mp4 3\nb.mp4 255\nc.mp4 -1\n", 4, ignore=255)
    assert (listing.labels, listing.label_sets, listing.num_classes) == ((3, -1, -1), None, 1)
    with pytest.raises(UserError, match=r"list.txt:2: label 255 is out of range"):
        read("a.mp4 3\nb.mp4 255\n", 4, ignore=254)
    with pytest.raises(UserError, match=r"list.txt:1: label -1 is out of range"):
        read("a.mp4 -1\n", 4)
    several = read("a.mp4 3,255\nb.mp4 255\nc.mp4 1:0.5,2:0.75\n", 4, ignore=255)
    assert several.labels == (3, -1, 2)
    assert [several.label_sets.of(i) for i in range(2)] == [[(3, 1.0)], []]
    within = read("a.mp4 3\nb.mp4 0\n", 4, ignore=0)
    assert (within.labels, within.num_classes) == ((3, -1), 1)
    assert read("path,label\na.mp4,dog\nb.mp4,-1\n", 1, ignore=-1).labels == (0, -1)


def test_repeated_videos_with_other_labels_are_noted(capsys):
    read("a.mp4 1,2\na.mp4 2,1\nb.mp4 3\na.mp4 1\n")
    assert "1 of them give it another label, first" in (said := capsys.readouterr().out)
    assert "2 of the 4 lines" in said
    assert said.count(": a.mp4") == 1


KINDS = {kind: Labels(kind=kind) for kind in ("single", "several", "soft")}


def test_the_recipes_kind_decides_whether_there_are_sets():
    plain, several = read("a.mp4 1\nb.mp4 0\n"), read("a.mp4 1,2\nb.mp4 0\n")
    one_hot = read("path,x,y\na.mp4,1,0\nb.mp4,0,1\n")
    shares = read("a.mp4 1:0.25,0:0.75\nb.mp4 0\n")
    assert of_kind(plain, KINDS["single"]) is plain
    assert of_kind(one_hot, KINDS["single"]).label_sets is None
    for kind in ("several", "soft"):
        assert targets_of(of_kind(plain, KINDS[kind])).argmax(1).tolist() == [1, 0]
        assert of_kind(one_hot, KINDS[kind]) is one_hot
        assert of_kind(shares, KINDS[kind]) is shares
    assert of_kind(several, KINDS["several"]) is several
    for listing, kind, problem in (
        (several, "single", "list.txt:1: a.mp4: has the labels 1,2, and the recipe's labels are of kind single"),
        (shares, "single", "list.txt:1: a.mp4: has the labels 1:0.25,0:0.75, and"),
        (several, "soft", "list.txt:1: a.mp4: the weights of its labels sum to 2; labels of kind soft are shares"),
        (read("a.mp4 1:0.5\nb.mp4 0:0.9985\n"), "soft", "sum to 0.5 (2 of the list's 2 videos)"),
    ):
        with pytest.raises(UserError) as error:
            of_kind(listing, KINDS[kind])
        assert problem in str(error.value)
        assert "--set labels.kind=several" in str(error.value)
        assert "\n" not in str(error.value)
    assert of_kind(read("a.mp4 1:0.5,0:0.4992\n"), KINDS["soft"])


@pytest.mark.parametrize("kind", ["single", "soft"])
def test_videos_without_a_label_need_the_recipe_to_say_so(kind):
    listing = read("path,label\na.mp4,1\nb.mp4,\n")
    with pytest.raises(UserError, match=r"list.txt:3: b.mp4: has no label, .* --set labels.ignore=-1"):
        of_kind(listing, KINDS[kind])
    assert of_kind(listing, Labels(kind=kind, ignore=-1)).labels == (1, -1)
    assert of_kind(listing, KINDS["several"]).labels == (1, -1)
    assert label_to_ignore(KINDS[kind]) is None
    assert label_to_ignore(KINDS["several"]) == -1
    assert label_to_ignore(Labels(kind="several", ignore=9)) == 9


def test_the_page_s_examples_say_the_same_of_the_same_videos():
    page = (Path(__file__).parents[2] / "docs/lists.md").read_text()
    by_path, by_name, by_column = re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    numbers = read(by_path, 4)
    assert [numbers.label_text(i) for i in range(4)] == ["0,2", "1:0.7,3:0.3", "2", "-1"]
    columns = read(by_column, 3)
    assert columns.classes == ("walking", "running", "playing guitar")
    names = read(by_name, 3, classes=columns.classes)
    assert numbers.videos == names.videos == columns.videos
    assert np.array_equal(*(one.label_sets.targets(np.arange(4), 3) for one in (names, columns)))
    assert names.labels == columns.labels == (0, 1, 2, -1)
