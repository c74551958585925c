"""Hostile and foreign checkpoints: nothing in a file runs, whatever it holds."""

import collections
import contextlib
import io
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from payloads import payloads
from runs import PIPE

import c2d_fast
from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D
from c2d_fast.model.inert_pickle import UnreadableError, read_state_dict
from c2d_fast.recipe import load_pipe


class ListLike(list):
    pass


class DictLike(dict):
    pass


class SetLike(set):
    pass


NAMES = sorted(payloads(Path("x")))
RUNS = sorted(set(NAMES) - {"import", "getattr"})
"""Those that show in the marker file that they ran."""


@pytest.fixture
def state():
    return C2D(load_pipe(PIPE).recipe.model).state_dict()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_payloads_beside_the_weights_are_inert(tmp_path, state, name, protocol):
    path, marker = tmp_path / "x.pth", tmp_path / "ran"
    torch.save({"meta": payloads(marker)[name], "state_dict": state}, path, pickle_protocol=protocol)
    model = c2d_fast.load_model(PIPE, path, device="cpu")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert not ran(marker, name)


def ran(marker, name):
    time.sleep(0.5 if name == "popen" else 0)  # its process takes a moment
    return marker.exists()


@pytest.mark.parametrize("name", NAMES)
def test_payloads_in_place_of_weights_are_refused(tmp_path, state, name):
    path, marker = tmp_path / "x.pth", tmp_path / "ran"
    payload = payloads(marker)[name]
    for content in ({"state_dict": state | {"fc.weight": payload}}, {"state_dict": payload}, payload):
        torch.save(content, path)
        with pytest.raises(UserError, match=r"x\.pth"):
            c2d_fast.load_model(PIPE, path, device="cpu")
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=r"x\.pth"):
            c2d_fast.load_model(PIPE, path, device="cpu")
    assert not ran(marker, name)


@pytest.mark.parametrize("name", RUNS)
def test_the_payloads_would_run_if_they_could(tmp_path, name):
    marker = tmp_path / "ran"
    torch.save({"meta": payloads(marker)[name]}, tmp_path / "x.pth")
    with contextlib.suppress(Exception):  # some fail after they have run
        torch.load(tmp_path / "x.pth", weights_only=False)
    assert ran(marker, name)


def test_what_published_files_hold_beside_the_weights_does_not_matter(tmp_path, state):
    """Objects of many kinds: of classes that are gone, with numpy arrays, functions and containers in them."""
    objects = {
        "array": np.arange(3), "scalar": np.float64(1.5), "dtype": np.dtype("int8"), "function": np.mean,
        "list": ListLike([1, 2]), "dict": DictLike(a=1), "set": SetLike({1, 2}), "path": Path("/x"),
        "ordered": collections.OrderedDict(a=np.float32(2)), "counter": collections.Counter("abca"),
        "torch": (torch.float16, torch.device("cpu"), torch.Size([1, 2]), torch.Generator),
        "module": torch.nn.Linear(2, 2), "parameter": torch.nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    torch.save({"meta": objects, "message_hub": objects, "optimizer": {"state": {0: objects}}, "state_dict": state},
               tmp_path / "x.pth")  # fmt: skip
    code = f"""
import sys
import torch
import c2d_fast.model.inert_pickle
with_pickle = set(sys.modules)
state = c2d_fast.model.inert_pickle.read_state_dict(c2d_fast.model.inert_pickle.Path({str(tmp_path / "x.pth")!r}))
assert set(sys.modules) - with_pickle <= {{"encodings.cp437"}}, set(sys.modules) - with_pickle  # zipfile's own
print(len(state), sum(type(value) is torch.Tensor for value in state.values()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == [str(len(state))] * 2, done.stderr
    read = read_state_dict(tmp_path / "x.pth")
    assert all(torch.equal(value, read[key]) for key, value in state.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_of_every_kind_and_layout(tmp_path, dtype):
    base = (torch.arange(120).view(2, 3, 4, 5) % 7).to(dtype)
    state = {
        "whole": base,
        "part": base[1, :, 1:3],
        "transposed": base.transpose(1, 3),
        "channels last": base.to(memory_format=torch.channels_last),
        "scalar": base[0, 0, 0, 3],
        "none": base[:0],
        "parameter": torch.nn.Parameter(base.float()),
        "number": 3,
    }
    torch.save(state, tmp_path / "x.pth")
    read = read_state_dict(tmp_path / "x.pth")
    assert read.pop("number") == 3
    for key, value in read.items():
        assert torch.equal(value, state[key]), key
        assert value.dtype == state[key].dtype


def write_archive(path, content, data=b"", compression=zipfile.ZIP_STORED):
    """An archive as torch.save writes it, with any pickle in it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/data/0", data)


class Facts:
    """Pickles as a tensor of a storage in the file, with any facts."""

    def __init__(self, offset, size, stride, numel=4, key="0"):
        self.reduced = (torch._utils._rebuild_tensor_v2, (Storage(key, numel), offset, size, stride, False, {}))

    def __reduce__(self):
        return self.reduced


class Storage:
    def __init__(self, key, numel):
        self.pid = ("storage", torch.FloatStorage, key, "cpu", numel)


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


BUILD = b"\x80\x02c%s\n}X\x0b\x00\x00\x00__globals__}sb."
BUILD_SLOTS = b"\x80\x02c%s\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b."


@pytest.mark.parametrize("opcodes", [BUILD, BUILD_SLOTS])
@pytest.mark.parametrize(
    "name", [b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"torch\nFloatStorage", b"os\nsystem"]
)
def test_what_a_pickle_names_cannot_be_changed_by_it(tmp_path, opcodes, name):
    # The opcode that gives an object its attributes works on functions and classes, too.
    write_archive(tmp_path / "x.pth", opcodes % name)
    with pytest.raises(UnreadableError, match=r"^(AttributeError|TypeError): "):
        read_state_dict(tmp_path / "x.pth")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    assert not torch._utils._rebuild_tensor_v2.__dict__
    test_a_crafted_archive_is_read_at_all(tmp_path)


def crafted(value):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"a": value})
    return file.getvalue()


