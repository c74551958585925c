"""`prepare check`: finds videos that stand in two lists, or twice in one, by what is in them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from c2d_fast import console
from c2d_fast.errors import EndedError, UserError
from c2d_fast.files import check_is_no_input, check_writable
from c2d_fast.formats.packet_table import TableError
from c2d_fast.prepare.checked_lists import CheckedLists, read_manifest_list
from c2d_fast.prepare.contact_sheet import write_sheet
from c2d_fast.prepare.duplicates import Findings, unread_lines, write_clean_list, write_csv
from c2d_fast.prepare.frame_hash import FORMAT, NUM_FRAMES, check_packages, hash_frames
from c2d_fast.prepare.hash_file import HashFile
from c2d_fast.prepare.near_pairs import LEAST_COMMON, MOST_THRESHOLD, TooManyError, near_pairs
from c2d_fast.prepare.packet_hash import hash_packets, repeated, size_hashes

EXIT_FOUND = 3
"""The check was made, and something was found: not 1, which is a bug's."""


def run_check(args: argparse.Namespace) -> None:
    """Checks lists as the flags of `c2d_fast.prepare check` say.

    Raises:
        UserError: anything that the user can mend.
        EndedError: videos stand in both lists: the exit code is EXIT_FOUND.
    """
    if args.threshold > MOST_THRESHOLD:
        raise UserError(f"--threshold {args.threshold}: must be {MOST_THRESHOLD} bits of 64 at most; give less")
    if args.near:
        check_packages("prepare check")
    lists = _read_lists(args)
    hashes = args.hashes or _beside(args)
    _check_outputs(args, hashes)
    with HashFile(hashes, FORMAT) as kept, _said_when_interrupted(hashes):
        groups, unread = _exact_groups(lists, kept, args)
        findings = Findings(lists, groups)
        notes = unread_lines(lists, unread, "whose packets have the sizes of another's: they may be copies")
        if args.near:
            notes += _add_near(findings, kept, args)
    total = ", ".join(f"{one.listing.path.name}: {len(one.listing)} videos" for one in lists.lists)
    broken = int((~lists.is_good).sum())
    console.result(f"{total}; {broken} of them are broken, and not compared" if broken else total)
    console.result("\n".join([*findings.summary(), *notes]))
    if args.csv:
        write_csv(findings, args.csv)
        print(f"{len(findings.pairs)} pairs written to {args.csv}")
    if args.png:
        print(write_sheet(findings, args))
    if args.write_train:
        root = lists.lists[0].listing.root
        print(
            f"{write_clean_list(findings, args.write_train)} videos written to {args.write_train}; their paths are below {root}"
        )
    if findings.leaked:
        train, val = lists.lists
        raise EndedError(
            f"{findings.leaked_in(val.name)} of the {len(val.listing)} videos of {val.listing.path.name} have a copy in "
            f"{train.listing.path.name}: exit code {EXIT_FOUND}",
            EXIT_FOUND,
        )


def _read_lists(args: argparse.Namespace) -> CheckedLists:
    lists = [read_manifest_list("train", args.train, args.data_root)]
    if args.val is not None:
        if str(args.val) == str(args.train):
            raise UserError(f"--val {args.val}: is --train, too; give another manifest, or --train alone")
        lists.append(read_manifest_list("val", args.val, args.val_root or args.data_root))
    elif args.write_train:
        raise UserError("--write-train: leaves out videos that stand in --val, too; give --val")
    return CheckedLists(lists)


def _beside(args: argparse.Namespace) -> Path:
    """Returns where hashes are kept by default: beside the training list, or here where that is behind a URL."""
    return (
        args.train.with_name(f"{args.train.name}.hashes") if isinstance(args.train, Path) else Path(f"{args.train.name}.hashes")
    )


def _check_outputs(args: argparse.Namespace, hashes: Path) -> None:
    inputs = [path for path in (args.train, args.val) if isinstance(path, Path)]
    for flag, path in {"--hashes": hashes, "--csv": args.csv, "--png": args.png, "--write-train": args.write_train}.items():
        if path is not None:
            check_writable(path, flag)
            check_is_no_input(path, flag, inputs)


@contextmanager
def _said_when_interrupted(hashes: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted: what has been read is kept in {hashes}; the same command goes on")
        raise


def _exact_groups(lists: CheckedLists, kept: HashFile, args: argparse.Namespace) -> tuple[list[list[int]], dict[int, str]]:
    """Finds the videos with the same packets; returns groups of their numbers, and those that could not be confirmed."""
    parts = []
    for one in lists.lists:
        try:
            hashes, lacking = size_hashes(one)
        except TableError as error:
            raise UserError(f"{one.table[0]}: {error}; make it again with python -m c2d_fast.prepare scan") from error
        damaged = [row for row in lacking if not one.scanned.reasons[row]]
        if damaged:
            print(
                f"note: {one.table[0]}: knows nothing of {len(damaged)} videos, or is damaged there: scan again to compare them"
            )
        parts.append(hashes)
    alike = [group.tolist() for group in repeated(np.concatenate(parts))]
    places = {number: str(lists.video(number).path) for group in alike for number in group}
    files = {places[number]: number for group in alike if len({places[n] for n in group}) > 1 for number in reversed(group)}
    found = kept.hashed("packets", hash_packets, [lists.video(number) for number in files.values()], args)
    digests = {place: found[number].values for place, number in files.items()}
    groups: dict[tuple[str, ...], list[int]] = {}
    for group in alike:
        for number in group:
            groups.setdefault(digests.get(places[number]) or (places[number],), []).append(number)
    unread = {number: result.reason for number, result in found.items() if result.reason}
    return [group for group in groups.values() if len(group) > 1], unread


def _add_near(findings: Findings, kept: HashFile, args: argparse.Namespace) -> list[str]:
    """Adds the videos that look alike; returns lines on what could not be compared."""
    lists = findings.lists
    numbers = findings.representatives(np.flatnonzero(lists.is_good).tolist())
    videos = [lists.video(number) for number in numbers if findings.first_of(number) == number]
    found = kept.hashed("frames", hash_frames, videos, args)
    texts = [found[findings.first_of(number)].values or ("",) * NUM_FRAMES for number in numbers]
    hashes = np.array([[int(text or "0", 16) for text in some] for some in texts], np.uint64).reshape(-1, NUM_FRAMES)
    has_hash = np.array([[bool(text) for text in some] for some in texts], np.bool_).reshape(-1, NUM_FRAMES)
    unread = {number: result.reason for number, result in found.items() if result.reason}
    notes = unread_lines(lists, unread, "and are compared packet by packet only")
    flat = int((has_hash.sum(1) < LEAST_COMMON).sum()) - len(unread)
    if flat > 0:
        few = f"fewer than {LEAST_COMMON} of {NUM_FRAMES} frames with contrast"
        notes.append(f"{flat} videos have {few}, and are compared packet by packet only")
    try:
        pairs, distances = near_pairs(hashes, has_hash, args.threshold)
    except TooManyError as error:
        raise UserError(
            f"--threshold {args.threshold}: more than two million pairs look alike; lower it, or give --no-near"
        ) from error
    findings.add_near((np.array(numbers, np.int64)[pairs], distances))
    return notes
