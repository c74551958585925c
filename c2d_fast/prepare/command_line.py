"""`python -m c2d_fast.prepare`: makes data sets."""

import argparse
import os
from typing import Any

from c2d_fast import cli
from c2d_fast.video.facts import DEPTHS


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command("prepare", "Makes data sets.", "python -m c2d_fast.prepare demo --out data/demo", quiet=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_list(commands)
    _add_scan(commands)
    _add_check(commands)
    _add_transcode(commands)
    _add_merge(commands)
    _add_show(commands)
    _add_demo(commands)
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def _add_demo(commands: Any) -> None:
    demo = cli.add_subcommand(
        commands,
        "demo",
        example="python -m c2d_fast.prepare demo --out data/demo",
        summary="generate the demo data set",
        description="Generates the demo data set.",
    )
    demo.add_argument("--out", type=cli.path, required=True, metavar="DIR", help="folder for videos, lists and labels.txt")


def _add_list(commands: Any) -> None:
    lists = cli.add_subcommand(
        commands,
        "list",
        example="python -m c2d_fast.prepare list --train videos/train --val videos/val --out lists",
        summary="make lists and a label map",
        description="Writes train.txt, val.txt and labels.txt (and missing.txt) for a folder of videos for each class, or for "
        "Kinetics' CSV files and the videos that are there. Nothing else is written, moved or deleted.",
    )
    lists.add_argument("--train", type=cli.path, required=True, metavar="FOLDER|CSV", help="the training split")
    lists.add_argument("--val", type=cli.path, metavar="FOLDER|CSV", help="the validation split")
    lists.add_argument(
        "--val-percent", type=cli.per_cent, default=0.0, metavar="P", help="or: so many of each class's training videos"
    )
    lists.add_argument("--seed", type=cli.not_negative, default=0, metavar="N", help="decides which (default 0)")
    root = "what paths are relative to, and where a CSV's videos are (default: the common folder)"
    lists.add_argument("--data-root", type=cli.path, metavar="DIR", help=root)
    lists.add_argument(
        "--val-root", type=cli.path, metavar="DIR", help="where those of the --val CSV are (default: --data-root)"
    )
    name = "of a CSV's files: {id} {start} {end} {label} {split} (default: as Kinetics comes)"
    lists.add_argument("--video-name", metavar="TEMPLATE", help=name)
    lists.add_argument(
        "--label-map", type=cli.path, metavar="FILE", help="class names by label (default: in alphabetical order)"
    )
    lists.add_argument("--out", type=cli.path, required=True, metavar="DIR", help="folder for the lists")


def _add_scan(commands: Any) -> None:
    scan = cli.add_subcommand(
        commands,
        "scan",
        example="python -m c2d_fast.prepare scan --list train.txt --data-root DIR --out train.npz",
        summary="examine every video of a list, write a manifest",
        description="Opens and decodes every video of a list, and writes what it finds to a manifest, which training and\n"
        "testing take in place of the list. It only reads: no video is moved, changed or deleted. It can be interrupted\n"
        "in any way; the same command goes on, and later reads only what is new or has changed.\n\n"
        "--depth full      decodes every frame. Misses damage that still decodes: most in VP8, VP9 and MJPEG, about half\n"
        "                  in HEVC, some in H.264, little in MPEG-4.\n"
        "--depth keyframes decodes key frames only. Misses damage in the frames between, which are most.\n"
        "--depth packets   decodes the first frame, reads the rest. Misses all damage that leaves the file's structure whole.\n"
        "All find files that do not open, hold no video or are cut short (mp4, Matroska, WebM, AVI), and count frames exactly.",
    )
    what = "`path.mp4 label` lines, ids, CSV (docs/lists.md), a folder for each class, or a manifest to bring up to date"
    scan.add_argument("--list", type=cli.location, required=True, metavar="LIST", help=what)
    scan.add_argument(
        "--data-root", type=cli.location, metavar="DIR", help="folder the list's paths are in (default: the list's)"
    )
    scan.add_argument("--video-name", metavar="TEMPLATE", help="of files where the list gives ids, e.g. '{id}.mp4'")
    scan.add_argument("--out", type=cli.path, required=True, metavar="FILE", help="the manifest, e.g. train.npz")
    scan.add_argument("--depth", choices=DEPTHS, default="full", help="how thoroughly (default: full)")
    table = "write where every packet lies, for reading only what a clip needs: FILE's name with .packets.npz (default: on)"
    scan.add_argument("--packets", action=argparse.BooleanOptionalAction, default=True, help=table)
    _add_children(scan)
    _add_machines(scan)
    scan.add_argument("--retry-broken", action="store_true", help="read files again that were found broken before")


def _add_machines(command: argparse.ArgumentParser) -> None:
    what = "do part I of N only, as one of N machines; prepare merge joins what they leave (docs/many-machines.md)"
    command.add_argument("--part", type=cli.part, metavar="I/N", help=what)
    what = "work on the nodes of a Ray cluster: at ADDRESS, or this machine's (docs/many-machines.md)"
    command.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help=what)
    what = "of a Ray node, for each task: so many processes (default 1)"
    command.add_argument("--cpus-per-task", type=cli.positive, default=1, metavar="N", help=what)