@pytest.mark.parametrize(
    "facts",
    [
        Facts(0, (5,), (1,)),
        Facts(1, (4,), (1,)),
        Facts(-1, (2,), (1,)),
        Facts(0, (2,), (-1,)),
        Facts(0, (2,), (3000,)),
        Facts(0, (2**40,), (0,)),
        Facts(0, (2**62, 4), (0, 0)),
        Facts(0, "22", (1,)),
        Facts(0, (4,), (1,), numel=10**12),
        Facts(0, (10**9,), (0,), numel=10**12),
        Facts(0, (True,), (1,)),
        Facts(0, (4,), (1.0,)),
        Facts(0, ("4",), ("1",)),
        Facts(0, (4,), (1,), key="../../secret"),
        Facts(0, (4,), (1,), key="1"),
    ],
)
def test_tensors_that_reach_beyond_their_data_are_refused(tmp_path, facts):
    write_archive(tmp_path / "x.pth", crafted(facts), data=np.arange(4, dtype=np.float32).tobytes())
    try:
        read = read_state_dict(tmp_path / "x.pth")
    except UnreadableError:
        return
    assert read["a"].tolist() == [0, 1, 2, 3]  # it lied about its storage only


def test_a_crafted_archive_is_read_at_all(tmp_path):
    write_archive(tmp_path / "x.pth", crafted(Facts(1, (3,), (1,))), data=np.arange(4, dtype=np.float32).tobytes())
    assert read_state_dict(tmp_path / "x.pth")["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x80\x02].", b"\x80\x02(K\x01K\x02t.", b"\x80\x02c__builtin__\neval\n."]
)
def test_archives_without_a_state_dict_are_refused(tmp_path, content):
    write_archive(tmp_path / "x.pth", content)
    with pytest.raises(UnreadableError):
        read_state_dict(tmp_path / "x.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    # It could unpack to more than any memory holds.
    write_archive(tmp_path / "x.pth", crafted(Facts(0, (4,), (1,))), bytes(16), zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableError, match="is compressed"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_a_compiled_module_is_refused(tmp_path):
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, tmp_path / "x.pth")
    with pytest.raises(UserError, match="is damaged or holds more than"):
        c2d_fast.load_model(PIPE, tmp_path / "x.pth", device="cpu")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.", id="tuples in tuples as a key"),
        pytest.param(b"\x80\x02}r" + (10**9).to_bytes(4, "little") + b".", id="a memo of a thousand million places"),
        pytest.param(b"\x80\x02}p999999999\n.", id="likewise, in the old spelling"),
    ],
)
def test_what_would_end_the_process_or_fill_its_memory_is_refused(tmp_path, content):
    write_archive(tmp_path / "x.pth", content)
    code = f"""
import resource
from pathlib import Path
import torch
from c2d_fast.model.inert_pickle import UnreadableError, read_state_dict
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_state_dict(Path({str(tmp_path / "x.pth")!r}))
except UnreadableError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    megabytes, _, reason = done.stdout.partition(" ")
    assert int(megabytes) < 200
    assert "more than 50000 tuples" in reason or "a memo that leaves places out" in reason


def test_many_tensors_of_one_storage_take_its_memory_once(tmp_path):
    tensor = torch.zeros(4)
    torch.save({"a": tensor, "b": tensor[1:], "c": tensor.view(2, 2)}, tmp_path / "shared.pth")
    read = read_state_dict(tmp_path / "shared.pth")
    assert len({value.untyped_storage().data_ptr() for value in read.values()}) == 1


def test_the_old_format_with_foreign_objects_is_read(tmp_path, state):
    content = {"meta": DictLike(a=1), "state_dict": state, "x": payloads(tmp_path / "ran")["eval"]}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    model = c2d_fast.load_model(PIPE, tmp_path / "x.pth", device="cpu")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[:-1000])
    with pytest.raises(UserError, match="is damaged"):
        c2d_fast.load_model(PIPE, tmp_path / "x.pth", device="cpu")
    assert not (tmp_path / "ran").exists()


class Outer:
    class Inner:
        pass


@pytest.mark.parametrize("protocol", [2, 4])
def test_state_dicts_of_foreign_classes_and_classes_in_classes(tmp_path, state, protocol):
    meta = {"meta": Outer.Inner(), "state_dict": collections.defaultdict(int, state)}
    for content in (DictLike(state), meta, DictLike(state_dict=DictLike(state))):
        torch.save(content, tmp_path / "x.pth", pickle_protocol=protocol)
        model = c2d_fast.load_model(PIPE, tmp_path / "x.pth", device="cpu")
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
