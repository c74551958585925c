"""From the flags of `train` to what a run reads, where it writes and what it goes on from; the same on all ranks."""

import argparse
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.commands.data_flags import label_names, training_lists, with_classes
from c2d_fast.commands.dataset import scored_videos, training_videos, wait_policy_of
from c2d_fast.commands.label_kinds import check_says_something, of_kind
from c2d_fast.commands.resume import check_classes, known_paths, read_resumed, same_lists
from c2d_fast.errors import UserError
from c2d_fast.lists.listing import Listing
from c2d_fast.manifest.bad_videos import BadVideos, parse_limit
from c2d_fast.recipe import PipeFile, Recipe, load_pipe
from c2d_fast.training.distributed import Group
from c2d_fast.training.folder_lock import FolderLock
from c2d_fast.training.run_folder import check_folder, check_holds_none, choose_folder, make_folder
from c2d_fast.video.storage_wait import wait_for_paths

_BALANCE = "labels.balance=true"


@dataclass(kw_only=True)
class RunData:
    """What a run is made from."""

    pipe: PipeFile
    recipe: Recipe
    """With the number of classes that the flags give it."""
    lists: list[Listing]
    train: BadVideos
    val: BadVideos | None
    folder: Path
    """Where it writes; it may not exist yet."""
    resumed: dict[str, Any] | None
    """The checkpoint that it goes on from, and where that was: "path"."""
    restarted: bool
    """Whether torchrun has started it again."""
    lock: FolderLock
    """Of the folder, held by the first rank, once the folder exists."""

    @property
    def classes(self) -> list[str] | None:
        """Returns the classes' names, where the training list has any."""
        names = self.lists[0].classes
        return list(names) if names else None

    @property
    def sha256(self) -> str:
        """Returns a hash of which training videos are used, and in which order: with the seed it decides all batches."""
        return hashlib.sha256(self.train.manifest.kept.astype("<i8", copy=False).data).hexdigest()

    def recipe_facts(self) -> dict[str, Any]:
        """Returns what is recorded of the recipe: all of it, its hash, what --set has changed, and the pipe file's text."""
        text = self.pipe.path.read_text()
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return {
            "recipe": self.recipe.as_dict(),
            "recipe_sha256": self.recipe.sha256,
            "overrides": list(self.pipe.overrides),
            "pipe_file": {"path": self.pipe.recorded_path, "sha256": sha256, "text": text},
        }

    def open_folder(self, group: Group) -> None:
        """Makes the run folder and takes its lock, if that has not been done.

        Raises:
            UserError: it cannot be written, or another run has just begun there.
        """

        def open_() -> None:
            make_folder(self.folder)
            if not self.lock.is_held:
                self.lock.take(self.folder)
                if self.resumed is None:
                    check_holds_none(self.folder)

        group.run_on_all(lambda: open_() if group.is_first else None)


@contextmanager
def prepare_data(args: argparse.Namespace, group: Group) -> Iterator[RunData]:
    """Reads lists and files, as far as nothing must be written. The run folder is locked until the end of the context.

    Raises:
        UserError: anything that the user can mend.
    """
    with FolderLock() as lock:
        yield _read(args, group, lock)


