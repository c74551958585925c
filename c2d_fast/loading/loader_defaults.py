"""What the flags on reading videos leave open, by the machine and the list. Pure functions; numpy and torch are not needed."""

import heapq
import math
from collections.abc import Iterable

_RATE_WANTED = 2750
"""Clips a second that NVDEC can decode at best: all-intra files, 8 frames a clip, 22,000 frames a second on an H100."""
_FED_WITH_TABLE, _FED_WITHOUT = 550, 120
"""Clips a second that a worker cuts out of files for NVDEC, as a share of a core that it hardly has to itself: half of what
benchmarks/feed.py measured on one core."""
_MOST_WORKERS = 16
_MOST_THREADS = 16
_BYTES_A_PIXEL = 15
"""That FFmpeg holds of a video while it decodes it: about eight frames, 4:2:0, and one as RGB."""
_WORKERS_BYTES = 2 * 2**30
"""That all workers of a rank may hold so."""
_CLIPS_TOGETHER = 64
"""Clips that NVDEC is given together at least: a batch ends with a barrier, at which engines wait."""
_DECODED_BYTES = 2 * 2**30
"""Of a batch of decoded clips on the GPU."""


def num_workers(decoder: str, cpus: int, *, has_table: bool) -> int:
    """Returns how many processes read a list.

    Args:
        decoder: nvdec, dali, ffmpeg or hybrid.
        cpus: that this rank may use.
        has_table: whether there is a packet table.
    """
    if decoder in ("ffmpeg", "hybrid"):  # these decode
        return min(cpus, _MOST_WORKERS)
    if decoder == "nvdec":
        return min(cpus, _MOST_WORKERS, math.ceil(_RATE_WANTED / (_FED_WITH_TABLE if has_table else _FED_WITHOUT)))
    return min(cpus, 4)  # dali's decoder needs the CPUs itself


def workers_in_memory(pixels: Iterable[int], most: int) -> int:
    """Returns how many workers may decode at a time, were it the largest videos of a list.

    Args:
        pixels: of a frame of each video.
        most: workers that are wanted.
    """
    total = 0
    for count, of_frame in enumerate(heapq.nlargest(most, pixels)):
        total += _BYTES_A_PIXEL * int(of_frame)
        if total > _WORKERS_BYTES:
            return max(count, 1)
    return most


def num_threads(decoder: str, cpus: int, clips: int) -> int:
    """Returns how many threads decode: of each worker's FFmpeg, or of DALI.

    Args:
        decoder: nvdec, dali, ffmpeg or hybrid.
        cpus: that this rank may use.
        clips: that DALI decodes together.
    """
    if decoder == "ffmpeg":
        return 1
    return cpus if decoder == "dali" else even_num_threads(clips, min(cpus, _MOST_THREADS))


def even_num_threads(clips: int, most: int) -> int:
    """Returns a number of threads that divides the clips, so that none waits for others at a batch's end.

    Where no divisor comes near the most that there may be, it is the smallest number that needs as few rounds.
    """
    divisor = max(n for n in range(1, most + 1) if clips % n == 0)
    if 2 * divisor > most:
        return divisor
    return math.ceil(clips / math.ceil(clips / most))


def decode_batch_size(decoder: str, batch_size: int, clip_bytes: int) -> int:
    """Returns how many training clips are decoded together, whatever the model's batch; 0: as many as that has.

    Args:
        decoder: nvdec, dali, ffmpeg or hybrid.
        batch_size: the model's.
        clip_bytes: of a decoded clip, before it is cropped.
    """
    if decoder not in ("nvdec", "hybrid"):
        return 0
    fitting = _DECODED_BYTES // max(clip_bytes, 1)
    batches = min(math.ceil(_CLIPS_TOGETHER / batch_size), fitting // batch_size)
    return batch_size * batches if batches > 1 else 0
