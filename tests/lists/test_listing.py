import hashlib

import pytest
from listed import write

from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.lists.listing import read_list

CSV = "label,youtube_id,time_start,time_end,split\n"
CLASSES = ("playing squash or racquetball", "tai chi", "massaging person's head")


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


@pytest.mark.parametrize("quoted", ['"my videos/a b.mp4" 1\n', "'my videos/a b.mp4'\t1\r\n", "my videos/a b.mp4 1"])
def test_paths_may_stand_in_quotes(tmp_path, quoted):
    assert read_list(write(tmp_path, quoted), None, 2).videos == ("my videos/a b.mp4",)


def test_quotes_that_are_part_of_a_name_stay(tmp_path):
    listing = read_list(write(tmp_path, 'say "hi".mp4 1\n"quoted" word.mp4 0\n'), None, 2)
    assert listing.videos == ('say "hi".mp4', '"quoted" word.mp4')


@pytest.mark.parametrize(
    "content",
    [
        "-jf7RDu_TrsQ 300 1\nabc 150 0\n",
        "-jf7RDu_TrsQ,300,1\nabc,150,0\n",
        "\ufeff-jf7RDu_TrsQ, 300, 1\r\n\r\nabc , 150,0\r\n",
        '"-jf7RDu_TrsQ","300","1"\n"abc",150,0',
        "-jf7RDu_TrsQ\t300\t1\nabc\t150\t0\n",
    ],
)
@pytest.mark.parametrize("video_name", [None, "{id}.mp4", "val/{label}/{id}.webm"])
def test_ids_become_names(tmp_path, content, video_name):
    listing = read_list(write(tmp_path, content), None, 2, video_name=video_name)
    assert listing.labels == (1, 0)
    name = video_name or "{id}.mp4"
    assert listing.videos == (name.format(id="-jf7RDu_TrsQ", label=1), name.format(id="abc", label=0))


def test_ids_may_contain_spaces_where_the_name_is_given(tmp_path):
    listing = read_list(write(tmp_path, "my clip 7 300 1\n"), None, 2, video_name="{id}.avi")
    assert listing.videos == ("my clip 7.avi",)


@pytest.mark.parametrize("folder", ["", "tai chi/", "tai_chi/"])
def test_kinetics_own_table_finds_the_files_where_users_have_them(tmp_path, folder):
    file = tmp_path / f"{folder}_a-b_000007_000017.mp4"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    text = CSV.upper() + 'tai chi,_a-b,7,17,train\n"massaging person\'s head",xyz,0,10,train\r\n'
    listing = read_list(write(tmp_path, text), None, 3, classes=CLASSES)
    assert listing.file(0) == file
    assert listing.videos[1] == "xyz_000000_000010.mp4"  # nowhere: the first place is named
    assert listing.labels == (1, 2)
    assert listing.lines == (2, 3)
    assert listing.classes == CLASSES
    assert listing.num_classes == 2


def test_a_table_s_names_can_be_made_otherwise(tmp_path):
    text = 'split,youtube_id,label,time_end,time_start,is_cc\nval,"x,y",tai chi,17.0,7,0\n'
    name = "{split}/{label}/{id}-{start}.mkv"
    assert read_list(write(tmp_path, text), None, 3, classes=CLASSES, video_name=name).videos == ("val/tai chi/x,y-7.mkv",)


def test_classes_without_a_map_are_alphabetical_and_must_be_all(tmp_path):
    path = write(tmp_path, CSV + "b,x,0,10,val\na c,y,0,10,val\nb,z,0,10,val\na_c,w,0,10,val\n")
    listing = read_list(path, None, 2)
    assert listing.labels == (1, 0, 1, 0)
    assert listing.classes == ("a c", "b")
    with pytest.raises(
        UserError, match=r"has 2 class names, and the model 400 classes; give --num-classes 2, or .*--label-map"
    ):
        read_list(path, None, 400)


