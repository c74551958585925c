"""The published sampling rules, as others import them; loading/sampler.py says what they do."""

from c2d_fast.loading.sampler import (
    Box,
    centre_box,
    clip_frames,
    draw_train,
    epoch_order,
    generator,
    lot,
    relative_box,
    scaled_size,
    substitutes,
    test_frames,
    three_boxes,
    train_boxes,
    train_draws,
    train_first_frames,
    val_frames,
)

__all__ = [
    "Box",
    "centre_box",
    "clip_frames",
    "draw_train",
    "epoch_order",
    "generator",
    "lot",
    "relative_box",
    "scaled_size",
    "substitutes",
    "test_frames",
    "three_boxes",
    "train_boxes",
    "train_draws",
    "train_first_frames",
    "val_frames",
]
