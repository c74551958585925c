"""Shows the clips that the model is fed, as the flags of `c2d_fast.browse` say."""

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from c2d_fast.commands.data_flags import label_names, one_list, with_classes
from c2d_fast.commands.dataset import choose_device, loader_options, scored_videos
from c2d_fast.errors import UserError
from c2d_fast.files import check_is_no_input, check_writable
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.batch import Batch
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.frame_sampling import Dense, Multi, sampling_of
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.loading.plan import VIEWS, EvalPlan, Sample, TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.recipe import PipeFile, Recipe, load_pipe
from c2d_fast.reporting.clip_archive import check_space, write_archive
from c2d_fast.reporting.clip_pictures import paginate, write_animation, write_pages
from c2d_fast.reporting.sheet import INK, Tile

_LARGEST_BATCH = 32
_ENDINGS = {"png": ".png", "mp4": ".mp4", "npz": ".npz"}
_SHOWN_VIDEOS = {"train": 16, "val": 16, "test": 1}  # in pictures, where nothing is said


def run_browse(args: argparse.Namespace) -> None:
    """Loads the clips of a list and writes them.

    Raises:
        UserError: anything that the user can mend.
    """
    _check_outputs(args)
    pipe, names = load_pipe(args.pipe, args.set), label_names(args)
    recipe = with_classes(pipe.recipe, args, names)
    listing = one_list(args, recipe, names, "train" if args.split == "train" else "val")
    for name in _ENDINGS:
        if path := getattr(args, name):
            videos = (str(listing.file(index)) for index in range(len(listing)))
            check_is_no_input(path, f"--{name}", (pipe.path, args.list, args.label_map, *videos))
    print(f"list {listing.summary()}")
    bad = scored_videos(listing, args)
    options = loader_options(bad, args, choose_device(), recipe, batch_size=_LARGEST_BATCH)
    shape = (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
    loader, epoch = _loader(pipe, recipe, bad, args, options), (args.epoch or 1) - 1
    loader.set_epoch(epoch)
    plan = loader.plan
    num_views = plan.num_views if isinstance(plan, EvalPlan) else 1
    pictures = args.png or args.mp4
    limit = args.limit or (_SHOWN_VIDEOS[args.split] if pictures else len(listing))
    num_clips = min(len(bad.manifest.kept), limit) * num_views
    rows: Iterator[tuple[Any, dict[str, Any]]] = islice(_rows(iter(loader), bad), num_clips)
    if pictures:  # what is looked at is little: it is held
        rows = iter(kept := list(rows))
        tiles = [Tile(clip, _lines(plan, facts, listing, epoch)) for clip, facts in kept]
        pages = paginate(tiles)
        title = f"{recipe.name}, {args.split}, {listing.path.name}"
        if args.png:
            for path in write_pages(pages, args.png, title):
                print(f"{len(tiles)} clips drawn: {path}")
        if args.mp4:
            write_animation(pages[0], args.mp4, title)
            print(f"{len(pages[0])} of {len(tiles)} clips playing: {args.mp4}")
    if args.npz:
        check_space(args.npz, num_clips * math.prod(shape))
        count = write_archive(args.npz, rows, shape, {f"list_{key}": value for key, value in listing.facts().items()})
        print(f"{count} clips of {' x '.join(map(str, shape))} bytes written to {args.npz}")


def _check_outputs(args: argparse.Namespace) -> None:
    if not (args.npz or args.png or args.mp4):
        raise UserError("nothing to write: give --png FILE, --mp4 FILE or --npz FILE")
    if args.split != "train":
        for name in ("seed", "epoch"):
            if getattr(args, name) is not None:
                raise UserError(
                    f"--{name} {getattr(args, name)}: is of the training split, and --split is {args.split}; leave it out"
                )
    for name, ending in _ENDINGS.items():
        path = getattr(args, name)
        if path:
            check_writable(path, f"--{name}")
            if not path.name.endswith(ending):
                raise UserError(f"--{name} {path}: must end in {ending}")


def _loader(pipe: PipeFile, recipe: Recipe, bad: BadVideos, args: argparse.Namespace, options: LoaderOptions) -> ClipLoader:
    """Returns what reads the split."""
    shared: dict[str, Any] = {"crop": recipe.crop, "options": options, "rank": 0, "world_size": 1}
    if args.split == "train":
        # Samples do not depend on the batch: one that divides the list leaves no video out.
        videos = len(bad.manifest.kept)
        size = max(n for n in range(1, min(videos, _LARGEST_BATCH) + 1) if videos % n == 0)
        return ClipLoader(bad, clip=recipe.clip, seed=args.seed or 0, batch_size=size, graph=pipe.train_pipe, **shared)
    clip = Multi(1 if args.split == "val" else VIEWS["10x3"], recipe.clip)
    return ClipLoader(bad, train=False, clip=clip, batch_size=_LARGEST_BATCH, graph=pipe.eval_pipe, **shared)


def _rows(batches: Iterator[Batch], bad: BadVideos) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yields every clip that counts, uint8 [T, H, W, C], with what is known of it; views come in their order."""
    seen: Counter[int] = Counter()
    for batch in batches:
        clips = batch.clip.cpu().numpy()
        for clip, label, index, valid in zip(
            clips, *(x.tolist() for x in (batch.label, batch.index, batch.valid)), strict=True
        ):
            if valid:
                row = int(bad.manifest.kept[index])
                facts = {"path": bad.manifest.listing.videos[row], "label": label, "index": row, "view": seen[index]}
                yield clip.copy(), facts | {"planned": index}  # the batch's memory is the loader's
                seen[index] += 1


def _lines(plan: TrainPlan | EvalPlan, facts: dict[str, Any], listing: Listing, epoch: int) -> list[Any]:
    """Returns what stands above a clip: class, file, and how it was cut out."""
    index, view = facts["planned"], facts["view"]
    name = listing.classes[facts["label"]] if listing.classes else f"class {facts['label']}"
    if isinstance(plan, TrainPlan):
        sample, how = plan.draw(epoch, index), ""
    else:
        sample = plan.views(index)[view]
        how = f"clip {view % plan.num_clips + 1}, crop {view // plan.num_clips + 1}, " if plan.num_views > 1 else "centre, "
    texts = [name, facts["path"], how + _frames_of(sample.frames.tolist(), plan), _box_of(sample, plan)]
    return [(text, INK) for text in texts]


def _frames_of(frames: Sequence[int], plan: TrainPlan | EvalPlan) -> str:
    if len(frames) == 1:
        return f"frame {frames[0]}"
    if not _is_dense(plan):
        return f"{len(frames)} frames, {frames[0]} to {frames[-1]}"
    return f"frames {frames[0]} to {frames[-1]}, {frames[1] - frames[0]} apart"


def _is_dense(plan: TrainPlan | EvalPlan) -> bool:
    sampling = plan.sampling
    return isinstance(sampling_of(sampling.clip) if isinstance(sampling, Multi) else sampling, Dense)


def _box_of(sample: Sample, plan: TrainPlan | EvalPlan) -> str:
    width, height = int(plan.videos.width[sample.index]), int(plan.videos.height[sample.index])
    x0, y0, x1, y1 = (sample.boxes[0] * (width, height, width, height)).round().astype(int).tolist()
    return f"{x1 - x0}x{y1 - y0} at ({x0}, {y0}) of {width}x{height}{', mirrored' if sample.flip else ''}"
