"""A trainer on made-up batches: no video, no DALI."""

import torch
from tiny_pipe import DEPTH

from c2d_fast.loading.batch import Batch
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.precision import Precision
from c2d_fast.processes.signals import StopSignals
from c2d_fast.recipe import Model, Training
from c2d_fast.reporting.no_records import NoRecords
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.averaged_weights import AveragedWeights
from c2d_fast.training.checkpoints import Checkpoints
from c2d_fast.training.distributed import Group
from c2d_fast.training.objective import Objective
from c2d_fast.training.parameter_groups import freeze
from c2d_fast.training.progress import Progress
from c2d_fast.training.schedule import make_optimizer
from c2d_fast.training.train_step import TrainStep
from c2d_fast.training.trainer import Trainer

TRAINING = Training(lr=0.05, lr_batch=4, clips_per_gpu=4, epochs=3, milestones=(2,))


class Toy:
    """Batches of four clips whose class is the colour that is dimmed."""

    def __init__(self, steps_per_epoch=3, size=32):
        self.steps_per_epoch, self.size = steps_per_epoch, size
        self.clips_per_step = 4

    def epoch(self, epoch, first_step=0):
        for step in range(first_step, self.steps_per_epoch):
            generator = torch.Generator().manual_seed(100 * epoch + step)
            clip = torch.randint(0, 256, (4, 2, self.size, self.size, 3), generator=generator, dtype=torch.uint8)
            label = torch.randint(0, 3, (4,), generator=generator)
            clip[torch.arange(4), :, :, :, label] //= 2
            yield Batch(clip, label, torch.arange(4), torch.ones(4, dtype=torch.bool))

    def name(self, index):
        return f"toy {index}"


def make_trainer(folder, *, depth=DEPTH, top1s=(), precision="fp32", start_step=0, training=TRAINING, temporal_pool=True,
                 dropout=0.5, source=None, compiled="", seed=0, group=None, accumulate=1, forward=None,
                 objective=None, mixing=None, teacher=None, **checkpoints):  # fmt: skip
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    model = C2D(Model(depth=depth, temporal_pool=temporal_pool, dropout=dropout, num_classes=3))
    freeze(model, training)
    source, group = source or Toy(), group or Group()
    rounds = iter(top1s)

    def validate(asked_to_stop, gallery):
        if asked_to_stop():
            return None
        right = next(rounds)
        scores = torch.eye(3)[torch.arange(10) % 3]
        labels = torch.where(torch.arange(10) < right, torch.arange(10) % 3, (torch.arange(10) + 1) % 3)
        return Scores(scores, torch.ones(10, dtype=torch.bool), labels)

    return Trainer(
        step=TrainStep(
            model=model,
            forward=(forward or as_it_is)(torch.compile(model, dynamic=False, backend=compiled) if compiled else model),
            optimizer=make_optimizer(model, training, training.lr),
            scaler=Precision(precision).scaler(torch.device("cpu")),
            precision=Precision(precision),
            clip_grad_norm=training.clip_grad_norm,
            seed=seed,
            group=group,
            accumulate=accumulate,
            objective=objective or Objective(3),
            mixing=mixing,
            teacher=teacher,
            averaged=AveragedWeights(model, training.ema) if training.ema else None,
        ),
        training=training,
        base_lr=training.lr,
        source=source,
        validate=validate if top1s else None,
        records=Records(folder, first_step=start_step, total_steps=9) if group.is_first else NoRecords(),
        checkpoints=Checkpoints(folder, **checkpoints),
        identity={"seed": 0, "recipe": {"name": "toy"}},
        progress=Progress(),
        group=group,
        signals=StopSignals(),
    )


def as_it_is(model):
    return model


def resumed(folder, path="last.pt", **kwargs):
    """A trainer that goes on from a checkpoint of the folder, as run_train makes one."""
    content = checkpoint.load(folder / path, "--resume")
    trainer = make_trainer(folder, start_step=content["progress"]["step"], **kwargs)
    trainer.model.load_state_dict(content["model"])
    trainer.restore(content)
    return trainer
