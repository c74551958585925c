"""What a run is resumed from, and in what it then differs from what it was."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.lists.label_map import check_same_classes
from c2d_fast.lists.listing import Listing
from c2d_fast.model import checkpoint
from c2d_fast.recipe import stored_part
from c2d_fast.remote.remote_path import is_url, user_location
from c2d_fast.training.checkpoints import newest
from c2d_fast.training.trainer import Trainer


def read_resumed(source: Path | None) -> dict[str, Any] | None:
    """Reads the checkpoint that a run goes on from; None for a new run.

    Args:
        source: a checkpoint, or a run folder for its newest one that is whole.

    Raises:
        UserError: there is none that is whole.
    """
    if source is None:
        return None
    path, problems = source, list[str]()
    if source.is_dir():
        found = newest(source, "--resume")
        if found is None:
            raise UserError(f"--resume {source}: holds no checkpoint; give another folder")
        path, content, problems = found
    else:
        content = checkpoint.load(source, "--resume")
    for problem in problems:
        print(on_one_line(f"warning: {problem}; taking the one before"))
    progress = content["progress"]
    print(on_one_line(f"resuming from {path}, after epoch {progress['epoch']}, step {progress['step']}"))
    content["path"] = str(path)
    return content


def check_classes(content: dict[str, Any], train_list: Listing) -> None:
    """Compares a list with the classes that a checkpoint was trained with.

    Raises:
        UserError: they are others.
    """
    if train_list.classes and isinstance(content.get("classes"), list):
        remedy = "its classifier would mean others: give the same classes, or start a new run from it with --weights"
        check_same_classes(train_list.classes, tuple(map(str, content["classes"])), f"list {train_list.path}", remedy)


def known_paths(content: dict[str, Any], given: Iterable[str | Path | None]) -> list[str]:
    """Returns which of the paths given, and of their folders, a checkpoint's run has read before: lists and data roots.

    Of what is behind a URL the lists' files only: a server may have nothing to say of a folder.
    """
    lists = content.get("lists")
    items = [item for item in lists if isinstance(item, dict)] if isinstance(lists, list) else []
    before = {path for item in items for name in ("root", "path") if isinstance(path := item.get(name), str)}
    paths = [user_location(str(path)).absolute() for path in given if path]
    known = {str(path) for path in (*paths, *(path.parent for path in paths))} & before
    return sorted(known - {path for path in known if is_url(path) and all(path != item.get("path") for item in items)})


def restore(trainer: Trainer, content: dict[str, Any]) -> None:
    """Gives a trainer the checkpoint's state; the model has its weights already.

    Raises:
        UserError: it is of another kind of run.
    """
    try:
        trainer.restore(content)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise UserError(
            f"--resume {content['path']}: its optimizer or scaler is not of this run ({error!r:.200}); start anew from it with "
            "--weights"
        ) from error


def note_changes(content: dict[str, Any], identity: dict[str, Any]) -> None:
    """Says in what a resumed run differs from what it was: it goes on, but not as the same run would have."""
    for name, what in {"seed": "--seed", "videos": "other usable videos, sha256"}.items():
        if content.get(name) != identity[name]:
            print(on_one_line(f"note: it was trained with {what} {content.get(name)}, and goes on with {identity[name]}"))
    if _hashes(content) != _hashes(identity):
        print("note: it was trained or validated on other lists than these")
    before, now = (item if isinstance(item, dict) else {} for item in (content.get("used"), identity["used"]))
    for name in ("global_batch", "precision", "decoder", "hybrid_share", "base_lr", "teacher"):
        if (before.get(name) or None) != (now.get(name) or None):
            note = f"note: it was trained with {name.replace('_', ' ')} {before.get(name)}, and goes on with {now[name]}"
            print(on_one_line(note))
    for part, values in identity["recipe"].items():
        theirs = stored_part(content["recipe"], part)
        if theirs != values:
            had, has = _what_differs(theirs, values)
            print(on_one_line(f"note: its recipe had {part} {had}, and goes on with {has}"))
    versions = content.get("versions")
    changed = [
        name
        for name in identity["versions"]
        if not isinstance(versions, dict) or versions.get(name) != identity["versions"][name]
    ]
    if changed:
        print(f"note: it was trained with other versions of {', '.join(changed)}: weights may differ in their last bits")


def _what_differs(before: Any, now: Any) -> tuple[Any, Any]:
    """Returns of two parts of recipes the fields that differ; parts that are no fields as they are."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    names = [name for name in now if before.get(name) != now[name]]
    return {name: before.get(name) for name in names}, {name: now[name] for name in names}


def same_lists(content: dict[str, Any], train_list: Listing) -> bool:
    """Says whether a checkpoint's run was trained on a list."""
    return _hashes(content)[:1] == [train_list.facts()["sha256"]]


def _hashes(content: dict[str, Any]) -> list[Any]:
    lists = content.get("lists")
    return [item.get("sha256") for item in lists if isinstance(item, dict)] if isinstance(lists, list) else []
