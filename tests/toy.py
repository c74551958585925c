"""A trainer on made-up batches: no video, no DALI."""

import torch

from c2d_fast.batch import Batch
from c2d_fast.evaluate import Scores
from c2d_fast.model import C2D
from c2d_fast.precision import Precision
from c2d_fast.recipe import Model, Training
from c2d_fast.records import Records
from c2d_fast.schedule import make_optimizer
from c2d_fast.trainer import Progress, Trainer

TRAINING = Training(lr=0.05, lr_batch=4, clips_per_gpu=4, epochs=3, milestones=(2,))


class Toy:
    """Batches of four clips whose class is the colour that is dimmed."""

    def __init__(self, steps_per_epoch=3, size=32):
        self.steps_per_epoch, self.size = steps_per_epoch, size

    def epoch(self, epoch, first_step=0):
        for step in range(first_step, self.steps_per_epoch):
            generator = torch.Generator().manual_seed(100 * epoch + step)
            clip = torch.randint(0, 256, (4, 2, self.size, self.size, 3), generator=generator, dtype=torch.uint8)
            label = torch.randint(0, 3, (4,), generator=generator)
            clip[torch.arange(4), :, :, :, label] //= 2
            yield Batch(clip, label, torch.arange(4), torch.ones(4, dtype=torch.bool))


def make_trainer(folder, *, top1s=(), precision="fp32", start_epoch=0, training=TRAINING,
                 temporal_pool=True, dropout=0.5, source=None, compiled=False, seed=0):  # fmt: skip
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    model = C2D(Model(depth=18, temporal_pool=temporal_pool, dropout=dropout, num_classes=3))
    source = source or Toy()
    device, rounds = torch.device("cpu"), iter(top1s)

    def validate():
        right = next(rounds)
        scores = torch.eye(3)[torch.arange(10) % 3]
        labels = torch.where(torch.arange(10) < right, torch.arange(10) % 3, (torch.arange(10) + 1) % 3)
        return Scores(scores, torch.ones(10, dtype=torch.bool), labels)

    return Trainer(
        model=model,
        compiled=torch.compile(model, dynamic=False) if compiled else model,
        optimizer=make_optimizer(model, training, training.lr),
        scaler=Precision(precision).scaler(device),
        training=training,
        base_lr=training.lr,
        precision=Precision(precision),
        source=source,
        validate=validate if top1s else None,
        records=Records(folder, first_step=source.steps_per_epoch * start_epoch, total_steps=9),
        folder=folder,
        identity={"seed": 0, "recipe": {"name": "toy"}},
        seed=seed,
        progress=Progress(),
    )
