"""Measures whether the loader keeps what it takes: memory and open files of all its processes over many tiny clips.

    python benchmarks/memory.py                  # 20,000 clips of 2 frames after 20,000 others, H.264, ffmpeg decoder
    python benchmarks/memory.py --codec vp9 --decoder dali

Memory is what the main process and the workers hold for themselves (PSS: shared pages are divided among those that share them).
The slope is that of a line fitted to samples after a warm-up, in which caches and allocators fill.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FORMAT = "c2d_fast.benchmark.memory/1"
SAMPLES = 40


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--warmup-clips", type=int, default=20_000)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--codec", choices=("h264", "vp9", "mjpeg"), default="h264")
    parser.add_argument("--decoder", choices=("ffmpeg", "dali"), default="ffmpeg")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.out = args.out or HERE / "results" / f"memory-{args.decoder}.json"
    from machine import describe_machine

    result = {"format": FORMAT, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), **measure(args)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{result['clips']} clips, {result['clips_per_s']:.0f} clips/s: {result['memory_mb'][0]:.1f} MB at first, "
        f"{result['memory_mb'][-1]:.1f} MB at last, slope {result['slope_kb_per_1000_clips']:+.1f} kB per 1,000 clips; "
        f"open files {min(result['open_files'])} to {max(result['open_files'])}; written to {args.out}"
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Reads the clips and returns the figures."""
    import numpy as np
    import torch
    from generated import make_videos
    from machine import held_by
    from measure import Setting, open_loader
    from stored import Form

    from c2d_fast.lists.listing import read_list
    from c2d_fast.manifest.manifest import read_manifest
    from c2d_fast.recipe import load_pipe

    paths = make_videos(
        args.data / f"tiny-{args.codec}", args.videos, num_frames=24, width=96, height=64, codec=args.codec, gop=12
    )
    listing = args.data / f"tiny-{args.codec}.txt"
    listing.write_text("".join(f"tiny-{args.codec}/{path.name} 0\n" for path in paths))
    manifest = read_manifest(read_list(listing, None, None), allow_missing=False, jobs=2)
    setting = Setting(
        device=torch.device("cpu"),
        decoder=args.decoder,
        workers=args.workers,
        decoder_threads=1,
        batch_size=args.batch_size,
    )
    steps, warmup = args.clips // args.batch_size, max(args.warmup_clips // args.batch_size, 1)
    batches = open_loader(load_pipe(HERE / "small_64px.py"), Form("tiny", listing, manifest), setting, steps // 4)
    for _ in range(warmup):
        next(batches)
    started_s, memory, files, clips = time.perf_counter(), [], [], []
    for step in range(steps):
        next(batches)
        if step % max(steps // SAMPLES, 1) == 0 or step == steps - 1:
            megabytes, open_files = held_by(os.getpid())
            memory.append(round(megabytes, 2))
            files.append(open_files)
            clips.append((step + 1) * args.batch_size)
    slope = float(np.polyfit(np.array(clips) / 1000, np.array(memory) * 1000, 1)[0])
    return {
        "decoder": args.decoder,
        "codec": args.codec,
        "workers": args.workers,
        "warmup_clips": warmup * args.batch_size,
        "clips": steps * args.batch_size,
        "clips_per_s": round(steps * args.batch_size / (time.perf_counter() - started_s), 1),
        "memory_mb": memory,
        "slope_kb_per_1000_clips": round(slope, 2),
        "open_files": files,
    }


if __name__ == "__main__":
    main()
