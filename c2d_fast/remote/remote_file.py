"""A remote file as a file object, for FFmpeg: read in blocks that grow while it is read through."""

import io
from typing import Any

from c2d_fast.remote.ranges import read_parts
from c2d_fast.remote.remote_path import RemotePath

_FIRST_BYTES, _LARGEST_BYTES = 256 * 1024, 4 * 2**20
_KEPT = 2  # blocks: a container's index may lie far from the packets that are read with it


class RemoteFile(io.RawIOBase):
    """Reads a file whose state is known; raises what ranges.read_parts raises."""

    def __init__(self, path: RemotePath):
        """Takes a path that has a state; nothing is read yet."""
        super().__init__()
        assert path.state is not None
        self._path, self._size, self._at = path, path.state.size, 0
        self._next_bytes = _FIRST_BYTES
        self._blocks: list[tuple[int, Any]] = []  # the one used last is the last

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position, in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position; see io."""
        self._at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence], 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, as many as are asked for unless the file ends."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        parts = []
        while self._at < end:
            start, block = self._block(self._at)
            part = bytes(block[self._at - start : end - start])
            parts.append(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer; see io."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _block(self, position: int) -> tuple[int, Any]:
        """Returns the block that a position lies in: its first byte, and its bytes."""
        for index, (start, block) in enumerate(self._blocks):
            if start <= position < start + len(block):
                self._blocks.append(self._blocks.pop(index))
                return start, block
        is_next = any(position == start + len(block) for start, block in self._blocks)
        self._next_bytes = min(2 * self._next_bytes, _LARGEST_BYTES) if is_next else _FIRST_BYTES
        (block,) = read_parts(self._path, [(position, min(position + self._next_bytes, self._size))])
        self._blocks = [*self._blocks[1 - _KEPT :], (position, block)]
        return position, block
