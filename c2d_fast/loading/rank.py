"""Which part of every batch is this process's."""

import os

import torch.distributed as dist

from c2d_fast.errors import UserError


def rank_and_world(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Returns this process's rank and the number of ranks.

    Args:
        rank: as given; None: torch.distributed's, where it is initialized, or what torchrun says in RANK; 0 without.
        world_size: likewise; WORLD_SIZE, 1.

    Raises:
        UserError: they do not fit.
    """
    if (rank is None) != (world_size is None):
        raise UserError(f"rank={rank}, world_size={world_size}: belong together; give both, or none")
    if rank is None or world_size is None:
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        if "RANK" not in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":  # Lightning's processes, before it begins
            raise UserError("WORLD_SIZE is set, and RANK is not: make the loader once torch.distributed is initialized")
        try:
            rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        except ValueError as error:
            raise UserError(f"RANK and WORLD_SIZE of the environment: {error}; unset them, or start with torchrun") from error
    if not 0 <= rank < world_size:
        raise UserError(f"rank={rank}, world_size={world_size}: rank must be 0 or more, and below world_size")
    return rank, world_size
