"""A ClipLoader that goes on in mid-epoch gives the very bytes that it would have given."""

import itertools
import json
import sys
import textwrap

import fork_server
import pytest
import runs
from choices import every_third
from clip_loaders import SMALL, digests
from media import make_dataset

from c2d_fast import ClipLoader, Dense, Frames, Multi, Uniform
from c2d_fast.errors import UserError

STRATEGIES = {"dense": Dense(4, 3), "uniform": Uniform(4), "multi": Multi(2, Dense(4, 3)), "frames": Frames(every_third)}


@pytest.fixture(scope="module")
def by_codec(tmp_path_factory):
    made = {codec: tmp_path_factory.mktemp(codec) for codec in ("h264", "vp9")}
    return {codec: make_dataset(folder, codec=codec, count=9, num_frames=(30, 9)) for codec, folder in made.items()}


def open_loader(by_codec, decoder, name, **kwargs):
    arguments = {"clip": STRATEGIES[name], "batch_size": 2, "seed": 4, "decoder": decoder} | SMALL | kwargs
    return ClipLoader(by_codec["vp9" if decoder == "dali" else "h264"], **arguments)


CASES = list(itertools.product(STRATEGIES, ("ffmpeg", "dali"), (1, 2), (True, False)))
"""Each strategy with each decoder, number of ranks, and kind of loader; with each pair of these but for the slow tests."""


def cases():
    for name, decoder, world, train in CASES:
        odd = [*STRATEGIES].index(name) + ("ffmpeg", "dali").index(decoder) + world + train
        yield pytest.param(name, decoder, world, train, marks=pytest.mark.slow if odd % 2 else ())


@pytest.mark.parametrize(("name", "decoder", "world", "train"), list(cases()))
def test_the_rest_of_an_epoch_is_the_same_to_the_byte(by_codec, decoder, name, world, train):
    for rank in range(world):
        how = {"rank": rank, "world_size": world, "train": train}
        with open_loader(by_codec, decoder, name, **how) as loader:
            loader.set_epoch(1)
            whole, states = [], []
            for batch in loader:
                whole += digests([batch])
                states.append(json.loads(json.dumps(loader.state_dict())))
            then = digests(loader)
        with open_loader(by_codec, decoder, name, **how | {"workers": 2}) as loader:
            for given in (len(whole) // 2, len(whole)):
                loader.load_state_dict(states[given - 1])
                assert loader.current_epoch == 1
                loader.set_epoch(1)  # as loops do: nothing changes
                assert digests(loader) == whole[given:]
                assert loader.current_epoch == 2
            assert digests(loader) == then


def test_the_state_between_epochs_is_the_next_epoch_s_beginning(ten_videos):
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        list(loader)
        state = loader.state_dict()
        assert (state["epoch"], state["clips"]) == (1, 0)
        second = digests(loader)
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        loader.load_state_dict(state)
        assert digests(loader) == second


def test_another_number_of_ranks_goes_on_with_the_same_clips(ten_videos):
    how = {"clip": Dense(4, 3)} | SMALL
    with ClipLoader(ten_videos, batch_size=4, **how) as loader:
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        expected = next(batches).index.tolist()
    found = []
    for rank in range(2):
        with ClipLoader(ten_videos, batch_size=2, rank=rank, world_size=2, **how) as loader:
            loader.load_state_dict(state)
            found += next(batch.index.tolist() for batch in loader)
    assert found == expected


def test_random_transforms_go_on_as_they_would_have(ten_videos):
    from torchvision.transforms import v2

    how = {"clip": Dense(4, 3), "batch_size": 4, "transform": v2.RandomCrop(20)} | SMALL
    with ClipLoader(ten_videos, **how) as loader:
        batches = iter(loader)
        next(batches)
        state, rest = loader.state_dict(), digests(batches)
    with ClipLoader(ten_videos, **how) as loader:
        loader.load_state_dict(state)
        assert digests(loader) == rest


@pytest.mark.parametrize(
    ("change", "other", "message"),
    [
        ({}, {"seed": 1}, "it was made with seed=0: give the same"),
        ({}, {"shuffle": False}, "it was made with shuffle=True: give the same"),
        ({}, {"drop_last": False}, "it was made with drop_last=True: give the same"),
        ({}, {"train": False}, "it was made with train=True: give the same"),
        ({}, {"clip": Multi(2, Dense(4, 3))}, "it was made with 1 clips of each decode: give the same clip"),
        ({}, {"batch_size": 3}, "4 clips of the epoch have been read, which is no multiple of the 3 of a batch"),
        ({"videos": "0"}, {}, "it was made with other videos, or in another order: give it the same list"),
        ({"version": 2}, {}, "another version of this package"),
        ({"epoch": -1}, {}, r"is not what a ClipLoader's state_dict\(\) gives"),
        ({"clips": "4"}, {}, r"is not what a ClipLoader's state_dict\(\) gives"),
        ({"quarantined": [10]}, {}, "its quarantined videos are not indices of this list"),
    ],
)
def test_states_of_other_runs_are_refused(ten_videos, change, other, message):
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        next(iter(loader))
        state = loader.state_dict() | change
    with pytest.raises(UserError, match=message):
        ClipLoader(ten_videos, **{"clip": Dense(4, 3), "batch_size": 4} | SMALL | other).load_state_dict(state)


SCRIPT = """
import sys, hashlib
import torch.distributed as dist
from c2d_fast import ClipLoader, Crop, Dense
dist.init_process_group("gloo")
loader = ClipLoader(sys.argv[1], clip=Dense(4, 3), crop=Crop(size=32), batch_size=2, num_workers=1)
for batch in loader:
    print("rank", dist.get_rank(), "of", dist.get_world_size(), *batch.index.tolist(), flush=True)
dist.destroy_process_group()
"""


def test_ranks_as_torchrun_starts_them_share_every_batch(ten_videos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = runs.run_ranks([sys.executable, str(script), str(ten_videos)], 2, fork_server.environment(), timeout=180)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("rank")]
    with ClipLoader(ten_videos, clip=Dense(4, 3), batch_size=4, **SMALL) as loader:
        alone = [batch.index.tolist() for batch in loader]
    ranks = [[list(map(int, line[4:])) for line in lines if line[1] == str(rank)] for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == alone
    assert done.stdout.count("decoder for") == 1, "only the first rank speaks"
