"""Writes the clips that the model is fed, as the flags of `c2d_fast.browse` say."""

import argparse
import math
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from c2d_fast.bad_videos import BadVideos
from c2d_fast.batch import Batch
from c2d_fast.data_flags import label_names, one_list, with_classes
from c2d_fast.dataset import choose_device, loader_options, scored_videos, videos_at_a_time
from c2d_fast.errors import UserError
from c2d_fast.files import check_writable, written_whole
from c2d_fast.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.plan import VIEWS, EvalPlan, TrainPlan
from c2d_fast.recipe import PipeFile, Recipe, load_pipe

_LARGEST_BATCH = 32


def run_browse(args: argparse.Namespace) -> None:
    """Loads the clips of a list and writes them.

    Raises:
        UserError: anything that the user can mend.
    """
    check_writable(args.npz, "--npz")
    pipe, names = load_pipe(args.pipe), label_names(args)
    recipe = with_classes(pipe.recipe, args, names)
    listing = one_list(args, recipe, names, "train" if args.split == "train" else "val")
    print(f"list {listing.summary()}")
    bad = scored_videos(listing, args)
    options = loader_options(bad, args, choose_device())
    shape = (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
    batches, num_views = _batches(pipe, recipe, bad, options, args)
    num_videos = min(len(bad.manifest.kept), args.limit or len(listing))
    _check_space(args.npz, num_videos * num_views * math.prod(shape))
    rows = islice(_rows(batches, bad), None if args.limit is None else args.limit * num_views)
    count = _write(args.npz, rows, shape, {f"list_{key}": value for key, value in listing.facts().items()})
    print(f"{count} clips of {' x '.join(map(str, shape))} bytes written to {args.npz}")


def _batches(
    pipe: PipeFile, recipe: Recipe, bad: BadVideos, options: LoaderOptions, args: argparse.Namespace
) -> tuple[Iterator[Batch], int]:
    """Returns the split's batches, and how many views each video has in them."""
    videos = bad.manifest.videos()
    if args.split == "train":
        # Samples do not depend on the batch: one that divides the list leaves no video out.
        size = max(n for n in range(1, min(len(videos), _LARGEST_BATCH) + 1) if len(videos) % n == 0)
        plan = TrainPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, seed=args.seed, batch_size=size)
        return TrainLoader(pipe.train_pipe, plan, options, bad).epoch(args.epoch - 1), 1
    num_clips = 1 if args.split == "val" else VIEWS["10x3"]
    size = min(
        _LARGEST_BATCH, videos_at_a_time(videos, num_clips * recipe.clip.num_frames, 3 * recipe.crop.size**2), len(videos)
    )
    views = EvalPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, batch_size=size, num_clips=num_clips)
    return EvalLoader(pipe.eval_pipe, views, options, bad, views_per_batch=_LARGEST_BATCH).views(), views.num_views


def _rows(batches: Iterator[Batch], bad: BadVideos) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yields every clip that counts, uint8 [T, H, W, C], with what is known of it; views come in their order."""
    seen: Counter[int] = Counter()
    for batch in batches:
        clips = batch.clip.cpu().numpy()
        for clip, label, index, real in zip(clips, *(x.tolist() for x in (batch.label, batch.index, batch.real)), strict=True):
            if real:
                place = int(bad.manifest.kept[index])
                facts = {"path": bad.manifest.listing.videos[place], "label": label, "index": place, "view": seen[index]}
                yield clip, facts
                seen[index] += 1


def _check_space(path: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if 2 * num_bytes > free:  # the clips stand there twice while the archive is written
        raise UserError(
            f"--npz {path}: {num_bytes / 1e9:.1f} GB of clips need twice that on disk, and {free / 1e9:.1f} GB are free; "
            "write fewer with --limit"
        )


def _write(path: Path, rows: Iterator[tuple[Any, dict[str, Any]]], shape: tuple[int, ...], facts: dict[str, Any]) -> int:
    """Writes the archive, whole or not at all; the clips go through a file, they may be more than the memory holds."""
    table: list[dict[str, Any]] = []
    try:
        with (
            written_whole(path) as partial,
            tempfile.TemporaryFile(dir=path.parent) as clips,
            zipfile.ZipFile(partial, "w") as archive,
        ):
            for clip, row in rows:
                assert clip.shape == shape
                clips.write(np.ascontiguousarray(clip).data)
                table.append(row)
            clips.seek(0)
            with archive.open("clips.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(table), *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(clips, file, 2**20)
            for name in ("path", "label", "index", "view"):
                _add(archive, name, np.array([row[name] for row in table]))
            for name, value in facts.items():
                _add(archive, name, np.array(value))
    except OSError as error:
        raise UserError(f"--npz {path}: cannot be written ({error.strerror}); free the disk or give another file") from error
    return len(table)


def _add(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    with archive.open(f"{name}.npy", "w") as file:
        np.lib.format.write_array(_as_io(file), array, allow_pickle=False)


def _as_io(file: IO[bytes]) -> Any:
    return file  # NumPy's annotation wants a file on disk; it only calls write()
