"""What a recipe says of how the network is trained: Training, Augment, Labels and Distill.

The published recipes leave all but the first fields of Training at their defaults, which change nothing.
"""

from dataclasses import dataclass

from c2d_fast.recipe_model import Model

OPTIMIZERS = ("sgd", "adamw", "lamb")
SCHEDULES = ("steps", "cosine")
NORMS = ("train", "frozen", "first")
POLICIES = ("none", "randaugment", "trivialaugment")
LABEL_KINDS = ("single", "several", "soft")
CLASS_WEIGHTS = ("none", "balanced")

_LARGE = 1e6
"""Rates and factors above it are taken for mistakes; far above it they are no float32."""


def _check_among(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} ({value!r}) must be one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """The optimizer, its rate, and what is learnt. As published: SGD with momentum, and a rate that falls in steps."""

    lr: float
    """Learning rate for a global batch of lr_batch clips; other batches scale it linearly."""
    lr_batch: int
    clips_per_gpu: int
    """Default batch on each GPU."""
    epochs: int
    milestones: tuple[int, ...] = ()
    """Of the schedule "steps": epochs after which the rate is multiplied by gamma."""
    gamma: float = 0.1
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 1e-4
    clip_grad_norm: float = 40.0
    weights: str = "imagenet"
    """Where the trunk starts: "imagenet" (torchvision's IMAGENET1K_V2) or "none"."""
    optimizer: str = "sgd"
    """sgd, adamw (both torch's) or lamb (timm's)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW and LAMB."""
    schedule: str = "steps"
    """"steps", or "cosine": half a cosine from lr down to final_factor of it, over what is left behind the warm-up."""
    warmup_epochs: float = 0.0
    """In so many first epochs the rate rises evenly, step by step, from warmup_factor of what the schedule has after them."""
    warmup_factor: float = 0.01
    final_factor: float = 0.0
    label_smoothing: float = 0.0
    """This part of each target is spread evenly over all classes."""
    decay_norms: bool = True
    """False: no weight decay on the scales and shifts of normalisations, and on biases."""
    layer_decay: float = 1.0
    """The classifier has the rate, layer4 this times it, layer3 this times that, down to the stem: for fine-tuning."""
    freeze: int = 0
    """Parts that stay as they start, from the input on: 1 the stem, 2 layer1, too, ... 5 the whole trunk."""
    norms: str = "train"
    """Which batch normalisations use the statistics of the batch, and gather them: all ("train"), none ("frozen"), or those of
    the first convolution only ("first", TSN's partial BN). Their scales and shifts are learnt in any case."""
    ema: float = 0.0
    """How much of the averaged weights each step keeps, below 1; these are validated, saved and used. 0: there are none."""
    patience: int = 0
    """The run ends after so many epochs without a better validation; 0: never."""
    clips_per_video: int = 1
    """Clips made of each decode of a video (repeated augmentation); they count in the batch."""
    grid: tuple[tuple[int, int, int], ...] = ()
    """(epochs, frames, size in pixels), one stage after another: shapes of the first epochs. What is left has the recipe's own
    shape. A stage's frames span the same time, and its crops are of a frame that is scaled as its size is."""

    def __post_init__(self) -> None:
        _check_among("training optimizer", self.optimizer, OPTIMIZERS)
        _check_among("training schedule", self.schedule, SCHEDULES)
        _check_among("training norms", self.norms, NORMS)
        for name in ("lr_batch", "clips_per_gpu", "epochs", "gamma", "clip_grad_norm", "clips_per_video"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training {name} ({getattr(self, name)}) must be above 0")
        for name in ("lr", "gamma", "weight_decay"):
            if getattr(self, name) > _LARGE:
                raise ValueError(f"training {name} ({getattr(self, name)}) must be {_LARGE:.0f} at most")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"training {name} ({getattr(self, name)}) must be 0 or more, and below 1")
        for name in ("lr", "weight_decay", "warmup_epochs", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"training {name} ({getattr(self, name)}) must be 0 or more")
        for name in ("warmup_factor", "final_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"training {name} ({getattr(self, name)}) must be 0 to 1")
        self._check_together()

    def _check_together(self) -> None:
        if self.schedule == "cosine" and self.milestones:
            raise ValueError(f"training milestones ({self.milestones}) must be () with the schedule cosine, which has none")
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise ValueError(f"training milestones ({self.milestones}) must be rising numbers of epochs")
        if self.schedule == "steps" and self.final_factor:
            raise ValueError(f"training final_factor ({self.final_factor}) must be 0 with the schedule steps: it is of cosine")
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"training warmup_epochs ({self.warmup_epochs}) must be less than epochs ({self.epochs})")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"training betas ({self.betas}) must be two numbers, 0 or more, and below 1")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"training layer_decay ({self.layer_decay}) must be above 0, and 1 at most")
        if not 0 <= self.freeze <= 5:
            raise ValueError(f"training freeze ({self.freeze}) must be 0 to 5")
        if any(len(stage) != 3 or min(stage) < 1 for stage in self.grid):
            raise ValueError(f"training grid ({self.grid}) must be triples of epochs, frames and size, each 1 at least")
        if self.grid and sum(stage[0] for stage in self.grid) >= self.epochs:
            raise ValueError(f"training grid ({self.grid}) must take fewer than the {self.epochs} epochs")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to the crops of training, on the device: the same to all frames of a clip. Nothing, as published.

    In this order: policy, colour, grayscale, erasing; then whole batches are mixed.
    """

    policy: str = "none"
    """"randaugment" (Cubuk et al. 2020) or "trivialaugment" (Müller and Hutter 2021), both torchvision's."""
    policy_ops: int = 2
    """Of RandAugment: operations, one after another."""
    policy_magnitude: int = 9
    """Likewise: 0 to 30."""
    color: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Most that brightness, contrast, saturation and hue are changed by, as of torchvision's ColorJitter."""
    grayscale: float = 0.0
    """How likely a clip loses its colours."""
    erase: float = 0.0
    """How likely a rectangle of a clip is filled with the mean colour, as by torchvision's RandomErasing."""
    mixup: float = 0.0
    """Alpha of the Beta distribution that shares of two clips are drawn of (Zhang et al. 2018); 0: none."""
    cutmix: float = 0.0
    """Likewise, of the rectangle's share (Yun et al. 2019). With both, each batch has one of them, drawn evenly."""
    mix_probability: float = 1.0
    """How likely a batch is mixed."""

    def __post_init__(self) -> None:
        _check_among("augment policy", self.policy, POLICIES)
        if not 1 <= self.policy_ops <= 100:
            raise ValueError(f"augment policy_ops ({self.policy_ops}) must be 1 to 100")
        if not 0 <= self.policy_magnitude <= 30:
            raise ValueError(f"augment policy_magnitude ({self.policy_magnitude}) must be 0 to 30")
        if len(self.color) != 4 or min(self.color) < 0 or max(self.color) > _LARGE or self.color[3] > 0.5:
            raise ValueError(
                f"augment color ({self.color}) must be four numbers, 0 to {_LARGE:.0f}, the last (hue) 0.5 at most"
            )
        for name in ("grayscale", "erase", "mix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment {name} ({getattr(self, name)}) must be 0 to 1")
        for name in ("mixup", "cutmix"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"augment {name} ({getattr(self, name)}) must be 0 or more")

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed."""
        return bool(self.mixup or self.cutmix) and self.mix_probability > 0


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the labels of a list mean, and how much each counts."""

    kind: str = "single"
    """"single": one class a video, cross entropy; "several": any number of them, binary cross entropy, scored by mAP; "soft":
    shares of classes, cross entropy."""
    ignore: int | None = None
    """A label of the lists that says nothing: such videos are shown, and count in no loss of labels and in no score."""
    class_weights: str = "none"
    """"balanced": each class counts in the loss by videos / (classes x videos of the class)."""
    balance: bool = False
    """Whether an epoch of training shows every class equally often."""

    def __post_init__(self) -> None:
        _check_among("labels kind", self.kind, LABEL_KINDS)
        _check_among("labels class_weights", self.class_weights, CLASS_WEIGHTS)
        if self.balance and self.class_weights != "none":
            raise ValueError("labels balance (True) must be without class_weights, which also favour rare classes; take one")


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Learning from a teacher as well as from labels (Hinton et al. 2015)."""

    weight: float = 0.5
    """The teacher's part of the loss; the labels have the rest."""
    temperature: float = 1.0
    """Logits of both are divided by it before their softmax."""
    teacher: Model | None = None
    """The teacher's network; None: its checkpoint says it."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"distill weight ({self.weight}) must be above 0, and 1 at most")
        if not 0 < self.temperature <= _LARGE:
            raise ValueError(f"distill temperature ({self.temperature}) must be above 0, and {_LARGE:.0f} at most")
