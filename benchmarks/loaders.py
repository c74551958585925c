"""Our loader and the peers', in turns, on the same clips of the same files."""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frame_mappings import FrameMappings
from libraries import LIBRARIES, MANIFEST, PACKET_TABLE
from machine import GpuWatch
from measure import Setting, chosen_decoder, clips_for_peers, loader_round
from peers import MOST_ROUNDS, Peer
from rounds import Clock, Rounds
from same_frames import CHECKED_CLIPS, Reference
from stored import Form
from sweep import LOADER_S

from c2d_fast.recipe import PipeFile

OUR_LOADERS: dict[str, dict[str, Any]] = {
    "c2d-fast without a packet table": {"table": False},
    "c2d-fast": {},
}
BEFORE: dict[str, dict[str, Any]] = {
    "c2d-fast, files read whole": {"whole_files": True},
    "c2d-fast, crops by DALI on the CPU": {"graph_crops": True},
    "c2d-fast, whole files and crops by DALI": {"whole_files": True, "graph_crops": True},
}
NO_GPU = "there is no GPU"


def measure_loaders(
    args: argparse.Namespace, pipe: PipeFile, forms: list[Form], setting: Setting, clock: Clock
) -> Iterator[list[dict[str, Any]]]:
    """Measures our loader and the peers' in turns, with one recipe's clips; yields the rows so far, round after round."""
    gpu, wanted = setting.device.type == "cuda", args.peer if args.peers else ()
    names = [name for name in wanted if gpu or not LIBRARIES[name].on_gpu]
    rows = Rows()
    with tempfile.TemporaryDirectory() as folder:
        peers, requests = [Peer(name) for name in names], Requests(args, pipe, setting, FrameMappings(Path(folder)))
        try:
            for form in forms if peers else ():
                check_peers(peers, form, requests, rows, clock)
            for number in range(args.rounds):
                for form in forms:
                    measure_ours(args, pipe, form, setting, number, rows, clock)
                    if peers:
                        measure_peers(peers, form, requests, number, rows, clock, LOADER_S[setting.device.type])
                    yield rows.facts()
        finally:
            for peer in peers:
                peer.close()
    for peer in peers:
        if peer.missing:
            rows.missing(peer.name, forms[0], peer.missing)
    for name in wanted:
        if name not in names:
            rows.missing(name, forms[0], NO_GPU)
    yield rows.facts()


class Rows:
    """The table: a row for each loader and form."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], dict[str, Any]] = {}
        self._rounds: dict[tuple[str, str], Rounds] = {}
        self._missing: list[dict[str, Any]] = []

    def note(self, name: str, form: Form, **facts: Any) -> None:
        """Hears what holds for a row: whether it is ours, its index, what the check of its frames has found."""
        self._facts.setdefault((name, form.name), {}).update(facts)

    def add(self, name: str, form: Form, clips_per_s: float, more: dict[str, Any]) -> None:
        """Hears a round of a row that has been noted, and what else was measured in it."""
        rounds = self._rounds.setdefault((name, form.name), Rounds())
        rounds.values.append(clips_per_s)
        rounds.more = more

    def missing(self, name: str, form: Form, why: str) -> None:
        """Hears why a library is not measured, or not any more."""
        library = LIBRARIES[name]
        row = {"name": library.title, "form": form.name, "ours": False, "index": library.index, "missing": why}
        self._missing.append(row)

    def facts(self) -> list[dict[str, Any]]:
        """Returns the rows that have figures, and those that are missing: plain values."""
        found = [
            {"name": name, "form": form, **self._facts[name, form], **rounds.facts()}
            for (name, form), rounds in self._rounds.items()
        ]
        return found + self._missing


class Requests:
    """What peers are asked: plain values."""

    def __init__(self, args: argparse.Namespace, pipe: PipeFile, setting: Setting, mappings: FrameMappings):
        self._args, self._pipe, self._setting, self._mappings = args, pipe, setting, mappings

    def measure(self, form: Form, number: int) -> dict[str, Any]:
        """Returns the request for a round; the files' frame mappings are made by then."""
        args, setting = self._args, self._setting
        # More clips than are timed: what a loader has prepared ahead when the clock stops, it had when it started, too.
        batches = args.warmup + MOST_ROUNDS * args.steps + 2 * setting.workers + 4
        how = {"batch_size": setting.batch_size, "workers": setting.workers, "warmup": args.warmup, "steps": args.steps}
        request = clips_for_peers(self._pipe, form, setting, batches, number)
        for clip in request["clips"]:
            clip["mappings"] = self._mappings.file(clip["file"])
        return how | request

    def check(self, form: Form) -> dict[str, Any]:
        """Returns the request for the clips whose frames are compared: the first of the first round."""
        request = self.measure(form, 0)
        return {"clips": request["clips"][:CHECKED_CLIPS], "side": request["side"]}


def check_peers(peers: list[Peer], form: Form, requests: Requests, rows: Rows, clock: Clock) -> None:
    """Compares the frames that the peers give with those that they are asked for."""
    request = requests.check(form)
    reference = Reference(**request)
    for peer in peers:
        rows.note(peer.library.title, form, ours=False, index=peer.library.index)
        if not peer.missing and clock.allows(f"check of {peer.name} on {form.name}"):
            images = peer.images(request)
            if images is not None:
                rows.note(peer.library.title, form, **reference.compare(images))


def measure_ours(
    args: argparse.Namespace, pipe: PipeFile, form: Form, setting: Setting, number: int, rows: Rows, clock: Clock
) -> None:
    """Measures a round of our loaders."""
    for name, changes in (OUR_LOADERS | (BEFORE if args.before else {})).items():
        if clock.allows(f"{name} on {form.name}, round {number + 1}", LOADER_S[setting.device.type]):
            changed = dataclasses.replace(setting, **changes)
            with GpuWatch() as watch:
                rate = loader_round(pipe, form, changed, args.warmup, args.steps, number)
            rows.note(name, form, ours=True, index=our_index(form, changed))
            rows.add(name, form, rate, {"decoder": chosen_decoder(form, changed), **watch.read()})


def our_index(form: Form, setting: Setting) -> str:
    """Returns what our loader has of a form's files beforehand."""
    has_table = setting.table and not setting.whole_files and form.manifest.packet_table is not None
    return PACKET_TABLE if has_table else MANIFEST


def measure_peers(
    peers: list[Peer], form: Form, requests: Requests, number: int, rows: Rows, clock: Clock, needs_s: float
) -> None:
    """Measures a round of the peers that are there."""
    request = requests.measure(form, number)
    for peer in peers:
        if not peer.missing and clock.allows(f"{peer.name} on {form.name}, round {number + 1}", needs_s):
            rate = peer.measure(request)
            if rate is not None:
                rows.add(peer.library.title, form, rate, {})
