"""Puts a test together from the flags: a checkpoint's score on a list."""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np

from c2d_fast import checkpoint
from c2d_fast.dataset import choose_device, loader_options, scored_videos
from c2d_fast.demo_data import DEMO_FOLDER, make_demo_data
from c2d_fast.errors import UserError
from c2d_fast.evaluate import Scores, evaluate
from c2d_fast.listing import Listing, read_list
from c2d_fast.loader import EvalLoader
from c2d_fast.manifest import Manifest
from c2d_fast.model import C2D, compile_model
from c2d_fast.plan import VIEWS, EvalPlan, Videos
from c2d_fast.precision import Precision
from c2d_fast.recipe import Recipe, load_pipe
from c2d_fast.weights import load_checkpoint

_DECODED_BYTES = 512 * 2**20  # of a batch of videos; DALI holds about three


def run_test(args: argparse.Namespace) -> None:
    """Scores as the flags of `c2d_fast.test` say.

    Raises:
        UserError: anything that the user can mend.
    """
    _check_dump(args.dump)
    pipe = load_pipe(args.pipe)
    uses_demo_data = _uses_demo_data(args, pipe.recipe)
    content = checkpoint.load(args.checkpoint, "--checkpoint")
    recipe = pipe.recipe.with_num_classes(len(content["model"]["fc.bias"]))
    model = C2D(recipe.model)
    load_checkpoint(model, content, recipe, f"--checkpoint {args.checkpoint}")
    if uses_demo_data:
        print(make_demo_data(DEMO_FOLDER))
    listing = read_list(DEMO_FOLDER / "val.txt" if uses_demo_data else args.list, args.data_root, recipe.model.num_classes)
    bad = scored_videos(listing, args)
    device = choose_device()
    options = loader_options(bad, args, device)
    num_clips = VIEWS[args.views]
    batch_size = args.batch_size or recipe.training.clips_per_gpu
    videos = bad.manifest.videos()
    plan = EvalPlan(
        videos=videos,
        clip=recipe.clip,
        crop=recipe.crop,
        batch_size=min(batch_size, _videos_at_a_time(videos, num_clips * recipe.clip.num_frames)),
        num_clips=num_clips,
    )
    source = EvalLoader(pipe.eval_pipe, plan, options, bad, views_per_batch=batch_size)
    scores = evaluate(
        compile_model(model.to(device), args.compile, device),
        source,
        num_classes=recipe.model.num_classes,
        average_probabilities=recipe.model.temporal_pool,
        precision=Precision.choose(args.precision, device),
        num_listed=len(listing),
    )
    if args.dump:
        _dump(args.dump, scores, bad.manifest)
    _print_scores(scores, listing, recipe, args.views, options.decoder)


def _uses_demo_data(args: argparse.Namespace, recipe: Recipe) -> bool:
    if args.list:
        return False
    if recipe.generated_data and not args.data_root:
        return True
    raise UserError(f"--list is missing: {recipe.name} has no data of its own; give --data-root DIR --list FILE")


def _videos_at_a_time(videos: Videos, frames_wanted: int) -> int:
    """Returns how many of the videos may be decoded together: all frames that their views need are held whole."""
    frames = np.minimum(videos.num_frames, frames_wanted)
    return max(int(_DECODED_BYTES // (frames * videos.width * videos.height * 3).max()), 1)


def _print_scores(scores: Scores, listing: Listing, recipe: Recipe, views: str, decoder: str) -> None:
    share = scores.share()
    print(f"list {listing.summary()}; views {views}; decoder {decoder}{share}")
    if recipe.published:
        print(f"published (Kinetics-400, 10x3): top-1 {recipe.published.top1:.2f} %, top-5 {recipe.published.top5:.2f} %")
    print(f"top-5 {scores.top(5):.1f} %{share}")
    name = "validation" if views == "1x1" else views
    print(f"{name} top-1 {scores.top(1):.1f} % (chance {100 / recipe.model.num_classes:.1f} %){share}")


def _check_dump(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix not in (".pkl", ".json"):
        raise UserError(f"--dump {path}: must end in .pkl or .json")
    if not path.parent.is_dir():
        raise UserError(f"--dump {path}: its folder does not exist; make it first")


def _dump(path: Path, scores: Scores, manifest: Manifest) -> None:
    """Writes the scored videos as a list of {path, label, scores}: plain strings, ints and floats."""
    rows = [
        {"path": manifest.listing.videos[place], "label": manifest.listing.labels[place], "scores": row}
        for place, row, scored in zip(manifest.kept, scores.scores.tolist(), scores.scored.tolist(), strict=True)
        if scored
    ]
    try:
        path.write_bytes(pickle.dumps(rows) if path.suffix == ".pkl" else json.dumps(rows).encode())
    except OSError as error:
        raise UserError(f"--dump {path}: cannot be written ({error.strerror})") from error
    print(f"scores of {len(rows)} videos written to {path}")
