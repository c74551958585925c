"""The start of training as benchmarks/large_list.py measures it: what the train command calls, one after the other."""

import pickle
from pathlib import Path
from typing import Any

from made_up_list import CLASSES


def plan_of(path: Path, *, train: bool, resumes: bool = False) -> Any:
    """Does what the train command does with a list, up to its plan; returns what is left out, and the plan."""
    from c2d_fast.lists.listing import read_list
    from c2d_fast.loading.plan import EvalPlan, TrainPlan
    from c2d_fast.manifest.bad_videos import BadVideos
    from c2d_fast.manifest.manifest import read_manifest
    from c2d_fast.recipe import Clip, Crop

    bad = BadVideos(read_manifest(read_list(path, None, CLASSES), allow_missing=True, jobs=1), (2.0, True), "")
    bad.add_from_manifest(count_missing=False)
    if resumes:
        bad.exclude_only(bad.excluded_rows())
        assert not bad.kept_but_broken()
        assert not len(bad.indices_of(set()))
    bad.manifest.listing.facts()
    bad.excluded_rows()
    what: dict[str, Any] = {"videos": bad.manifest.videos(), "clip": Clip(num_frames=8, interval=8), "crop": Crop()}
    plan: TrainPlan | EvalPlan
    plan = TrainPlan(**what, seed=0, batch_size=32) if train else EvalPlan(**what, batch_size=32, num_clips=10)
    return bad, plan


def take_first_samples(plan: Any, step: int) -> None:
    """Does what a loader and its workers do for a batch, but for reading it."""
    from c2d_fast.loading.source import ClipSource

    source = ClipSource(plan=plan, decoder="ffmpeg", device="cpu", decoder_threads=1)
    assert not source.scales_first or not source.all_scaled
    pickle.dumps(source)  # what the workers are given
    for slot in range(plan.batch_size):
        sample = plan.sample(step, slot)
        plan.videos.location(sample.index)
        source.stored(sample.index)
