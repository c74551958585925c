"""The processes that train together: one for each GPU, started by torchrun. Alone, every function here does nothing."""

import os
import time
import uuid
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from c2d_fast import console
from c2d_fast.errors import EXIT_START_AGAIN, TRAIN_FLAGS, EndedError, ReportedElsewhereError, UserError, restart_hint
from c2d_fast.training.blocking_sync import use_blocking_sync

T = TypeVar("T")

# Reading a data set for the first time takes hours, and all wait for it. What hangs later is the watchdog's to end.
_TIMEOUT = timedelta(days=2)
_LOST = ("gloo", "nccl", "peer", "broken pipe", "socket")


class Votes(NamedTuple):
    """What any rank wants; all ranks see the same after the same step."""

    stop: int
    """The signal that asks for an end, 0 without."""
    save: bool
    exchange: bool
    """Whether a rank has found broken videos that the others do not know yet."""


class Group:
    """All processes of a run, or just this one."""

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0, local_world: int = 1):
        self.rank, self.world, self.local_rank, self.local_world = rank, world, local_rank, local_world
        self.remedy = restart_hint(TRAIN_FLAGS)
        """What to do where another rank is lost."""
        self._control: Any = None
        self._pending: tuple[Tensor, Any] | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def __enter__(self) -> Self:
        """Meets the other processes.

        Raises:
            UserError: they cannot be met.
        """
        if self.world > 1:
            if not self.is_first:
                console.silence()
            # Tensors on a CPU go through Gloo also where GPUs are: what Python decides together never waits for a GPU.
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            if torch.cuda.is_available():
                use_blocking_sync(self.local_rank)
                torch.cuda.set_device(self.local_rank)
            try:
                store, _, _ = next(rendezvous("env://", self.rank, self.world, timeout=_TIMEOUT))
                store = dist.distributed_c10d.PrefixStore(_name_of_attempt(store, self.rank, self.world), store)
                dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=_TIMEOUT)
                self._control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
            except (RuntimeError, ValueError) as error:
                reason = str(error).partition("\n")[0][:200]
                raise UserError(
                    f"rank {self.rank} of {self.world}: cannot meet the others ({reason}); start all by torchrun"
                ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.world == 1:
            return
        if error is None:
            if self._pending:
                self._pending[1].wait()
            dist.destroy_process_group()
        elif isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST):
            reason = str(error).partition("\n")[0][:120]
            raise EndedError(
                f"rank {self.rank}: lost another rank ({reason}); what that one says tells why; {self.remedy}",
                EXIT_START_AGAIN,
            ) from error

    def vote(self, votes: Votes) -> Votes:
        """Says what this rank wants, and returns what any of them wanted: after the step before, with several ranks.

        Nobody waits for it: the answer travels while the next step is computed.
        """
        if self.world == 1:
            return votes
        now = torch.tensor(votes, dtype=torch.int64)
        handle = dist.all_reduce(now, dist.ReduceOp.MAX, group=self._control, async_op=True)
        before, self._pending = self._pending, (now, handle)
        if before is None:
            return Votes(0, False, False)
        before[1].wait()
        stop, save, exchange = before[0].tolist()
        return Votes(stop, bool(save), bool(exchange))

    def sum(self, tensor: Tensor) -> Tensor:
        """Adds up a tensor over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def max(self, tensor: Tensor) -> Tensor:
        """Takes the maximum of a tensor over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Returns the ranks' tensors, [world, ...]."""
        if self.world == 1:
            return tensor[None]
        rows = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(rows, tensor)
        return torch.stack(rows)

    def all_gather_object(self, value: T) -> list[T]:
        """Returns every rank's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._control)
        return values

    def broadcast(self, value: T) -> T:
        """Returns the first rank's value."""
        if self.world == 1:
            return value
        values = [value if self.is_first else None]
        dist.broadcast_object_list(values, src=0, group=self._control)
        return values[0]  # type: ignore[return-value]

    def run_on_all(self, function: Callable[[], T]) -> T:
        """Calls a function on every rank. Where it fails on one, all fail, and the message is printed once.

        Raises:
            UserError: that of the lowest rank that has one.
        """
        if self.world == 1:
            return function()
        result, problem = None, ""
        try:
            result = function()
        except UserError as error:
            problem = str(error)
        problems = self.all_gather_object(problem)
        failed = next((rank for rank, text in enumerate(problems) if text), None)
        if failed is None:
            return result  # type: ignore[return-value]
        raise (UserError if self.is_first else ReportedElsewhereError)(
            (f"rank {failed}: " if failed else "") + problems[failed]
        )

    def run_on_first(self, function: Callable[[], T]) -> T:
        """Calls a function on the first rank, and returns its result on all.

        Raises:
            UserError: the function's.
        """
        return self.broadcast(self.run_on_all(lambda: function() if self.is_first else None))  # type: ignore[arg-type,return-value]

    def run_leaders_first(self, function: Callable[[], T]) -> T:
        """Calls a function on every rank: on one of each machine first, the others then find what it has cached."""
        leads = self.local_rank == 0
        result = self.run_on_all(lambda: function() if leads else None)
        return self.run_on_all(lambda: result if leads else function())  # type: ignore[arg-type,return-value]


def group_of_environment(flags: AbstractSet[str] = TRAIN_FLAGS) -> Group:
    """Returns the group that torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE) describe; alone without.

    Args:
        flags: of the command.

    Raises:
        UserError: they do not fit, or this machine has too few GPUs.
    """
    world = _number("WORLD_SIZE", 1)
    if world == 1:
        return Group()
    rank, local_rank = _number("RANK", -1), _number("LOCAL_RANK", -1)
    if not 0 <= rank < world or local_rank < 0:
        raise UserError(
            f"WORLD_SIZE is {world}, but RANK ({rank}) and LOCAL_RANK ({local_rank}) must be 0 or more: start with torchrun, "
            "or unset WORLD_SIZE for a single process"
        )
    gpus = torch.cuda.device_count()
    if gpus and local_rank >= gpus:
        raise UserError(f"LOCAL_RANK is {local_rank}, but this machine has {gpus} GPUs: lower torchrun's --nproc-per-node")
    group = Group(rank, world, local_rank, _number("LOCAL_WORLD_SIZE", 1))
    group.remedy = restart_hint(flags)
    return group


def _name_of_attempt(store: Any, rank: int, world: int) -> str:
    """Returns a name that all ranks of this start know, and none of a start before.

    torchrun may keep one store over its restarts, in which ranks would find the addresses of processes that are gone
    (pytorch/pytorch#135712); its count of restarts differs between machines.
    """
    key = "c2d_fast/attempt"
    mine = uuid.uuid4().hex
    if rank == 0:
        store.set(key, mine)
        for other in range(1, world):
            store.wait([f"{mine}/hello/{other}"])
            store.set(f"{mine}/seen/{other}", store.get(f"{mine}/hello/{other}"))
        return mine
    greeted = ""
    while True:
        store.wait([key])
        name: str = store.get(key).decode()  # perhaps still that of a start before: nobody answers there
        if name != greeted:
            store.set(f"{name}/hello/{rank}", mine)
            greeted = name
        if store.check([f"{name}/seen/{rank}"]) and store.get(f"{name}/seen/{rank}").decode() == mine:
            return name
        time.sleep(0.1)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise UserError(f"{name} is {text!r}: must be a whole number, as torchrun sets it") from None
