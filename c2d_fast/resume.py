"""What a run is resumed from, and in what it then differs from what it was."""

from pathlib import Path
from typing import Any

from c2d_fast import checkpoint
from c2d_fast.checkpoints import newest
from c2d_fast.errors import UserError
from c2d_fast.label_map import check_same_classes
from c2d_fast.listing import Listing
from c2d_fast.trainer import Trainer


def read_resumed(source: Path | None, train_list: Listing) -> dict[str, Any] | None:
    """Reads the checkpoint that a run goes on from; None for a new run.

    Args:
        source: a checkpoint, or a run folder for its newest one that is whole.
        train_list: must not contradict the checkpoint's classes.

    Raises:
        UserError: there is none that is whole, or it is of other classes.
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
        print(f"warning: {problem}; taking the one before")
    progress = content["progress"]
    print(f"resuming from {path}, after epoch {progress['epoch']}, step {progress['step']}")
    content["path"] = str(path)
    if train_list.classes and isinstance(content.get("classes"), list):
        remedy = "its classifier would mean others: give the same classes, or start a new run from it with --weights"
        check_same_classes(train_list.classes, tuple(map(str, content["classes"])), f"list {train_list.path}", remedy)
    return content


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
            print(f"note: it was trained with {what} {content.get(name)}, and goes on with {identity[name]}")
    if _hashes(content) != _hashes(identity):
        print("note: it was trained or validated on other lists than these")
    before, now = (item if isinstance(item, dict) else {} for item in (content.get("used"), identity["used"]))
    for name in ("global_batch", "precision", "decoder", "hybrid_share", "base_lr"):
        if (before.get(name) or None) != (now[name] or None):
            print(f"note: it was trained with {name.replace('_', ' ')} {before.get(name)}, and goes on with {now[name]}")
    for part, values in identity["recipe"].items():
        theirs = content["recipe"].get(part)
        if theirs != values:
            print(f"note: its recipe had {part} {theirs}, and goes on with {values}")
    versions = content.get("versions")
    changed = [
        name
        for name in identity["versions"]
        if not isinstance(versions, dict) or versions.get(name) != identity["versions"][name]
    ]
    if changed:
        print(f"note: it was trained with other versions of {', '.join(changed)}: weights may differ in their last bits")


def same_lists(content: dict[str, Any], train_list: Listing) -> bool:
    """Says whether a checkpoint's run was trained on a list."""
    return _hashes(content)[:1] == [train_list.facts()["sha256"]]


def _hashes(content: dict[str, Any]) -> list[Any]:
    lists = content.get("lists")
    return [item.get("sha256") for item in lists if isinstance(item, dict)] if isinstance(lists, list) else []
