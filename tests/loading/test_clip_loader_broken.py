"""Broken, missing and changed videos in a ClipLoader: as in the trainer."""

import os

import pytest
from choices import kill_once
from clip_loaders import SMALL, digests, paths_of
from media import make_dataset

from c2d_fast import ClipLoader, Dense, Frames
from c2d_fast.errors import UserError


@pytest.fixture
def listed(tmp_path):
    return make_dataset(tmp_path, count=8, num_frames=(20,))


def open_loader(listed, **kwargs):
    return ClipLoader(listed, **{"clip": Dense(4, 3), "batch_size": 2, "max_bad_videos": "2"} | SMALL | kwargs)


def test_a_missing_file_is_named_or_left_out(listed, capsys):
    victim = paths_of(listed)[0][3]
    os.unlink(victim)
    with pytest.raises(UserError, match=r"list.txt:4: some videos/clip 3.mp4: no such file .* allow_missing") as caught:
        open_loader(listed)
    assert "--" not in str(caught.value)
    with open_loader(listed, allow_missing=True, verbose=True) as loader:
        assert loader.num_videos == 7
        assert all(victim not in batch.path for batch in loader)
    assert "left out: " in capsys.readouterr().out


def test_a_broken_file_is_left_out_up_to_the_limit(listed):
    paths, _ = paths_of(listed)
    for victim in paths[:2]:
        with open(victim, "wb") as file:
            file.write(b"not a video")
    with open_loader(listed) as loader:
        assert loader.num_videos == 6
    with pytest.raises(UserError, match=r"2 of the 8 videos .*; the limit is 1: mend or remove them, or raise max_bad_videos"):
        open_loader(listed, max_bad_videos=1)
    with pytest.raises(UserError, match=r"the limit is 0: mend or remove them, or read the others with allow_missing"):
        open_loader(listed, train=False)


def test_one_that_changes_meanwhile_is_replaced_and_the_state_knows_it(listed, capsys):
    paths, _ = paths_of(listed)
    with open_loader(listed) as loader:
        victim = list(loader)[1].path[0]
        loader.set_epoch(0)
        with open(victim, "ab") as file:
            file.write(b"more")
        whole, states = [], []
        for batch in loader:
            assert victim not in batch.path
            whole += digests([batch])
            states.append(loader.state_dict())
        following = digests(loader)
    assert states[-1]["quarantined"] == [paths.index(victim)]
    assert "broken video: " in capsys.readouterr().out
    with open_loader(listed) as loader:  # looks the video up anew, and could read it
        loader.load_state_dict(states[1])
        assert digests(loader) == whole[2:]
        assert digests(loader) == following


def test_an_evaluation_says_in_the_end_what_it_lacks(listed):
    victim = paths_of(listed)[0][2]
    loader = open_loader(listed, train=False)
    with open(victim, "ab") as file:
        file.write(b"more")
    seen = []
    with loader, pytest.raises(UserError, match=r"1 of the 8 videos .* broke while they were read.*allow_missing"):
        seen.extend(index for batch in loader for index in batch.index.tolist())
    assert seen == [0, 1, 3, 4, 5, 6]  # before the last batch: trainers that know the length ask for no more than that


def test_a_worker_that_dies_is_replaced(listed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("C2D_TEST_MARKER", str(tmp_path / "marker"))
    (tmp_path / "marker").touch()
    with open_loader(listed, clip=Frames(kill_once)) as loader:
        expected = digests(loader)
    with open_loader(listed, clip=Frames(kill_once)) as loader:
        (tmp_path / "marker").unlink()
        assert digests(loader) == expected
    assert "loader workers ended: process" in capsys.readouterr().out