def make_folders(root):
    for name in ("tai_chi/b 2.mp4", "tai_chi/a.MKV", "tai_chi/.hidden.mp4", "tai_chi/notes.txt",
                 "massaging person's head/sub/c.avi", "playing squash or racquetball/d.mp4"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_for_each_class(tmp_path):
    listing = read_list(make_folders(tmp_path / "videos"), None, 3, classes=CLASSES)
    assert listing.videos == (
        "massaging person's head/sub/c.avi", "playing squash or racquetball/d.mp4", "tai_chi/a.MKV", "tai_chi/b 2.mp4"
    )  # fmt: skip
    assert listing.labels == (2, 0, 1, 1)
    assert listing.file(3) == tmp_path / "videos/tai_chi/b 2.mp4"
    assert listing.location(3).endswith("videos: tai_chi/b 2.mp4")
    without = read_list(tmp_path / "videos", None, 3)
    assert without.labels == (0, 1, 2, 2)
    assert without.sha256 == listing.sha256
    (tmp_path / "videos/tai_chi/e.mp4").touch()
    assert read_list(tmp_path / "videos", None, 3).sha256 != listing.sha256
    (tmp_path / "videos/stray.mp4").touch()
    with pytest.raises(UserError, match=r"stray.mp4 lies in no class's folder"):
        read_list(tmp_path / "videos", None, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is a folder without videos"):
        read_list(tmp_path / "empty", None, 3)


@pytest.mark.parametrize(
    ("content", "video_name", "complaint"),
    [
        ("abc 300 1\nabc.mp4 1\n", None, "list.txt:2: 'abc.mp4 1' cannot be read; each line must be `video_id num_frames"),
        ("abc,300,1\nabc,x,1\n", None, "list.txt:2: 'abc,x,1' cannot be read"),
        ("abc,300,1\nabc,300,one\n", None, "list.txt:2: label 'one' is not a whole number"),
        ("abc 300 4\n", None, "list.txt:1: label 4 is out of range"),
        ("abc 300 -1\n", None, "list.txt:1: label -1 is out of range"),
        ("abc 300 1\n", "{video}.mp4", "--video-name {video}.mp4: cannot be filled in (it must contain {id}, and fields only)"),
        ("abc 300 1\n", "{id}{video}.mp4", "cannot be filled in ('video'); it may use {id}, {label} of this list"),
        ("abc 300 1\n", "clip.mp4", "it must contain {id}"),
        ("abc 300 1\n", "", "it must contain {id}"),
        ("abc 300 1\n", "{id}{id.__class__}.mp4", "it must contain {id}"),
        ("abc 300 1\n", "{id:99999999999}.mp4", "it must contain {id}"),
        ("abc,300,1\n,300,1\n", None, "list.txt:2: ',300,1' cannot be read"),
        ("a.mp4 " + "9" * 5000 + "\n", None, "is not a whole number"),
        ("a.mp4, 1\n", None, "list.txt:1: 'a.mp4, 1' has a comma before its label"),
        ("label,label," + CSV, None, "has the column 'label' more than once"),
        ("abc 300 1\n", "{id", "--video-name {id: cannot be filled in"),
        ("a.mp4,1\n", None, "list.txt:1: 'a.mp4,1' has no label"),
        (CSV + "tai chi,x,0,10\n", None, "list.txt:2: has 4 fields, the table's first line 5"),
        (CSV + "tai chi,x,zero,10,val\n", None, "list.txt:2: time_start 'zero' is not a whole number of seconds"),
        (CSV + "tai chi,,0,10,val\n", None, "list.txt:2: youtube_id is empty"),
        (CSV + "\nyoga,x,0,10,val\n", None, "list.txt:3: class 'yoga' is not in the label map of 3 names"),
        (CSV + '"tai chi,x,0,10,val\n', None, "list.txt:"),
        (CSV, None, "has no videos"),
        ("youtube_id,time_start,time_end\nx,0,10\n", None, "list.txt:1: the table has no column 'label'"),
    ],
)
def test_names_the_line_that_breaks_a_rule_in_any_shape(tmp_path, content, video_name, complaint):
    with pytest.raises(UserError, match=r"list\.txt|--video-name") as error:
        read_list(write(tmp_path, content), None, 3, classes=CLASSES, video_name=video_name)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_summary_and_facts_name_counts_and_hash(tmp_path):
    listing = read_list(write(tmp_path, "a.mp4 1\nb.mp4 1\nc.mp4 0\n"), None, 4)
    assert f"3 videos of 2 classes, sha256 {listing.sha256}" in listing.summary()
    assert listing.facts() == {
        "path": str(tmp_path / "list.txt"), "root": str(tmp_path), "videos": 3, "classes": 2, "sha256": listing.sha256
    }  # fmt: skip


def test_any_line_ends(tmp_path):
    assert read_list(write(tmp_path, b"x.mp4 1\ry.mp4 0\r"), None, 2).videos == ("x.mp4", "y.mp4")
    assert read_label_map(write(tmp_path, b"a\rb\rc")) == ("a", "b", "c")


def test_names_that_are_numbers_are_the_labels(tmp_path):
    for label in range(11):
        (tmp_path / str(label)).mkdir()
        (tmp_path / str(label) / "x.mp4").touch()
    listing = read_list(tmp_path, None, 11)
    assert all(listing.labels[i] == int(video.split("/")[0]) for i, video in enumerate(listing.videos))
    assert read_list(write(tmp_path, CSV + "10,x,0,10,val\n2,y,0,10,val\n"), None, 11).labels == (10, 2)
    with pytest.raises(UserError, match="label 10 is out of range"):
        read_list(tmp_path, None, 10)


def test_folders_of_splits_are_no_classes(tmp_path):
    for name in ("train/a/x.mp4", "val/a/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="its folders are splits, not classes"):
        read_list(tmp_path, None, 2)


def test_linked_folders_are_read_and_loops_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").touch()
    folder = tmp_path / "videos" / "a"
    folder.mkdir(parents=True)
    (folder / "a.mp4").touch()
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    assert read_list(tmp_path / "videos", None, 1).videos == ("a/a.mp4", "a/more/b.mp4")


def test_a_video_that_stands_there_twice_is_remarked_on(tmp_path, capsys):
    read_list(write(tmp_path, "a.mp4 0\nb.mp4 1\n./a.mp4 0\nb.mp4 0\n"), None, 2)
    out = capsys.readouterr().out
    assert "2 of the 4 lines" in out
    assert f"1 of them give it another label, first {tmp_path / 'list.txt'}:4: b.mp4" in out


def test_the_template_is_for_lists_of_ids_only(tmp_path):
    listing = read_list(write(tmp_path, "a b.mp4 0\nb.mp4 1\n"), None, 2, video_name="{id}_x.mp4")
    assert listing.videos == ("a b.mp4", "b.mp4")


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
def test_names_that_no_file_system_takes(tmp_path, name):
    with pytest.raises(UserError, match="cannot be read"):
        read_list(name, None, 2)
    with pytest.raises(UserError, match="is not a folder"):
        read_list(write(tmp_path, "a.mp4 0\n"), name, 2)
    listing = read_list(write(tmp_path, CSV + f"{'y' * 300},x,0,10,val\n"), None, 1)
    assert listing.videos == ("x_000000_000010.mp4",)


@pytest.mark.parametrize("suffix", ["mkv", "webm", "avi", "MOV"])
@pytest.mark.parametrize("folder", ["", "tai_chi/"])
def test_a_table_s_files_may_be_of_any_container(tmp_path, suffix, folder):
    file = tmp_path / f"{folder}_a.b_000007_000017.{suffix}"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    file.with_suffix(".txt").touch()
    file.with_suffix(f".{suffix}.part").touch()
    path = write(tmp_path, CSV + "tai chi,_a.b,7,17,train\ntai chi,_a.b,8,18,train\n")
    listing = read_list(path, None, 3, classes=CLASSES)
    assert listing.file(0) == file
    assert listing.videos[1] == "_a.b_000008_000018.mp4"
    named = read_list(path, None, 3, classes=CLASSES, video_name=folder + "{id}_{start:06d}_{end:06d}.mp4")
    assert named.file(0) == file.with_suffix(".mp4")  # what the user names is what is meant
    file.with_suffix(".mp4").touch()
    assert read_list(path, None, 3, classes=CLASSES).file(0) == file.with_suffix(".mp4")


def test_ids_may_be_of_any_container(tmp_path):
    (tmp_path / "abc.webm").touch()
    assert read_list(write(tmp_path, "abc 300 1\nxyz 300 1\n"), None, 2).videos == ("abc.webm", "xyz.mp4")
    assert read_list(write(tmp_path, "abc 300 1\n"), None, 2, video_name="{id}.mp4").videos == ("abc.mp4",)
