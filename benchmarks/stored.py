"""The videos that the benchmark of throughput reads, in the forms that it compares."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generated import make_videos
from subprocesses import run_python

from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import Manifest, read_manifest

FORMS: dict[str, list[str] | None] = {
    "stored": None,
    "gop16": ["--gop", "16", "--b-frames", "2"],
    "gop8": ["--gop", "8", "--b-frames", "2"],
    "intra": ["--gop", "1"],
}
"""Form -> flags of `prepare transcode`; "stored" is as the videos are."""


@dataclass
class Form:
    """A set of videos in one form."""

    name: str
    path: Path
    """Of the manifest's file."""
    manifest: Manifest

    def facts(self) -> dict[str, Any]:
        """Returns what the figures hold for: plain values."""
        rows, listing = self.manifest.listing.scanned, self.manifest.listing
        assert rows is not None
        facts, size = rows.facts, self.manifest.size[self.manifest.kept]
        shapes = sorted({f"{w}x{h}" for w, h in zip(facts["width"].tolist(), facts["height"].tolist(), strict=True)})
        return {
            "videos": len(self.manifest.kept),
            "codec": sorted({codec.decode() for codec in facts["codec"].tolist()}),
            "size": shapes if len(shapes) < 9 else [*shapes[:8], f"{len(shapes) - 8} more"],
            "frames": round(float(facts["frames"].mean()), 1),
            "frames_between_entries": round(float((facts["frames"] / facts["entries"].clip(1)).mean()), 1),
            "bytes_per_video": round(float(size.mean())),
            "packet_table": listing.packet_table is not None,
            "list_sha256": listing.sha256,
        }


def make_forms(args: Any, names: list[str]) -> list[Form]:
    """Makes the set, or finds it made, in these forms; each is scanned, and has a packet table."""
    if args.list:
        source, root, name = args.list, args.data_root, args.list.stem
    else:
        width, height = args.size
        name = f"{args.codec}-{width}x{height}-gop{args.gop}-{args.frames}f"
        paths = make_videos(
            args.data / name, args.count, num_frames=args.frames, width=width, height=height, codec=args.codec, gop=args.gop
        )
        source, root = args.data / f"{name}-{args.count}.txt", args.data
        source.write_text("".join(f"{name}/{path.name} {i % 400}\n" for i, path in enumerate(paths)))
    return [read_form(form, _make(args, Path(source), root, form)) for form in names]


def read_form(name: str, path: Path) -> Form:
    """Reads a form that has been made."""
    return Form(name, path, read_manifest(read_list(path, None, None), allow_missing=True, jobs=1))


def _make(args: Any, source: Path, root: Path | None, form: str) -> Path:
    folder = args.data / f"{source.stem} forms"
    folder.mkdir(parents=True, exist_ok=True)
    place = ["--data-root", root] if root else []
    stored = folder / f"{source.stem}.npz"
    flags = FORMS[form]
    if flags is None:
        return _prepare(stored, "scan", "--list", source, "--out", stored, *place)
    return _prepare(folder / form / f"{source.stem}.npz", "transcode", "--list", source, "--out", folder / form, *place, *flags)


def _prepare(manifest: Path, *command: Any) -> Path:
    run_python("-m", "c2d_fast.prepare", *command)
    return manifest
