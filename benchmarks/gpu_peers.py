"""The peers that decode on a GPU, and crop there. None of this has been run on one yet, but for what needs none."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

LARGEST = 2048
"""Width and height that a decoder of PyNvVideoCodec is made for, as in its samples: to be used again, it needs room for all."""
_OF_THREAD = threading.local()


def decode_with_torchcodec_cuda(clip: dict[str, Any]) -> Any:
    """Exact seeking; torchcodec keeps NVDEC's sessions by itself."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(clip["file"], dimension_order="NHWC", device="cuda")
    images = decoder.get_frames_at(clip["frames"]).data
    if decoder.cpu_fallback:  # it would be measured as what it is not
        raise RuntimeError(f"does not decode this on the GPU: {decoder.cpu_fallback}")
    return images


def decode_with_pynvvideocodec(clip: dict[str, Any]) -> Any:
    """A decoder for each thread, made ready again for the next file, as its samples do it."""
    import PyNvVideoCodec
    import torch

    decoder = getattr(_OF_THREAD, "decoder", None)
    if decoder is None:
        _OF_THREAD.decoder = decoder = PyNvVideoCodec.SimpleDecoder(
            clip["file"],
            gpu_id=torch.cuda.current_device(),
            use_device_memory=True,
            max_width=LARGEST,
            max_height=LARGEST,
            output_color_type=PyNvVideoCodec.OutputColorType.RGB,
        )
    else:
        decoder.reconfigure_decoder(clip["file"])
    numbers = sorted(set(clip["frames"]))  # it gives each frame once
    frames = decoder.get_batch_frames_by_index(numbers)
    images = torch.stack([torch.from_dlpack(frame) for frame in frames])
    torch.cuda.current_stream().synchronize()  # the frames' memory is the decoder's, which writes there again
    return images[[numbers.index(number) for number in clip["frames"]]]


def cut_on_device(images: Any, clip: dict[str, Any], side: int) -> Any:
    """Scales, crops, resizes and flips as the other peers do; a tensor uint8 [T, H, W, C] gives one of [T, side, side, C]."""
    from torch.nn.functional import interpolate

    (width, height), (x0, y0, x1, y1) = clip["scaled"], clip["box"]
    scaled = interpolate(images.permute(0, 3, 1, 2).float(), size=(height, width), mode="bilinear")
    crops = interpolate(scaled[..., y0:y1, x0:x1], size=(side, side), mode="bilinear")
    if clip["flip"]:
        crops = crops.flip(-1)
    return crops.round().byte().permute(0, 2, 3, 1)


def batches_by_threads(make: Callable[[int], Any], count: int, size: int, threads: int) -> Iterator[Any]:
    """Yields batches of clips that threads have made: processes would each hold the GPU's memory, and have to send it.

    Args:
        make: returns clip i, a tensor.
        count: of clips; a part of a batch at the end is left out.
        size: of a batch.
        threads: so many clips are made at a time, and two batches beside them are made ahead.
    """
    import torch

    ahead: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for i in range(count):
            ahead.append(pool.submit(make, i))
            if len(ahead) == 2 * size + threads:
                yield torch.stack([ahead.popleft().result() for _ in range(size)])
        while len(ahead) >= size:
            yield torch.stack([ahead.popleft().result() for _ in range(size)])
    finally:
        pool.shutdown(cancel_futures=True)
