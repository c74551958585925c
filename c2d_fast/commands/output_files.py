"""Which files `predict` writes of each video: what is named, or of a folder one of each form for every video."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.files import check_is_no_input, check_writable


def output_files(
    flag: str, given: Sequence[Path], paths: Sequence[Path], forms: Collection[str], checkpoint: Path
) -> list[list[Path]]:
    """Returns the files of each video.

    Args:
        flag: that names them.
        given: a folder that is there, or for a single video files.
        paths: the videos.
        forms: what the files' names may end in.
        checkpoint: is read, as the videos are.

    Raises:
        UserError: one cannot be written, would be that of two videos, or is something that is read.
    """
    targets = [_files_of(flag, given, path, forms, single=len(paths) == 1) for path in paths]
    taken: dict[str, Path] = {}
    for path, files in zip(paths, targets, strict=True):
        for target in files:
            check_writable(target, flag)
            check_is_no_input(target, flag, (*paths, checkpoint))
            other = taken.setdefault(os.path.realpath(target), path)
            if other != path:
                raise UserError(f"{flag} {target}: would be that of {other} and of {path}; give them one by one")
    return targets


def overlay_files(overlay: Path | None, paths: Sequence[Path]) -> list[Path]:
    """Returns where each video's overlay goes, none without --overlay.

    Raises:
        UserError: as output_files does.
    """
    if overlay is None:
        return []
    if len(paths) == 1 and not os.path.isdir(overlay):
        targets = [overlay]
        if overlay.suffix != ".mp4":
            raise UserError(f"--overlay {overlay}: must end in .mp4")
    elif os.path.isdir(overlay):
        targets = [overlay / f"{path.stem}.mp4" for path in paths]
    else:
        raise UserError(f"--overlay {overlay}: must be a folder that exists, for {len(paths)} videos; make it first")
    taken: dict[str, Path] = {}
    sources = {os.path.realpath(source) for source in paths}
    for path, target in zip(paths, targets, strict=True):
        check_writable(target, "--overlay")
        if os.path.realpath(target) in sources:
            raise UserError(f"--overlay {target}: is one of the videos, which are only read; give another place")
        if target != overlay and os.path.exists(target) and os.path.samefile(target.parent, path.parent):
            raise UserError(f"--overlay {overlay}: {target.name} is there, beside the videos; give another folder")
        other = taken.setdefault(target.name, path)
        if other != path:
            raise UserError(f"--overlay {target}: would be that of {other} and of {path}; give them one by one")
    return targets


def _files_of(flag: str, given: Sequence[Path], path: Path, forms: Collection[str], *, single: bool) -> list[Path]:
    if len(given) == 1 and os.path.isdir(given[0]):
        return [given[0] / f"{path.stem}{form}" for form in forms]
    if not single:
        raise UserError(f"{flag} {given[0]}: must be a folder that exists, for several videos; make it first")
    if wrong := next((file for file in given if file.suffix not in forms), None):
        raise UserError(f"{flag} {wrong}: must end in {', '.join(forms)}, or be a folder that exists")
    return list(given)
