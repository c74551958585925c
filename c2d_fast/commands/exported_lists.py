"""`export` on lists: the clips that int8 takes its ranges from, and what an exported file is worth on a list's videos."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from c2d_fast.commands.data_flags import one_list
from c2d_fast.commands.dataset import choose_device, loader_options, scored_videos
from c2d_fast.commands.label_kinds import of_kind
from c2d_fast.console import result
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.batch import Batch
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.model.c2d import C2D
from c2d_fast.model.compared import Clips, Run
from c2d_fast.model.model_file import ModelFile
from c2d_fast.recipe import PipeFile, Recipe
from c2d_fast.reporting.scores import Scores

_BATCH = 8  # clips at a time, on a CPU


@dataclass(frozen=True)
class Videos:
    """The videos of a list, each shown as validation shows it: one clip from its middle, cut from the centre."""

    bad: BadVideos
    recipe: Recipe
    pipe: PipeFile
    args: argparse.Namespace

    def __len__(self) -> int:
        return len(self.bad.manifest.kept)

    def batches(self) -> Iterator[Batch]:
        """Yields their views, on the CPU, in the list's order.

        Raises:
            UserError: a video does not decode, unless --allow-missing.
        """
        device = choose_device()
        options = loader_options(self.bad, self.args, device, self.recipe, batch_size=_BATCH)
        source = ClipLoader(
            self.bad,
            train=False,
            clip=self.recipe.clip,
            crop=self.recipe.crop,
            num_classes=self.recipe.model.num_classes,
            batch_size=_BATCH,
            rank=0,
            world_size=1,
            graph=self.pipe.eval_pipe,
            options=options,
        )
        with source:
            for batch in source:
                yield batch.to("cpu")
        self.bad.pop_pending()
        self.bad.check_all_scored()

    def clips(self) -> Iterator[Clips]:
        """Yields the same as arrays."""
        for batch in self.batches():
            yield batch.clip.numpy()


def open_videos(
    path: str,
    args: argparse.Namespace,
    file: ModelFile,
    classes: tuple[str, ...] | None,
    pipe: PipeFile,
    recipe: Recipe,
    *,
    most: int | None = None,
) -> Videos:
    """Reads a list.

    Args:
        path: of the list.
        args: of the command.
        file: the checkpoint.
        classes: their names, where they are known.
        pipe: whose graph makes the views.
        recipe: with the model's number of classes.
        most: of its videos; they are taken at even distances, the same ones every time.

    Raises:
        UserError: the list is wrong, or videos are missing.
    """
    of_list = argparse.Namespace(**{**vars(args), "list": path})
    listing = one_list(of_list, recipe, classes, "val", may_number=file.form != "ours")
    listing = _some(listing, most) if most else of_kind(listing, recipe.labels)
    return Videos(scored_videos(listing, args), recipe, pipe, args)


def _some(listing: Listing, most: int) -> Listing:
    """Returns so many of a list's videos, without what is known of them: they are few."""
    rows = np.unique(np.linspace(0, len(listing) - 1, min(most, len(listing))).round().astype(int)).tolist()
    videos, labels, lines = ([column[row] for row in rows] for column in (listing.videos, listing.labels, listing.lines))
    return replace(
        listing,
        videos=tuple(videos),
        labels=tuple(labels),
        lines=tuple(lines),
        scanned=None,
        packet_table=None,
        label_sets=None,
    )


def compare_on(videos: Videos, model: C2D, run: Run, name: str, *, has_labels: bool) -> None:
    """Prints what an exported file is worth beside PyTorch's float32, on the same views.

    Args:
        videos: of a list.
        model: on the CPU.
        run: computes the file's outputs, logits first.
        name: of the file.
        has_labels: whether the labels count, or the list is only looked at.
    """
    before, after, labels, targets = _logits(videos, model, run)
    listed = videos.bad.manifest.listing
    many, kind = f"{len(before)} videos of {listed.path.name}", videos.recipe.labels.kind
    if has_labels and not (labels < 0).all():
        for logits, what in ((before, "PyTorch, fp32"), (after, name)):
            scores = Scores(
                logits.sigmoid() if kind == "several" else logits.softmax(1),
                torch.ones(len(logits), dtype=torch.bool),
                labels,
                targets=targets,
                kind=kind,
                ignores=videos.recipe.labels.ignore is not None,
            )
            headline = scores.headline
            result(f"  {what}: {headline.name} {headline.value:.1f} % ({many}, one centre view each)")
    if kind == "several":  # a probability of 0.5 is a logit of 0
        same, what = int(((before >= 0) == (after >= 0)).all(1).sum()), "the classes that reach 0.5 are"
    else:
        same, what = int((before.argmax(1) == after.argmax(1)).sum()), "the best class is"
    difference = float((before - after).abs().max())
    result(
        f"  {what} the same for {same} of {many}; logits differ by {difference:.2g} at most, "
        f"the largest is {float(before.abs().max()):.3g}"
    )


def _logits(videos: Videos, model: C2D, run: Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Returns PyTorch's logits and the file's, float32 [videos, K], labels, and targets where the kind has any."""
    model.eval()
    before, after, labels, targets = [], [], [], []
    for batch in videos.batches():
        with torch.inference_mode():
            before.append(model(batch.clip))
        after.append(torch.from_numpy(run(batch.clip.numpy())[0]))
        labels.append(batch.label)
        targets += [batch.targets] if batch.targets is not None else []
    return torch.cat(before), torch.cat(after), torch.cat(labels), torch.cat(targets) if targets else None
