"""Ways of training a recipe's model that the stage models times."""

import dataclasses
from pathlib import Path

_ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """A recipe's model, and how it is run."""

    name: str
    pipe: Path
    batch_size: int
    precision: str | None
    """bf16, fp16 or fp32; None: the trainer's default for the device."""
    compiled: bool = True
    mode: str | None = None
    """Another way of compiling than the trainer's."""
    channels_first: bool = False
    is_recipe: bool = False
    """As the recipe is trained: goes with the others into the table of recipes."""


def all_ways(*, rehearse: bool) -> list[Way]:
    """Returns the ways in the order of their weight; in a rehearsal with small models on a CPU."""
    if rehearse:
        pipes, size, precision = [_ROOT / "dali_pipes/demo.py", _ROOT / "benchmarks/small_64px.py"], 2, None
    else:
        names = ("k400_8x8", "k400_8x8_nopool", "k400_16x4", "k400_8x8_nopool_r101")
        pipes, size, precision = [_ROOT / f"dali_pipes/{name}.py" for name in names], 32, "bf16"
    first = {"pipe": pipes[0], "batch_size": size, "precision": precision}
    ways = [Way(name=pipe.name, is_recipe=True, **(first | {"pipe": pipe})) for pipe in pipes]
    larger = [Way(name=f"compiled, batch {n * size}", **(first | {"batch_size": n * size})) for n in (2, 4)]
    eager = [
        Way(name="channels last, eager", compiled=False, **first),
        Way(name="channels first, eager (as peers)", compiled=False, channels_first=True, **(first | {"precision": "fp32"})),
    ]
    autotuned = [Way(name="compiled, max-autotune", mode="max-autotune", **first)]
    return [*ways, *larger, *eager, *autotuned][: -1 if rehearse else None]