def _add_children(command: argparse.ArgumentParser) -> None:
    cpus = len(os.sched_getaffinity(0))
    command.add_argument("--jobs", type=cli.positive, default=cpus, metavar="N", help=f"processes (default: CPUs, {cpus})")
    limit = "give a video up whose decoder gets no further for so long (default 60 seconds)"
    command.add_argument("--time-limit", type=cli.seconds, default=60.0, metavar="S", help=limit)


def _add_transcode(commands: Any) -> None:
    transcode = cli.add_subcommand(
        commands,
        "transcode",
        example="python -m c2d_fast.prepare transcode --list train.npz --out /fast/kinetics400",
        summary="rewrite videos for fast random access",
        description="Rewrites the videos of a list into another folder: smaller, in few sizes that are multiples of\n"
        "16, 8 bits 4:2:0, without sound, with key frames where training needs them. Frame k stays frame k, and all frames\n"
        "last equally long: a variable frame rate becomes its average. Every result is decoded and its frames are counted.\n"
        "Sources are only read. It can be interrupted in any way; the same command goes on.\n\n"
        "DIR gets a folder, a manifest (.npz), a plain list (.txt) and a journal, each called like the list.",
    )
    what = "a list of any form; best a manifest of prepare scan, which knows the broken videos"
    transcode.add_argument("--list", type=cli.location, required=True, metavar="LIST", help=what)
    transcode.add_argument(
        "--data-root", type=cli.location, metavar="DIR", help="folder the list's paths are in (default: the list's)"
    )
    transcode.add_argument("--video-name", metavar="TEMPLATE", help="of files where the list gives ids, e.g. '{id}.mp4'")
    transcode.add_argument("--out", type=cli.location, required=True, metavar="DIR", help="folder for the results")
    short = "of the results; smaller videos keep theirs (default 256)"
    transcode.add_argument("--short-side", type=cli.positive, default=256, metavar="PX", help=short)
    gop = "frames from key frame to key frame (default 1: all-intra, see docs/forms.md)"
    transcode.add_argument("--gop", type=cli.positive, default=1, metavar="N", help=gop)
    b_frames = "in a row, with --gop above 1 (default 0); no other frame depends on them"
    transcode.add_argument("--b-frames", type=cli.not_negative, default=0, metavar="N", help=b_frames)
    transcode.add_argument("--codec", choices=("h264", "hevc"), default="h264", help="default: h264")
    transcode.add_argument("--crf", type=cli.crf, metavar="N", help="quality, 0 to 51, lower is better (default 20; hevc 23)")
    presets = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
    transcode.add_argument("--preset", choices=presets, default="medium", help="of the encoder (default: medium)")
    _add_children(transcode)
    _add_machines(transcode)
    transcode.add_argument("--retry-failed", action="store_true", help="try videos again that failed before")
    transcode.add_argument("--no-space-check", action="store_true", help="go on though the disk seems too small")


