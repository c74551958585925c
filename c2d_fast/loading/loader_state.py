"""The place in a run as a ClipLoader's state_dict says it, and whether it is of this run."""

from typing import Any

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.loading.plan import EvalPlan, TrainPlan

_REMEDIES = {
    "videos": "it was made with other videos, or in another order: give it the same list",
    "train": "it was made with train={value}: give the same",
    "seed": "it was made with seed={value}: give the same",
    "clips_per_video": "it was made with {value} clips of each decode: give the same clip",
    "shuffle": "it was made with shuffle={value}: give the same",
    "balance": "it was made with balance={value}: give the same",
    "drop_last": "it was made with drop_last={value}: give the same",
    "world_size": "it was made with world_size={value}, which evaluation must keep: give the same",
    "videos_at_a_time": "it was made with {value} videos decoded together, which evaluation must keep: give that batch_size",
}
_BEFORE = {"balance": False}
"""What is meant by states of versions that did not have it."""


def identity(plan: TrainPlan | EvalPlan) -> dict[str, Any]:
    """Returns what decides the order of clips, plain numbers and strings; two loaders with the same one have the same order."""
    known: dict[str, Any] = {"version": 1, "videos": plan.videos.digest, "train": isinstance(plan, TrainPlan)}
    if isinstance(plan, TrainPlan):
        order = {"seed": plan.seed, "shuffle": plan.shuffle, "drop_last": plan.drop_last}
        return known | order | {"clips_per_video": plan.clips_per_video, "balance": plan.balance}
    return known | {"clips_per_video": plan.num_clips, "world_size": plan.world, "videos_at_a_time": plan.batch_size}


def first_batch(state: dict[str, Any], plan: TrainPlan | EvalPlan, clips_per_batch: int) -> int:
    """Returns the batch of the state's epoch that comes next.

    Args:
        state: from state_dict().
        plan: of the loader that goes there.
        clips_per_batch: of all ranks together.

    Raises:
        UserError: it is no such state, or of another run, or its place is not between two batches.
    """
    numbers = ("epoch", "clips")
    if not isinstance(state, dict) or not all(isinstance(state.get(name), int) and state[name] >= 0 for name in numbers):
        raise UserError("load_state_dict: is not what a ClipLoader's state_dict() gives; give it that")
    if not _is_list_of_videos(state.get("quarantined"), len(plan.videos)):
        raise UserError("load_state_dict: its quarantined videos are not indices of this list; give what state_dict() gave")
    for name, value in identity(plan).items():
        if (before := state.get(name, _BEFORE.get(name))) != value:
            remedy = _REMEDIES.get(name, "it was made with another version of this package: begin the epoch anew")
            raise UserError(f"load_state_dict: {remedy.format(value=before)}")
    batch, rest = divmod(state["clips"], clips_per_batch)
    if rest:
        raise UserError(
            f"load_state_dict: {state['clips']} clips of the epoch have been read, which is no multiple of the "
            f"{clips_per_batch} of a batch on all ranks; give a batch_size that divides it"
        )
    return int(batch)


def transform_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Returns what torch's generators are seeded with for a batch's transform."""
    return int(np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _is_list_of_videos(value: Any, num_videos: int) -> bool:
    return isinstance(value, list) and all(isinstance(index, int) and 0 <= index < num_videos for index in value)
