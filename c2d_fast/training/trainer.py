"""The training loop. It takes any source of batches and knows nothing of video, files or DALI."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from c2d_fast.errors import ReportedElsewhereError, UserError
from c2d_fast.loading.batch import TrainSource
from c2d_fast.processes.signals import StopSignals
from c2d_fast.recipe import Training
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.checkpoints import Checkpoints
from c2d_fast.training.distributed import Group, Votes
from c2d_fast.training.energy_meter import EnergyMeter
from c2d_fast.training.metrics import RunningMetrics
from c2d_fast.training.parameter_groups import set_training_mode
from c2d_fast.training.progress import Problems, Progress, StoppedError
from c2d_fast.training.schedule import load_moments, lr_at, set_lr
from c2d_fast.training.step_profile import StepProfile
from c2d_fast.training.throughput import InFlightSteps, ThroughputMeter
from c2d_fast.training.train_step import StepResult, TrainStep

_RECORD_EVERY_STEPS = 20
_MOST_SKIPPED_IN_A_ROW = 3
_LEAST_SCALE = 1.0
_SHOWN = 16  # clips of a picture


@dataclass(kw_only=True)
class Trainer:
    """Trains a model for some epochs, validates after each, and keeps the checkpoints of a run folder."""

    step: TrainStep
    training: Training
    base_lr: float
    source: TrainSource
    validate: Callable[[Callable[[], bool], Gallery | None], Scores | None] | None
    """Scores the model; gives up and returns None when what it is given says, on any rank, that a signal has come. Shows its
    clips to the gallery, if it is given one."""
    records: Records
    checkpoints: Checkpoints
    identity: dict[str, Any]
    """Written into every checkpoint: recipe, seed, versions, lists."""
    progress: Progress
    group: Group
    signals: StopSignals
    val_name: Callable[[int], str] = str
    """Says which video of the validation list has an index in the plan."""
    problems: Problems | None = None
    heartbeat: Callable[[str], None] = lambda doing: None
    """Called whenever the run gets on, with what it does next."""
    profile: StepProfile | None = None
    """Records some of the first steps; open while the run goes on."""
    initial_metric_sums: Sequence[float] = ()
    """What a resumed run had summed up since its last record."""

    @property
    def model(self) -> nn.Module:
        """Returns what is saved."""
        return self.step.model

    def run(self, epochs: int) -> None:
        """Trains until so many epochs are finished.

        Raises:
            StoppedError: a signal has come; the run can be resumed from the step that it was in.
        """
        self._metrics = RunningMetrics(self.step.device, self.initial_metric_sums if self.group.is_first else ())
        self._skipped_in_a_row, self._save_is_voted = 0, False
        self._energy = EnergyMeter(self.group, self.step.device)
        has_best, has_last = self.group.broadcast((self.checkpoints.best.exists(), self.checkpoints.last.exists()))
        if not (has_best and has_last):
            # A run stopped before its first checkpoint is due can be resumed, too; and the folder has both from the start on.
            self._save(best=not has_best)
        self.records.start()
        while self.progress.epoch < epochs and not self._has_stalled():
            pictured = self.records.begin_epoch(self.progress.epoch + 1)
            if self._steps_taken() < self.source.steps_per_epoch:
                stop = self._train_epoch(epochs, self._gallery(batches=1) if pictured else None)
                self.step.average_statistics()
                if self.validate or stop:
                    self._save()  # whatever happens in validation, the epoch is not lost
                if stop:
                    raise StoppedError(stop)
            gallery = self._gallery() if pictured and self.validate else None
            best, scores = self._validate_epoch(epochs, gallery)
            self.progress.epoch, self.progress.clips = self.progress.epoch + 1, 0
            self._save(best=best)
            if gallery and scores:
                self.records.clips("val", self.progress.step, gallery, self.val_name)
                self.records.score_figures(self.progress.step, scores)

    def restore(self, content: dict[str, Any]) -> None:
        """Takes up where a checkpoint stopped; its weights must have been loaded into the model already."""
        load_moments(self.step.optimizer, content["optimizer"])
        if content["scaler"] and self.step.scaler.is_enabled():
            self.step.scaler.load_state_dict(content["scaler"])
        self.progress = Progress(**content["progress"])
        self.initial_metric_sums = content["tally"]
        rows = content.get("statistics")
        if rows is not None and len(rows) == self.group.world:  # otherwise all go on from the mean, which the model has
            self.step.statistics.set(rows[self.group.rank].to(self.step.device))
        if self.step.averaged and content.get("averaged"):
            self.step.averaged.load(content["averaged"], self.group)
        if not self.group.broadcast(self.checkpoints.best.exists()):  # resumed into another folder: its best is still to come
            self.progress.best_top1, self.progress.best_epoch = -1.0, 0

    def emergency_save(self) -> str:
        """Saves what can be saved while the run hangs, called by another thread; says what it has done."""
        if not self.group.is_first:
            return "the first rank saves"
        if self.step.phase == "updating":
            return "nothing could be saved, it hangs in the midst of an update"
        content = self._content(self._metrics.sums(Group()), Group())
        if self.step.phase == "computing" and self.step.statistics_before is not None:
            content["model"] = self.step.statistics.put_into(content["model"], self.step.statistics_before)
        if not self.checkpoints.save(content, best=False, wait=False):
            return "nothing could be saved, it hangs while a checkpoint is written"
        return f"{self.checkpoints.last} holds step {self.progress.step}"

    def _gallery(self, batches: int | None = None) -> Gallery:
        return Gallery(_SHOWN, batches, self.step.objective.labels.kind)

    def _has_stalled(self) -> bool:
        """Says whether validation has not become better for too long; the same on all ranks."""
        progress, patience = self.progress, self.training.patience
        stalled = bool(patience) and progress.best_top1 >= 0 and progress.epoch - progress.best_epoch >= patience
        if stalled:
            self.records.say(f"no better validation for {patience} epochs (training patience): the run is finished")
        return stalled

    def _steps_taken(self) -> int:
        return self.progress.clips // self.source.clips_per_step

    def _train_epoch(self, epochs: int, gallery: Gallery | None) -> int:
        """Returns the signal that came with the epoch's last step, 0 without."""
        progress, epoch, per_epoch = self.progress, self.progress.epoch, self.source.steps_per_epoch
        throughput, in_flight = ThroughputMeter(), InFlightSteps(self.step.device)
        self.step.forward.train()
        set_training_mode(self.model, self.training)
        self.step.gallery = gallery
        first = self._steps_taken()
        self._energy.begin_epoch(progress.clips)
        batches = throughput.timed(self.source.epoch(epoch, first), self.heartbeat)
        for step_in_epoch in range(first + 1, per_epoch + 1):
            lr = lr_at(epoch + (step_in_epoch - 1) / per_epoch, self.base_lr, self.training, epochs)
            set_lr(self.step.optimizer, lr)
            result = self.step(batches, progress.step + 1, self._metrics)
            progress.step, progress.clips = progress.step + 1, step_in_epoch * self.source.clips_per_step
            self.step.phase = "idle"
            self._note_skipped(in_flight.add(result))
            waited_s = throughput.step(self.source.clips_per_step)
            if self.profile and (verdict := self.profile.step(waited_s)):
                self.records.say(verdict)
            self.records.step(f"epoch {epoch + 1}/{epochs}")
            last = step_in_epoch == per_epoch
            if last or step_in_epoch % _RECORD_EVERY_STEPS == 0:
                metrics = self._metrics.read(self.group) | {"lr": lr, **throughput.read()}  # waits for the device
                metrics |= self._energy.read(progress.clips, last=last)
                self.records.train(progress.step, epoch + 1, metrics, last=last)
            if last and gallery:
                self.records.clips("train", progress.step, gallery, self.source.name)
                self.step.gallery = None
            stop = self._handle_votes(in_flight, last=last)
        return stop

    def _handle_votes(self, in_flight: InFlightSteps, *, last: bool) -> int:
        """Does what any rank asks for; returns a signal that came with an epoch's last step, which is saved elsewhere."""
        pending = self.problems is not None and self.problems.has_pending
        save = self.group.is_first and not self._save_is_voted and self.checkpoints.is_overdue()
        self._save_is_voted = self._save_is_voted or save
        votes = self.group.vote(Votes(self.signals.received, save, pending))
        if votes.exchange and self.problems:
            self.problems.exchange()
        if last:
            self._note_skipped(in_flight.drain())
            return votes.stop
        if votes.stop or votes.save or self.checkpoints.is_due(self.progress.step):
            self._note_skipped(in_flight.drain())
            self._save()
        if votes.stop:
            raise StoppedError(votes.stop)
        return 0

    def _note_skipped(self, results: list[StepResult]) -> None:
        """Counts and writes down steps that were not applied.

        Raises:
            UserError: they are more than a few in a row.
        """
        for result in results:
            if result.applied:
                self._skipped_in_a_row = 0
                continue
            self.progress.skipped += 1
            losses = self.group.all_gather_object(result.losses.tolist())
            videos = self.group.all_gather_object(
                [self.source.name(index) for part in result.indices for index in part.tolist()]
            )
            ranks = [{"rank": i, "loss": [repr(x) for x in losses[i]], "videos": videos[i]} for i in range(len(losses))]
            self.records.skipped({"step": result.step, "epoch": self.progress.epoch + 1, "ranks": ranks})
            self.records.say(f"step {result.step} was not applied: its gradient is not finite (nonfinite.jsonl has its videos)")
            scaler = self.step.scaler
            if scaler.is_enabled() and scaler.get_scale() >= _LEAST_SCALE and torch.tensor(losses).isfinite().all():
                continue  # fp16 looks for its scale
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row > _MOST_SKIPPED_IN_A_ROW:
                problem = UserError(
                    f"the gradients of {self._skipped_in_a_row} steps in a row, to step {result.step}, are not finite (loss "
                    f"{losses[0][0]}): {self.checkpoints.last} is the last good checkpoint; go on from it with another "
                    "learning rate (--no-auto-scale-lr) or --precision fp32, and look into nonfinite.jsonl beside it"
                )
                raise problem if self.group.is_first else ReportedElsewhereError(str(problem))

    def _validate_epoch(self, epochs: int, gallery: Gallery | None) -> tuple[bool, Scores | None]:
        """Returns whether the epoch's model is the best so far (without validation each one is), and its scores."""
        if self.validate is None:
            return True, None
        epoch = self.progress.epoch
        scores = self.validate(lambda: bool(self.signals.received), gallery)
        if self.problems:
            self.problems.exchange()
        if scores is None:
            raise StoppedError(max(self.group.all_gather_object(self.signals.received)))
        metrics, headline = scores.metrics(), scores.headline
        better = headline.value > self.progress.best_top1
        if better:
            self.progress.best_top1, self.progress.best_epoch = headline.value, epoch + 1
        shown = f"top-1 {metrics['top1']:.1f} %, top-5 {metrics['top5']:.1f} %"
        if headline.key != "top1":
            shown = f"{headline.name} {headline.value:.1f} %, {shown}"
        text = f"epoch {epoch + 1}/{epochs}: validation {shown}{scores.coverage_text()}" + (", best" if better else "")
        self.records.validation(self.progress.step, epoch + 1, metrics, text)
        if better:
            self.records.best(self.progress.step, epoch + 1, metrics)
        return better, scores

    def _save(self, *, best: bool = False) -> None:
        """Every rank calls it after the same step; the first one writes."""
        self.heartbeat("while a checkpoint was written")
        rows = self.group.all_gather(self.step.statistics.vector())
        content = self._content(self._metrics.sums(self.group), self.group)
        if self.group.world > 1:
            # Each rank's own, to go on exactly; the model gets their mean, as at an epoch's end.
            content["statistics"] = rows
            content["model"] = self.step.statistics.put_into(content["model"], rows.mean(0))
        self.group.run_on_all(lambda: self.checkpoints.save(content, best=best) if self.group.is_first else None)
        self._save_is_voted = False
        if self.problems:  # also what was found in the last steps before an end
            self.problems.exchange()

    def _content(self, metric_sums: list[float], group: Group) -> dict[str, Any]:
        averaged = {"averaged": self.step.averaged.state(group)} if self.step.averaged else {}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "progress": vars(self.progress).copy(),
            "tally": metric_sums,
            **averaged,
            **self.identity,
        }
