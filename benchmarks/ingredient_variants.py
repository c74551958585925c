"""The demo's recipe made smaller, and what it is with each ingredient of training: shared by the benchmarks of these."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from narrow_trunk import DEPTH

from c2d_fast.errors import UserError
from c2d_fast.recipe import Distill, Recipe, load_pipe
from dali_pipes.demo import RECIPE as DEMO

_SIZE = 40
_SCALED = ("epochs", "milestones", "lr", "lr_batch", "clips_per_gpu", "warmup_epochs", "ema", "grid", "clips_per_video")
"""Fields of Training that are not taken over from a recipe for Kinetics as they are."""
_KINETICS_STEPS = 240_436 // 256 * 100
"""Of the published recipes."""


@dataclass(frozen=True)
class Variant:
    """A recipe, and what a table says of it."""

    recipe: Recipe
    what: str


def plain_recipe(epochs: int, depth: int = DEPTH) -> Recipe:
    """Returns the demo's recipe, shortened and made smaller; a higher rate makes up for fewer steps."""
    training = replace(DEMO.training, epochs=epochs, lr=0.01, milestones=_milestones(epochs))
    return replace(
        DEMO,
        name="plain",
        model=replace(DEMO.model, depth=depth),
        crop=replace(DEMO.crop, size=_SIZE, train_short_side=_SIZE * 8 // 7, test_short_side=_SIZE),
        training=training,
        expected_top1=None,
        generated_data=False,
    )


def _milestones(epochs: int) -> tuple[int, ...]:
    """Returns those of the demo, at about the same parts of a run; even ones, so that half a run has the same."""
    return tuple(sorted({max(epochs * epoch // DEMO.training.epochs // 2 * 2, 1) for epoch in DEMO.training.milestones}))


def variants(plain: Recipe, steps: int) -> dict[str, Variant]:
    """Returns all variants by their names, plain first.

    Args:
        plain: what they start from.
        steps: of its run.
    """
    made: dict[str, Variant] = {"plain": Variant(plain, "the demo's recipe, shortened")}

    def add(name: str, what: str, change: Callable[[], Recipe]) -> None:
        made[name] = Variant(replace(change(), name=name), what)

    def training(**values: Any) -> Callable[[], Recipe]:
        return lambda: replace(plain, training=replace(plain.training, **values))

    def augment(**values: Any) -> Callable[[], Recipe]:
        return lambda: replace(plain, augment=replace(plain.augment, **values))

    epochs, size = plain.training.epochs, plain.crop.size
    average = round(1 - 1 / (0.05 * steps + 1), 4)
    quarter = max(epochs // 4, 1)
    grid = ((quarter, 2, size // 2), (quarter, 2, size * 3 // 4))
    add("label smoothing", "`label_smoothing=0.1`", training(label_smoothing=0.1))
    cosine = {"schedule": "cosine", "milestones": (), "warmup_epochs": 0.1 * epochs}
    add("cosine", "cosine schedule, a tenth of the run warm-up", training(**cosine))
    add("no decay on norms", "`decay_norms=False`", training(decay_norms=False))
    add("ema", f"`ema={average:g}` (a twentieth of the run)", training(ema=average))
    add("mixup", "`mixup=0.2`", augment(mixup=0.2))
    add("cutmix", "`cutmix=1.0`", augment(cutmix=1.0))
    add("colour jitter", "`color=(0.4, 0.4, 0.4, 0.1)`", augment(color=(0.4, 0.4, 0.4, 0.1)))
    add("erasing", "`erase=0.25`", augment(erase=0.25))
    add("randaugment", "two operations of magnitude 9", augment(policy="randaugment"))
    crop = replace(plain.crop, kind="random_resized", area=(0.25, 1.0))
    add("random resized crop", "of a quarter of the area at least", lambda: replace(plain, crop=crop))
    add("two clips a video", "`clips_per_video=2`, half the epochs", lambda: _with_clips(plain, 2))
    add("adamw", "`lr=0.001`, `weight_decay=0.05`", training(optimizer="adamw", lr=0.001, weight_decay=0.05))
    uniform = replace(plain.clip, sampling="uniform", interval=1)
    add("uniform sampling", "a frame of each half of the video", lambda: replace(plain, clip=uniform))
    sizes = f"a quarter of the epochs at {grid[0][2]} pixels, a quarter at {grid[1][2]}"
    add("grid", sizes, training(grid=grid))
    distill = Distill(weight=0.5, temperature=2.0)
    add("distilled", "teacher: the plain run of another seed", lambda: replace(plain, distill=distill))
    for name, what in (("plus", ""), ("plus_distilled", ", and the same teacher")):
        try:
            shipped = load_pipe(f"k400_8x8_{name}").recipe
        except UserError:
            continue
        text = f"all of `k400_8x8_plus.py`, scaled{what}"
        add(name.replace("_", " "), text, lambda shipped=shipped: scaled(plain, shipped, steps))  # type: ignore[misc]
    return made


def _with_clips(recipe: Recipe, clips: int) -> Recipe:
    """Returns the recipe with several clips of each decode, and as many steps: an epoch has more of them."""
    epochs = recipe.training.epochs // clips
    warmup = recipe.training.warmup_epochs / clips
    milestones = tuple(max(milestone // clips, 1) for milestone in recipe.training.milestones)
    training = replace(recipe.training, epochs=epochs, milestones=milestones, warmup_epochs=warmup, clips_per_video=clips)
    return replace(recipe, training=training)


def scaled(plain: Recipe, shipped: Recipe, steps: int) -> Recipe:
    """Returns plain with all that a shipped recipe changes of k400_8x8, scaled to its size and length.

    As they are: shares, probabilities, kinds. By the run: epochs, how long EMA looks back. By the size: pixels.
    """
    base = load_pipe("k400_8x8").recipe
    of, source = shipped.training, base.training
    length, size = plain.training.epochs / of.epochs, plain.crop.size / shipped.crop.size
    values = {name: value for name, value in _changed(source, of).items() if name not in _SCALED}
    values |= {"lr": plain.training.lr * (of.lr / of.lr_batch) / (source.lr / source.lr_batch)}
    values |= {"warmup_epochs": of.warmup_epochs * length}
    if of.schedule == "cosine":
        values["milestones"] = ()
    if of.ema:
        values["ema"] = round(max(1 - (1 - of.ema) * _KINETICS_STEPS / steps, 0.5), 4)
    if of.grid:
        values["grid"] = tuple((max(round(n * length), 1), min(frames, 2), round(side * size)) for n, frames, side in of.grid)
    crop = _changed(base.crop, shipped.crop)
    if shipped.crop.kind == "short_side_jitter":
        crop["short_sides"] = tuple(round(side * size) for side in shipped.crop.short_sides)
    clip = {name: value for name, value in _changed(base.clip, shipped.clip).items() if name != "num_frames"}
    made = replace(
        plain,
        training=replace(plain.training, **values),
        augment=shipped.augment,
        crop=replace(plain.crop, **crop),
        clip=replace(plain.clip, **clip),
        distill=replace(shipped.distill, teacher=None) if shipped.distill else None,
    )
    return made if of.clips_per_video == 1 else _with_clips(made, of.clips_per_video)


def _changed(before: Any, after: Any) -> dict[str, Any]:
    """Returns the fields of a part of a recipe that differ, with the later values."""
    pairs = {item.name: (getattr(before, item.name), getattr(after, item.name)) for item in fields(before)}
    return {name: new for name, (old, new) in pairs.items() if old != new}


def changes(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Returns what differs between two recipes but their names, as `part.field` -> plain value."""
    a, b = before.as_dict(), after.as_dict()
    found = {}
    for part in b:
        if part in ("name", "published", "expected_top1"):
            continue
        if isinstance(a[part], dict) and isinstance(b[part], dict):
            found |= {f"{part}.{name}": b[part][name] for name in b[part] if b[part][name] != a[part][name]}
        elif a[part] != b[part]:
            found[part] = b[part]
    return found
