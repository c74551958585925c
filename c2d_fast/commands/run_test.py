"""Puts a test together from the flags: a checkpoint's score on a list."""

import argparse
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from c2d_fast import console
from c2d_fast.commands.data_flags import check_label_map, label_names, one_list, require_list
from c2d_fast.commands.dataset import choose_device, loader_options, scored_videos
from c2d_fast.commands.label_kinds import of_kind
from c2d_fast.commands.thresholds import check_kind, write_thresholds
from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write, check_is_no_input, check_writable
from c2d_fast.formats.schemas import encode
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.frame_sampling import Multi
from c2d_fast.loading.plan import VIEWS
from c2d_fast.manifest.manifest import Manifest
from c2d_fast.model.c2d import C2D, compile_model
from c2d_fast.model.model_file import read_model_file
from c2d_fast.model.precision import Precision
from c2d_fast.model.weights import describe, model_for
from c2d_fast.recipe import PipeFile, Recipe, load_pipe
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.determinism import tune_kernels
from c2d_fast.training.distributed import Group, group_of_environment
from c2d_fast.training.evaluate import evaluate
from c2d_fast.training.run_folder import describe_run


def run_test(args: argparse.Namespace) -> None:
    """Scores as the flags of `c2d_fast.test` say, in one process or as one of torchrun's.

    Raises:
        UserError: anything that the user can mend.
    """
    with group_of_environment(vars(args).keys()) as group:
        _test(args, group)


def _prepare(args: argparse.Namespace) -> tuple[PipeFile, Recipe, C2D, Listing]:
    """Reads what is scored, and on what."""
    _check_outputs(args)
    pipe, names = load_pipe(args.pipe, args.set), label_names(args)
    require_list(args, pipe.recipe)
    file = read_model_file(args.checkpoint, "--checkpoint")
    check_label_map(args, names, file)
    num_classes = args.num_classes or (len(names) if names else None)
    model, recipe = model_for(pipe.recipe, file, f"--checkpoint {args.checkpoint}", num_classes)
    print(describe(file, recipe))
    check_kind("--thresholds", args.thresholds, recipe.labels.kind)
    listing = one_list(args, recipe, names or file.classes, "val", may_number=file.form != "ours")
    return pipe, recipe, model, of_kind(listing, recipe.labels)


def _test(args: argparse.Namespace, group: Group) -> None:
    pipe, recipe, model, listing = group.run_leaders_first(lambda: _prepare(args))
    bad = group.run_leaders_first(lambda: scored_videos(listing, args))
    device = choose_device()
    num_clips = VIEWS[args.views]
    batch_size = args.batch_size or recipe.training.clips_per_gpu
    tune_kernels(device)
    options = loader_options(bad, args, device, recipe, batch_size=batch_size, group=group, measures="faster")
    source = ClipLoader(
        bad,
        train=False,
        clip=Multi(num_clips, recipe.clip),
        crop=recipe.crop,
        num_classes=recipe.model.num_classes,
        batch_size=batch_size,
        pad_last=True,
        rank=group.rank,
        world_size=group.world,
        graph=pipe.eval_pipe,
        options=options,
    )
    precision = Precision.choose(args.precision, device)
    scores = evaluate(
        compile_model(model.to(device), args.compile, device),
        source,
        num_classes=recipe.model.num_classes,
        average_probabilities=recipe.model.temporal_pool,
        precision=precision,
        labels=recipe.labels,
        num_listed=len(listing),
        group=group,
    )
    assert scores is not None  # nothing asks it to give up
    for rank, pending in enumerate(group.all_gather_object(bad.pop_pending())):
        bad.add_from_rank(rank, pending if rank != group.rank else [])
    decoder = f"hybrid {options.hybrid_share:g}" if options.decoder == "hybrid" else options.decoder
    how = {"views": args.views, "decoder": decoder, "precision": precision.name, "device": str(device)}
    result = _result(scores, listing.facts(), how)
    try:
        if args.dump and group.is_first:
            config = describe_run(
                vars(args), recipe=recipe.as_dict(), classes=listing.classes, left_out=bad.found, result=result
            )
            _dump(args.dump, scores, bad.manifest, config)
        if args.thresholds and group.is_first:
            write_thresholds(args.thresholds, scores, listing.classes)
    finally:  # whatever becomes of the dump, the scores are not lost
        share = scores.coverage_text()
        console.result(f"list {listing.summary()}; views {args.views}; decoder {decoder}; precision {precision.name}{share}")
        _print_scores(result, recipe, args.views, share)
    group.run_on_all(bad.check_all_scored)


