"""From the data flags of the commands to lists: which files, which classes."""

import argparse
from pathlib import Path

from c2d_fast.commands.label_kinds import label_to_ignore
from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import check_same_classes, read_label_map
from c2d_fast.lists.listing import Listing, read_list
from c2d_fast.model.model_file import ModelFile
from c2d_fast.prepare.demo_data import DEMO_FOLDER, make_demo_data
from c2d_fast.recipe import Recipe

_SHAPES = (
    "a manifest, a list with a `relative/path.mp4 label` on each line, Kinetics' CSV, or a folder with a folder for each class"
)


def label_names(args: argparse.Namespace) -> tuple[str, ...] | None:
    """Returns the names of --label-map, None without it.

    Raises:
        UserError: it cannot be read, or --num-classes says another number.
    """
    if not args.label_map:
        return None
    names = read_label_map(args.label_map)
    if args.num_classes not in (None, len(names)):
        raise UserError(
            f"label map {args.label_map}: has {len(names)} classes, --num-classes is {args.num_classes}; correct either"
        )
    return names


def check_label_map(args: argparse.Namespace, names: tuple[str, ...] | None, file: ModelFile) -> None:
    """Compares --label-map with the checkpoint that it is to name the classes of.

    Raises:
        UserError: it has another number of classes, or others than the checkpoint knows.
    """
    if names and file.num_classes not in (None, len(names)):
        raise UserError(
            f"label map {args.label_map}: has {len(names)} classes, --checkpoint {args.checkpoint} has {file.num_classes}; "
            "give the one that it was trained with"
        )
    if names and file.classes:
        check_same_classes(names, file.classes, f"--label-map {args.label_map}", "the checkpoint knows its own: leave it out")


def with_classes(recipe: Recipe, args: argparse.Namespace, names: tuple[str, ...] | None) -> Recipe:
    """Returns the recipe with as many classes as --num-classes or the label map says."""
    return recipe.with_num_classes(args.num_classes or len(names or ()) or recipe.model.num_classes)


def training_lists(args: argparse.Namespace, recipe: Recipe, names: tuple[str, ...] | None) -> tuple[Listing, Listing | None]:
    """Reads the training list and the validation list, if there is one, and says what they are.

    Args:
        args: of the training command.
        recipe: with the number of classes that the flags give it.
        names: of the classes, where a label map was given.

    Raises:
        UserError: a list is missing or wrong.
    """
    train_list, val_list, root = args.train_list, args.val_list, args.data_root
    if not (train_list or val_list or root) and recipe.generated_data:
        print(make_demo_data(DEMO_FOLDER))
        train_list, val_list, root = DEMO_FOLDER / "train.txt", DEMO_FOLDER / "val.txt", DEMO_FOLDER
        names = names or _demo_names(recipe)
    if not train_list:
        raise UserError(
            f"--train-list is missing: {recipe.name} has no data of its own; give --data-root DIR --train-list FILE "
            f"--val-list FILE, each {_SHAPES}"
        )
    num_classes, ignore = recipe.model.num_classes, label_to_ignore(recipe.labels)
    train = read_list(train_list, root, num_classes, classes=names, video_name=args.video_name, ignore=ignore)
    print(f"training list {train.summary()}")
    if not val_list:
        print("no --val-list: nothing is validated, and best.pt is the last epoch's model")
        return train, None
    # A class has the label that it was trained with, also where validation lacks some of them.
    val_root = args.val_root or root
    video_name = args.val_video_name or args.video_name
    val = read_list(val_list, val_root, num_classes, classes=train.classes, video_name=video_name, ignore=ignore)
    if train.classes is None and val.classes is not None:
        raise UserError(
            f"list {val_list}: gives class names, the training list numbers; say which name has which number with --label-map"
        )
    print(f"validation list {val.summary()}")
    return train, val


def require_list(args: argparse.Namespace, recipe: Recipe) -> None:
    """Says early that --list is missing: only a recipe with generated data can do without.

    Raises:
        UserError: it is.
    """
    if not args.list and (args.data_root or not recipe.generated_data):
        raise UserError(f"--list is missing: {recipe.name} has no data of its own; give --data-root DIR --list FILE, {_SHAPES}")


def one_list(
    args: argparse.Namespace, recipe: Recipe, names: tuple[str, ...] | None, split: str, *, may_number: bool = True
) -> Listing:
    """Reads the list of --list; a recipe with generated data has its own.

    Args:
        args: of the command.
        recipe: with the model's number of classes.
        names: of the classes, where they are known.
        split: train or val, of the generated data.
        may_number: whether classes may be numbered in alphabetical order where nothing else says their numbers.

    Raises:
        UserError: the list is missing or wrong.
    """
    require_list(args, recipe)
    path, root = args.list, args.data_root
    if not path:
        print(make_demo_data(DEMO_FOLDER))
        path, names = DEMO_FOLDER / f"{split}.txt", names or _demo_names(recipe)
    num_classes, ignore = recipe.model.num_classes, label_to_ignore(recipe.labels)
    listing = read_list(path, root, num_classes, classes=names, video_name=args.video_name, ignore=ignore)
    if listing.classes and not (names or may_number):
        raise UserError(
            f"list {path}: gives class names, and the checkpoint was trained with numbers; say which name has which number "
            "with --label-map"
        )
    return listing


def _demo_names(recipe: Recipe) -> tuple[str, ...] | None:
    names = read_label_map(Path(DEMO_FOLDER / "labels.txt"))
    return names if len(names) == recipe.model.num_classes else None
