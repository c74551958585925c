"""What a recipe says of the network and of what it is shown: Model, Clip and Crop."""

from dataclasses import dataclass

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth of the ResNet -> blocks of layer1..layer4."""
CLIP_SAMPLINGS = ("dense", "uniform")
CROP_KINDS = ("multi_scale", "random_resized", "short_side_jitter", "centre")
CROP_VIEWS = ("published", "centre", "three")
MOST_CLASSES = 1_000_000
"""More are not believed of any file or flag."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network: a ResNet trunk over single frames, and how the frames are brought together."""

    depth: int
    """18, 50 or 101: the torchvision ResNet whose trunk is used."""
    temporal_pool: bool
    """True: halve the frames after the first stage, max pool of the stem without padding, average probabilities over
    views. False: the plain trunk, average features over views."""
    dropout: float
    num_classes: int
    nonlocal_after: tuple[tuple[int, int], ...] = ()
    """(stage, block) that a non-local block follows: stages are layer1..layer4 of the ResNet, blocks count from 0."""
    nonlocal_affinity: str = "embedded_gaussian"
    """embedded_gaussian (softmax) or dot_product."""

    def __post_init__(self) -> None:
        if self.nonlocal_affinity not in ("embedded_gaussian", "dot_product"):
            raise ValueError(f"nonlocal_affinity ({self.nonlocal_affinity}) must be embedded_gaussian or dot_product")
        if self.depth not in _BLOCKS:
            raise ValueError(f"depth ({self.depth}) must be 18, 50 or 101")
        if not 1 <= self.num_classes <= MOST_CLASSES:
            raise ValueError(f"num_classes ({self.num_classes}) must be 1 to {MOST_CLASSES}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout ({self.dropout}) must be 0 or more, and below 1")
        blocks = _BLOCKS[self.depth]
        for stage, block in self.nonlocal_after:
            if not 1 <= stage <= len(blocks) or not 0 <= block < blocks[stage - 1]:
                raise ValueError(f"nonlocal_after ({stage}, {block}): ResNet-{self.depth} has no such block")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Which frames make a clip: num_frames of them."""

    num_frames: int
    interval: int = 1
    """Every interval-th decoded frame is taken."""
    sampling: str = "dense"
    """"dense": frames interval apart, as published; "uniform": one of each of num_frames equal parts of the video (TSN)."""

    def __post_init__(self) -> None:
        if self.sampling not in CLIP_SAMPLINGS:
            raise ValueError(f"clip sampling ({self.sampling!r}) must be one of {', '.join(CLIP_SAMPLINGS)}")
        if self.sampling == "uniform" and self.interval != 1:
            raise ValueError(f"clip interval ({self.interval}) must be 1 with uniform sampling, which takes none")


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Sizes in pixels: what is cut out of a frame, once its short side has been scaled."""

    size: int = 224
    """Side of the square that the model is fed."""
    train_short_side: int = 256
    """Short side before the crop in training and in validation."""
    test_short_side: int = 224
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Training crops are these parts of the short side."""
    scale_before_crop: bool = True
    """How training crops are made. True: the frame is scaled to train_short_side, and the box cut out of that is resized to
    size, as published. False: the box of the frame as it is is resized once: cheaper, and sharper than the published models
    saw, but for frames that have train_short_side anyway (docs/benchmarks.md has both)."""
    kind: str = "multi_scale"
    """The box of training: "multi_scale", as published; "random_resized", of an area and a ratio that are drawn (Inception);
    "short_side_jitter", a square of size anywhere in a frame whose short side is drawn (PySlowFast); "centre"."""
    area: tuple[float, float] = (0.08, 1.0)
    """Of random_resized: least and largest part of the frame's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Likewise: of width to height."""
    short_sides: tuple[int, int] = (256, 320)
    """Of short_side_jitter: least and largest short side."""
    flip: float = 0.5
    """How likely a training clip is mirrored."""
    views: str = "published"
    """What evaluation cuts out: "centre", "three" along the long side, or as published: three of videos that are seen in
    several clips, otherwise the centre."""

    def __post_init__(self) -> None:
        if self.kind not in CROP_KINDS:
            raise ValueError(f"crop kind ({self.kind!r}) must be one of {', '.join(CROP_KINDS)}")
        if self.views not in CROP_VIEWS:
            raise ValueError(f"crop views ({self.views!r}) must be one of {', '.join(CROP_VIEWS)}")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(
                f"crop scales ({self.scales}) must be parts of the short side, one at least, above 0, and 1 at most"
            )
        if min(self.train_short_side, self.test_short_side, *self.short_sides) < 1:
            raise ValueError(
                f"crop train_short_side ({self.train_short_side}), test_short_side ({self.test_short_side}) and short_sides "
                f"({self.short_sides}) must be 1 pixel at least"
            )
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"crop area ({self.area}) and ratio ({self.ratio}) must be two rising figures, areas 1 at most")
        if self.short_sides[0] > self.short_sides[1]:
            raise ValueError(f"crop short_sides ({self.short_sides}) must be two rising numbers of pixels")
        if self.kind == "short_side_jitter" and (self.short_sides[0] < self.size or not self.scale_before_crop):
            raise ValueError(f"crop short_sides ({self.short_sides}) must be {self.size} at least, and scale_before_crop True")
        if self.kind == "centre" and self.train_short_side < self.size:
            raise ValueError(f"crop train_short_side ({self.train_short_side}) must be {self.size} at least, the crop's size")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"crop flip ({self.flip}) must be 0 to 1")
