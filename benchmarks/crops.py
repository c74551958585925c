"""Training crops in the published two steps (scale the frame, then cut and resize) against one step: cost, and what differs.

    python benchmarks/crops.py

Calls what the loader's workers call, on decoded frames of generated videos, in one thread and in turns, on the same boxes; the
CPU's time is counted, so that other programs disturb little. What differs: the mean over a crop's values, in levels of 255, for
every box of the recipe; and sharpness, the variance of the Laplacian of one-step crops to that of two-step ones. Writes JSON.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from generated import make_videos
from machine import describe_host
from numpy.typing import NDArray
from result_file import write_result

from c2d_fast.loading import sampler
from c2d_fast.recipe import Crop, load_pipe
from c2d_fast.video.crops import cut_crop, scale_frames

FORMAT = "c2d_fast.benchmark.crops/1"
HERE = Path(__file__).parent
SIZES = ("340x256", "568x320", "1280x720", "1920x1080")

Images = list[NDArray[np.uint8]]
Pixels = tuple[int, int]


def main() -> None:
    """Measures and writes the JSON."""
    args = parse()
    recipe = load_pipe(HERE.parent / "dali_pipes" / "k400_8x8.py").recipe
    num_frames, crop = recipe.clip.num_frames, recipe.crop
    machine = describe_host("opencv-python-headless")
    result: dict[str, Any] = {"format": FORMAT, "date": time.strftime("%Y-%m-%d"), "machine": machine, "clips": args.clips}
    result |= {"frames": num_frames, "sizes": {}}
    for name in args.sizes:
        width, height = map(int, name.split("x"))
        folder = args.data / f"crops-{name}"
        paths = make_videos(folder, args.videos, num_frames=num_frames, width=width, height=height)
        clips = [decode(path) for path in paths]
        scaled = sampler.scaled_size(width, height, crop.train_short_side)
        result["sizes"][name] = {"ms_per_clip": costs(clips, scaled, crop, args.clips), **differences(clips, scaled, crop)}
        print(f"{name}: {result['sizes'][name]}")
        write_result(args.out, result)
    print(f"written to {args.out}")


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--clips", type=int, default=200, help="that are timed, of each size")
    parser.add_argument("--videos", type=int, default=3, help="that they are cut from")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for what is made")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "crops-cpu.json")
    return parser.parse_args()


def decode(path: Path) -> Images:
    """Returns a video's frames, RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def one_step(images: Images, box: NDArray[np.float32], scaled: Pixels, size: int) -> NDArray[np.uint8]:
    """Returns crops as Crop(scale_before_crop=False) has them."""
    return cut_crop(images, box, size, flip=False, is_scaled=min(images[0].shape[:2]) == min(scaled))


def two_steps(images: Images, box: NDArray[np.float32], scaled: Pixels, size: int) -> NDArray[np.uint8]:
    """Returns the published crops."""
    return cut_crop(scale_frames(images, scaled), box, size, flip=False, is_scaled=True)


WAYS = {"one_step": one_step, "two_steps": two_steps}


def costs(clips: list[Images], scaled: Pixels, crop: Crop, count: int) -> dict[str, float]:
    """Returns milliseconds that the crops of a clip take each way: medians over boxes that are drawn as in training."""
    draws, rng = sampler.train_draws(*scaled, crop.size, crop.scales), np.random.default_rng(0)
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(count + 1):
        box = sampler.relative_box(draws[rng.integers(len(draws))], *scaled)
        for name, way in WAYS.items():
            started_s = time.thread_time()
            way(clips[number % len(clips)], box, scaled, crop.size)
            spent[name].append(time.thread_time() - started_s)
    return {name: round(1000 * statistics.median(values[1:]), 2) for name, values in spent.items()}  # the first warms up


def differences(clips: list[Images], scaled: Pixels, crop: Crop) -> dict[str, float]:
    """Returns how far crops of one step are from those of two, over all boxes: in levels, and in sharpness."""
    means, sharpness = [], []
    for box in sorted(set(sampler.train_draws(*scaled, crop.size, crop.scales))):
        parts = sampler.relative_box(box, *scaled)
        one, two = (np.concatenate([way(clip[-1:], parts, scaled, crop.size) for clip in clips]) for way in WAYS.values())
        means.append(float(np.abs(one.astype(int) - two).mean()))
        sharpness.append(_sharpness(one) / _sharpness(two))
    return {
        "mean_difference": round(statistics.fmean(means), 2),
        "worst_box_difference": round(max(means), 2),
        "sharpness_ratio": round(statistics.median(sharpness), 2),
        "sharpness_ratio_low": round(min(sharpness), 2),
        "sharpness_ratio_high": round(max(sharpness), 2),
    }


def _sharpness(crops: NDArray[np.uint8]) -> float:
    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    return statistics.fmean(float(cv2.Laplacian(grey, cv2.CV_64F).var()) for grey in greys)


if __name__ == "__main__":
    main()