def _add_merge(commands: Any) -> None:
    merge = cli.add_subcommand(
        commands,
        "merge",
        example="python -m c2d_fast.prepare merge --out train.npz",
        summary="join the parts that several machines have made",
        description="Joins the parts that scan or transcode with --part have left: FILE, its packet table, and of transcoding\n"
        "the plain list, byte for byte what a command without --part writes. The parts are only read.",
    )
    what = "what the parts are of: the --out of scan, or DIR/LIST.npz of transcode"
    merge.add_argument("--out", type=cli.location, required=True, metavar="FILE", help=what)
    what = "the parts' files (default: all FILE.part-I-of-N.npz beside FILE)"
    merge.add_argument("parts", type=cli.location, nargs="*", metavar="PART", help=what)


def _add_show(commands: Any) -> None:
    show = cli.add_subcommand(
        commands,
        "show",
        example="python -m c2d_fast.prepare show train.npz",
        summary="what a manifest says",
        description="Prints what a scan has found.",
    )
    show.add_argument("manifest", type=cli.path, metavar="MANIFEST", help="made by prepare scan or prepare transcode")
    show.add_argument("--csv", type=cli.path, metavar="FILE", help="also write a table, one line for each video")
    show.add_argument("--png", type=cli.path, metavar="FILE", help="also draw classes, lengths, sizes and bit rates")


def _add_check(commands: Any) -> None:
    check = cli.add_subcommand(
        commands,
        "check",
        example="python -m c2d_fast.prepare check --train train.npz --val val.npz --csv copies.csv",
        summary="find videos that stand in two lists, or twice in one",
        description="Finds copies by what is in the videos, whatever the files are called: the same packets, also in another\n"
        "container (nothing is decoded), and videos whose frames look alike (encoded anew, scaled, another frame rate).\n"
        "It only reads. What is hashed is kept; the same command goes on, and later reads only what is new or has changed.",
        exit_codes="; 3 videos stand in both lists",
    )
    what = "of prepare scan, with its packet table beside it"
    check.add_argument("--train", type=cli.location, required=True, metavar="MANIFEST", help=what)
    check.add_argument("--val", type=cli.location, metavar="MANIFEST", help="compared with it, too")
    root = "folder that the videos are in now (default: where they were scanned)"
    check.add_argument("--data-root", type=cli.location, metavar="DIR", help=root)
    check.add_argument("--val-root", type=cli.location, metavar="DIR", help="that of --val (default: --data-root)")
    near = "also decode frames, and find those that look alike; needs c2d-fast[check] (default: on)"
    check.add_argument("--near", action=argparse.BooleanOptionalAction, default=True, help=near)
    threshold = "of 64 bits that frames may differ in on average, 0 to 15 (default 10)"
    check.add_argument("--threshold", type=cli.not_negative, default=10, metavar="BITS", help=threshold)
    check.add_argument("--csv", type=cli.path, metavar="FILE", help="write a table, one line for each pair")
    check.add_argument("--png", type=cli.path, metavar="FILE", help="draw the first pairs side by side")
    clean = "write the training list without what stands in --val, too"
    check.add_argument("--write-train", type=cli.path, metavar="FILE", help=clean)
    kept = "where hashes are kept (default: --train's name with .hashes)"
    check.add_argument("--hashes", type=cli.path, metavar="FILE", help=kept)
    _add_children(check)
    check.set_defaults(ray=None)  # what is read is far less than a scan reads


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    if args.command == "demo":
        from c2d_fast.prepare.demo_data import make_demo_data

        cli.imports_done()
        print(make_demo_data(args.out))
    elif args.command == "list":
        from c2d_fast.lists.make_lists import run_list

        cli.imports_done()
        run_list(args)
    elif args.command == "scan":
        from c2d_fast.prepare.scan import run_scan

        cli.imports_done()
        run_scan(args)
    elif args.command == "check":
        from c2d_fast.prepare.check import run_check

        cli.imports_done()
        run_check(args)
    elif args.command == "transcode":
        from c2d_fast.prepare.transcode import run_transcode

        cli.imports_done()
        run_transcode(args)
    elif args.command == "merge":
        from c2d_fast.prepare.merge import run_merge

        cli.imports_done()
        run_merge(args)
    else:
        from c2d_fast.prepare.show import run_show

        cli.imports_done()
        run_show(args)
