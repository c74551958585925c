"""Reads the weights out of a checkpoint whose other parts nobody should build: nothing in the file can run.

Published checkpoints are pickles that hold objects of their training framework beside the weights. Unpickling builds
whatever a file names; here every name but those of tensors and plain containers gives an object that does nothing, and
tensors are made afterwards from plain numbers.
"""

import contextlib
import math
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from c2d_fast.formats.archive_members import DAMAGED, check_stored

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_TUPLES = 50_000
"""Some hundred thousand within each other, hashed, end the process; a ResNet-101 with its optimizer has some thousand."""


class UnreadableError(Exception):
    """The file is no archive of torch.save's, or does not hold what it must."""


def read_state_dict(path: Path) -> dict[str, Any]:
    """Reads the state dict of a file that torch.save wrote, at its top or under "state_dict".

    Args:
        path: the file, in torch's zip format or in the one before 1.6.

    Returns:
        name -> tensor on the CPU; what else stands among the names is given as an inert object or a plain value.

    Raises:
        UnreadableError: it is something else, or damaged.
        OSError: the file cannot be read.
    """
    try:
        if not zipfile.is_zipfile(path):
            return _read_old(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            _check_stored(archive, path)
            return _read(archive)
    except (OSError, UnreadableError):
        raise
    # A damaged or hostile pickle may raise anything; whatever it is, nothing was built and the file is refused.
    except Exception as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def refuse_bombs(path: Path) -> None:
    """Refuses a file whose pickles would end the process or fill its memory: that of torch.load, too, reads them blindly.

    Raises:
        UnreadableError: it is such a file. Files that are damaged or of another kind pass.
    """
    with contextlib.suppress(*DAMAGED):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_stored(archive, path)
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        _check_opcodes(BytesIO(_bytes(archive, name)))
        else:
            with path.open("rb") as file:
                for _ in range(5):  # torch's format before 1.6: a number, a version, facts of the machine, the content, keys
                    _check_opcodes(file)


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    numel: int


@dataclass(frozen=True)
class _TensorFacts:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Inert(dict[Any, Any]):
    """Stands for an object that is not built: takes whatever is given to it and does nothing.

    A plain container: of a foreign class of dicts the items stay, of everything else nothing.
    """

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> "_Inert":
        return dict.__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        super().__init__()

    def __hash__(self) -> int:  # type: ignore[override]  # it may be a key, too
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "_Inert":
        return self

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def add(self, item: object) -> None:
        pass


class _Dict(dict[Any, Any]):
    """An ordered dict without the attributes that a pickle may give it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


# Instances without attributes, not functions: a pickle can set attributes of what it names.
class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: object) -> _TensorFacts:
        return _TensorFacts(storage, offset, size, stride)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Any, *rest: object) -> Any:
        return data


class _GetAttribute:
    """getattr, by which old pickles name a class within a class: what it would give is foreign, too."""

    __slots__ = ()

    def __call__(self, *args: object) -> type[_Inert]:
        return _Inert


class _StorageType:
    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def dtype(self) -> torch.dtype:
        return _STORAGES[self._name]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageType(name)
        return _GetAttribute() if (module, name) in (("builtins", "getattr"), ("__builtin__", "getattr")) else _Inert

    def persistent_load(self, pid: Any) -> _Storage | _Inert:
        kind, storage_type, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
            return _Inert()
        storage = _Storage(storage_type.dtype(), str(key), int(numel))
        return self.storages.setdefault(storage.key, storage)


def _read(archive: zipfile.ZipFile) -> dict[str, Any]:
    pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnreadableError("not an archive of torch.save's")
    prefix = pickles[0].removesuffix("data.pkl")
    if prefix + "byteorder" in archive.namelist() and _bytes(archive, prefix + "byteorder").decode() != sys.byteorder:
        raise UnreadableError("written on a machine of the other byte order")
    pickled = _bytes(archive, pickles[0])
    _check_opcodes(BytesIO(pickled))
    content = _Unpickler(BytesIO(pickled)).load()
    return _state_dict(content, lambda storage: _bytes(archive, f"{prefix}data/{storage.key}"))


def _read_old(data: bytes) -> dict[str, Any]:
    """Reads torch's format before 1.6: five pickles, then each storage's number of elements and its bytes."""
    checked, file = BytesIO(data), BytesIO(data)
    for _ in range(5):
        _check_opcodes(checked)
    magic, _, facts = (_Unpickler(file).load() for _ in range(3))
    if magic != _OLD_MAGIC or not facts["little_endian"]:
        raise UnreadableError("not a file of torch.save's, or written on a machine of the other byte order")
    unpickler = _Unpickler(file)
    content, keys = unpickler.load(), _Unpickler(file).load()
    stored: dict[str, bytes] = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little") * unpickler.storages[str(key)].dtype.itemsize
        stored[str(key)] = file.read(size)
        if len(stored[str(key)]) != size:
            raise UnreadableError("it ends within a tensor")
    return _state_dict(content, lambda storage: stored[storage.key])


def _state_dict(content: Any, read: Callable[["_Storage"], bytes]) -> dict[str, Any]:
    """Returns the state dict in what was unpickled, its tensors made from the bytes of their storages."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not any(isinstance(value, _TensorFacts) for value in content.values()):
        raise UnreadableError("holds no state dict")
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    return {
        str(name): _tensor(value, read, storages) if isinstance(value, _TensorFacts) else value
        for name, value in content.items()
    }


def _check_stored(archive: zipfile.ZipFile, path: Path) -> None:
    try:
        check_stored(archive, path.stat().st_size)
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _check_opcodes(pickled: IO[bytes]) -> None:
    """Refuses a pickle that would end the process or fill its memory while it is read, not one that is merely wrong."""
    tuples = 0
    for index, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        tuples += opcode.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
        if tuples > _MOST_TUPLES:
            raise UnreadableError(f"more than {_MOST_TUPLES} tuples")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > index:  # honest ones count up
            raise UnreadableError("a memo that leaves places out")


def _tensor(facts: _TensorFacts, read: Callable[[_Storage], bytes], storages: dict[tuple[str, torch.dtype], Tensor]) -> Tensor:
    """Returns a tensor as a view of its storage: however many a file makes of one, they take no more memory than the file."""
    storage = facts.storage
    if not isinstance(storage, _Storage):
        raise UnreadableError("a tensor without data")
    key = (storage.key, storage.dtype)
    if key not in storages:
        data = bytearray(read(storage))
        storages[key] = torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)
    size, stride = ([_natural(number) for number in numbers] for numbers in (facts.size, facts.stride))
    if math.prod(size) > len(storages[key]):
        raise UnreadableError("a tensor is larger than its data")
    # Raises where size, stride and offset lead out of the data.
    return storages[key].as_strided(size, stride, _natural(facts.offset))


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise UnreadableError(f"{number!r} in the shape of a tensor")
    return number


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise UnreadableError(f"{name} is compressed, which torch.save never does")
    return archive.read(name)