def _result(scores: Scores, listing: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Returns the scores with all that they hold for: plain numbers and strings."""
    without = scores.num_scored - int(scores.counted.sum())
    return {
        "top1": scores.top(1),
        "top5": scores.top(5),
        "mean_class_accuracy": scores.mean_class_accuracy(),
        **({"mAP": scores.mean_average_precision()} if scores.kind == "several" else {}),
        "videos_scored": scores.num_scored,
        **({"videos_without_label": without} if without else {}),
        **({"labels": scores.kind} if scores.kind != "single" else {}),
        "list": listing,
        **how,
    }


def _print_scores(result: dict[str, Any], recipe: Recipe, views: str, share: str) -> None:
    if "videos_without_label" in result:
        console.result(f"note: {result['videos_without_label']} videos have no label, and count in no figure")
    if recipe.published and "mAP" not in result:
        console.result(
            f"published (Kinetics-400, 10x3): top-1 {recipe.published.top1:.2f} %, top-5 {recipe.published.top5:.2f} %"
        )
    console.result(f"mean class accuracy {result['mean_class_accuracy']:.1f} %{share}")
    console.result(f"top-5 {result['top5']:.1f} %{share}")
    name = "validation" if views == "1x1" else views
    chance = "" if "mAP" in result else f" (chance {100 / recipe.model.num_classes:.1f} %)"
    console.result(f"{name} top-1 {result['top1']:.1f} %{chance}{share}")
    if "mAP" in result:
        console.result(f"{name} mAP {result['mAP']:.1f} %{share}")


def _check_outputs(args: argparse.Namespace) -> None:
    if args.dump is not None:
        if args.dump.suffix not in (".pkl", ".json"):
            raise UserError(f"--dump {args.dump}: must end in .pkl or .json")
        check_writable(args.dump, "--dump")
    if args.thresholds is not None:
        check_writable(args.thresholds, "--thresholds")
        if args.dump and args.thresholds.absolute() in (args.dump.absolute(), _summary_path(args.dump).absolute()):
            raise UserError(f"--thresholds {args.thresholds}: is what --dump writes; give another file")
        check_is_no_input(args.thresholds, "--thresholds", (args.checkpoint, args.list, args.label_map, args.pipe))


def _summary_path(dump: Path) -> Path:
    return dump.with_name(dump.name + ".summary.json")


def _dump(path: Path, scores: Scores, manifest: Manifest, config: dict[str, Any]) -> None:
    """Writes the scored videos as a list of {path, label, scores}, and beside it a summary: what they were scored with.

    The label is a list where videos may have several, and None where the list says nothing of the video. With shares of classes
    the row has "weights" beside it.

    Raises:
        UserError: they cannot be written; then neither of the two is.
    """
    summary = _summary_path(path)
    try:
        # The summary gets its name first: there is never a dump without one.
        with atomic_write(path) as partial, atomic_write(summary) as partial_summary:
            with partial.open("wb") as file:
                file.writelines(_pickled(_rows(scores, manifest)) if path.suffix == ".pkl" else _json(_rows(scores, manifest)))
            partial_summary.write_text(encode(config, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"--dump {path}: it and its summary cannot be written ({error.strerror}); free the disk or give another file"
        ) from error
    print(f"scores of {scores.num_scored} videos written to {path}")


def _rows(scores: Scores, manifest: Manifest) -> Iterator[dict[str, Any]]:
    columns = (manifest.kept.tolist(), scores.labels.tolist(), scores.scores, scores.scored.tolist())
    for row, (index, label, of_classes, scored) in enumerate(zip(*columns, strict=True)):
        if scored:
            said = {"label": label if label >= 0 else None} if scores.targets is None else _labels(scores, row)
            yield {"path": manifest.listing.videos[index], **said, "scores": of_classes.tolist()}


def _labels(scores: Scores, row: int) -> dict[str, Any]:
    """Returns the labels of a video of a list of several, or of shares."""
    assert scores.targets is not None
    if not scores.counted[row]:
        return {"label": None}
    label = scores.targets[row].nonzero()[:, 0]
    weights = {"weights": scores.targets[row, label].tolist()} if scores.kind == "soft" else {}
    return {"label": label.tolist(), **weights}


def _pickled(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Yields a pickle of a list row by row: all of its numbers at once would take eight times the memory of the scores."""
    yield b"\x80\x03]("  # PROTO 3, EMPTY_LIST, MARK
    for row in rows:
        yield pickle.dumps(row, 3)[2:-1]  # without PROTO and STOP; in protocol 3 each row numbers its own memo
    yield b"e."  # APPENDS, STOP


def _json(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    yield b"["
    for count, row in enumerate(rows):
        yield (b", " if count else b"") + json.dumps(row).encode()
    yield b"]"