def _read(args: argparse.Namespace, group: Group, lock: FolderLock) -> RunData:

    def read_flags() -> tuple[tuple[float, bool], PipeFile]:
        return parse_limit(args.max_bad_videos), _load_pipe(args)

    def read_classes() -> tuple[tuple[str, ...] | None, Recipe]:
        names = label_names(args)
        return names, with_classes(pipe.recipe, args, names)

    limit, pipe = group.run_on_all(read_flags)
    # A run that goes on waits for its files, of which the label map may be one; of a new one the flags are looked at first.
    names, recipe = (None, pipe.recipe) if args.resume else group.run_on_all(read_classes)
    # Each machine counts its own restarts only.
    restarts = max(group.all_gather_object(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))))
    folder, source = group.run_on_first(lambda: choose_folder(args.out, args.resume, pipe.recipe.name, restarts))
    group.run_on_all(lambda: _lock(folder, lock, new=source is None) if group.is_first else None)
    # Read once and sent to the others: they see the same checkpoint, whatever their machine's disks hold.
    resumed = group.run_on_first(lambda: read_resumed(source))
    if resumed:  # what it has read before is there, or will be again
        given = (args.train_list, args.val_list, args.data_root, args.val_root)
        group.run_on_all(lambda: wait_for_paths(known_paths(resumed, given), wait_policy_of(args)))
    if args.resume:
        names, recipe = group.run_on_all(read_classes)
    train_list, val_list = group.run_leaders_first(lambda: _lists(args, recipe, names))
    group.run_on_first(lambda: check_folder(folder))
    group.run_on_first(lambda: check_classes(resumed, train_list) if resumed else None)
    rows = resumed.get("left_out_rows") if resumed and same_lists(resumed, train_list) else None
    is_resumed = isinstance(rows, list)
    train = group.run_leaders_first(lambda: training_videos(train_list, args, limit, is_resumed=is_resumed))
    val = group.run_leaders_first(lambda: scored_videos(val_list, args, is_resumed=is_resumed)) if val_list else None
    if isinstance(rows, list):
        train.exclude_only(rows)
    data = RunData(
        pipe=pipe,
        recipe=recipe,
        lists=[item for item in (train_list, val_list) if item],
        train=train,
        val=val,
        folder=folder,
        resumed=resumed,
        restarted=restarts > 0,
        lock=lock,
    )
    _check_same_videos(data, group)
    return data


def _load_pipe(args: argparse.Namespace) -> PipeFile:
    """Loads the pipe file, its recipe as --set and --balance change it."""
    if not args.balance:
        return load_pipe(args.pipe, args.set)
    for word in args.set:
        name, _, text = word.partition("=")
        if name.strip() == "labels.balance" and text.strip().lower() != "true":
            raise UserError(f"--balance: --set {word} says otherwise; leave one of them out")
    others = [word for word in args.set if word.partition("=")[0].strip() != "labels.balance"]
    try:
        return load_pipe(args.pipe, [*others, _BALANCE])
    except UserError as error:
        raise UserError(str(error).replace(f"--set {_BALANCE}", "--balance")) from error


def _lists(args: argparse.Namespace, recipe: Recipe, names: tuple[str, ...] | None) -> tuple[Listing, Listing | None]:
    train, val = training_lists(args, recipe, names)
    train, val = of_kind(train, recipe.labels), of_kind(val, recipe.labels) if val else None
    if not recipe.distill:  # a teacher can do without labels
        check_says_something(train, recipe.labels, "--train-list")
    if val:
        check_says_something(val, recipe.labels, "--val-list")
    return train, val


def _lock(folder: Path, lock: FolderLock, *, new: bool) -> None:
    if folder.is_dir():
        lock.take(folder)
    if new:
        check_holds_none(folder)


def _check_same_videos(data: RunData, group: Group) -> None:
    """Compares what the ranks see: with other videos a rank would draw other batches, and nobody would notice."""
    digest = hashlib.sha256()
    for bad in (data.train, data.val) if data.val else (data.train,):
        digest.update(np.ascontiguousarray(bad.manifest.kept).data)
        digest.update(bad.manifest.facts["frames"].astype("<i4").data)
    hashes, counts = group.all_gather_object(digest.hexdigest()), group.all_gather_object(len(data.train.manifest.kept))

    def check() -> None:
        other = next((rank for rank, value in enumerate(hashes) if value != hashes[0]), None)
        if other is not None:
            raise UserError(
                f"rank {other} sees other videos than rank 0 ({counts[other]} usable ones for training, {counts[0]} there): "
                "all machines must have the same files; prepare scan --out FILE on one of them, and give that manifest to all"
            )

    group.run_on_all(check)
