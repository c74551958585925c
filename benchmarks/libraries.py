"""The libraries that decode for the peers: how each is asked for a clip's frames, and what is prepared for it beforehand."""

import importlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import decode_with_pynvvideocodec, decode_with_torchcodec_cuda

DECORD2 = Path(sys.prefix) / "decord2"
"""decord2 is imported as decord, too: both cannot be in one environment's packages, so it has a folder of its own."""

NO_INDEX, MANIFEST, PACKET_TABLE, FRAME_MAPPINGS = "none", "manifest (facts)", "packet table", "frame mappings"
"""What is prepared beforehand. Facts are counts and sizes. The other two say where in a file, or in its time, each frame is."""


def decode_with_decord(clip: dict[str, Any]) -> Any:
    """As MMAction2's DecordInit and DecordDecode: the file read whole, one thread, exact seeking."""
    import decord

    reader = decord.VideoReader(io.BytesIO(Path(clip["file"]).read_bytes()), num_threads=1)
    return reader.get_batch(clip["frames"]).asnumpy()


def decode_with_pyav(clip: dict[str, Any]) -> Any:
    """As PyAV's documentation does it: from the beginning up to the last wanted frame."""
    images = images_from_the_beginning(clip["file"], set(clip["frames"]))
    return np.stack([images[number] for number in clip["frames"]])


def images_from_the_beginning(path: str, wanted: set[int]) -> dict[int, Any]:
    """Returns the wanted frames that there are, uint8 [H, W, C], by number; all up to the last are decoded."""
    import av

    images: dict[int, Any] = {}
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
                if len(images) == len(wanted):
                    break
    return images


def decode_with_torchcodec(clip: dict[str, Any]) -> Any:
    """One thread, exact seeking, for which it reads through the file; channels last."""
    return _torchcodec(clip, seek_mode="exact")


def decode_with_approximate_torchcodec(clip: dict[str, Any]) -> Any:
    """The same without reading through the file: it takes the frames to be as far apart as the header says."""
    return _torchcodec(clip, seek_mode="approximate")


def decode_with_mapped_torchcodec(clip: dict[str, Any]) -> Any:
    """The same with all frames' times and key frames from a file that frame_mappings.py has made."""
    return _torchcodec(clip, custom_frame_mappings=Path(clip["mappings"]).read_bytes())


def _torchcodec(clip: dict[str, Any], **seeking: Any) -> Any:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(clip["file"], dimension_order="NHWC", num_ffmpeg_threads=1, **seeking)
    return decoder.get_frames_at(clip["frames"]).data.numpy()


def decode_with_spdl(clip: dict[str, Any]) -> Any:
    """Its own choice of the packets to decode."""
    import spdl.io

    images = spdl.io.sample_decode_video(spdl.io.demux_video(clip["file"]), clip["frames"])
    return np.array(spdl.io.to_numpy(spdl.io.convert_frames(images)))


@dataclass(frozen=True)
class Library:
    """A row of the loaders' table."""

    title: str
    decode: Callable[[dict[str, Any]], Any]
    """Takes a clip (file, frames, and mappings where the index is these); returns uint8 [T, H, W, C], on the GPU if on_gpu."""
    modules: tuple[str, ...]
    index: str = NO_INDEX
    folder: Path | None = None
    """Where its modules are, if not among the environment's packages."""
    on_gpu: bool = False

    def load(self) -> None:
        """Imports it.

        Raises:
            Exception: whatever a library raises that does not find its own libraries.
        """
        if self.folder:
            if not self.folder.is_dir():  # or another library of the same name would be measured under its title
                raise ImportError(f"there is no {self.folder}: see docs/benchmarks.md")
            sys.path.insert(0, str(self.folder))
        for name in self.modules:
            importlib.import_module(name)


_TORCHCODEC = ("torchcodec.decoders",)
LIBRARIES = {
    "decord": Library("decord in a DataLoader (as MMAction2)", decode_with_decord, ("decord",)),
    "decord2": Library("decord2 in a DataLoader", decode_with_decord, ("decord",), folder=DECORD2),
    "pyav": Library("PyAV in a DataLoader", decode_with_pyav, ("av",)),
    "torchcodec": Library("torchcodec in a DataLoader", decode_with_torchcodec, _TORCHCODEC),
    "approximate": Library("torchcodec, approximate seeking", decode_with_approximate_torchcodec, _TORCHCODEC),
    "spdl": Library("SPDL (threads)", decode_with_spdl, ("spdl.io", "spdl.pipeline")),
    "mappings": Library("torchcodec, frame mappings", decode_with_mapped_torchcodec, _TORCHCODEC, index=FRAME_MAPPINGS),
    "cuda": Library("torchcodec on the GPU (threads)", decode_with_torchcodec_cuda, _TORCHCODEC, on_gpu=True),
    "pynvvideocodec": Library("PyNvVideoCodec (threads)", decode_with_pynvvideocodec, ("PyNvVideoCodec",), on_gpu=True),
}
