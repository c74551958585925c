"""What a run tells: console, JSON lines, TensorBoard and a tracker, from the same metrics. It keeps account of its own time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import encode
from c2d_fast.reporting import charts
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.gauges import Gauges
from c2d_fast.reporting.metrics_file import open_without_later_steps
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.remote_traffic import remote_text
from c2d_fast.reporting.score_figures import score_figures
from c2d_fast.reporting.scores import Scores
from c2d_fast.reporting.tensorboard_writer import TensorBoardWriter
from c2d_fast.reporting.tracker_queue import TrackerQueue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE_EVERY_S = 10.0
_MOST_PERCENT = 0.5  # of the time that recording may have taken with an epoch's pictures; otherwise they are left out
_PICTURES_S = 0.2  # that these take, about
_BEST = ("top1", "top5", "mAP")
_SCORES = ("best/top1", "best/top5", "val/top1", "val/top5")  # beside the hyperparameters; of several the last value is shown


class Records:
    """The records of one run folder: metrics.jsonl, TensorBoard events, and a progress bar (plain lines off a terminal).

    Once they cannot be written, the run goes on without: it ends when a checkpoint cannot be written. A tracker, if there is
    one, is given the same figures as TensorBoard.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int,
        total_steps: int,
        epochs: int | None = None,
        pictures: PictureSchedule | None = None,
        gauges: Gauges | None = None,
        tracker: TrackerQueue | None = None,
    ):
        self._folder, self._writes, self._tracker = folder, True, tracker
        self._pictures, self._gauges = pictures or PictureSchedule(epochs=0, every=0), gauges
        # Steps after the checkpoint that a resumed run starts from are taken again: their old records go.
        self._jsonl = open_without_later_steps(folder / "metrics.jsonl", first_step, epochs)
        self._machine = open_without_later_steps(folder / "machine.jsonl", first_step, epochs)
        try:
            self._writer = TensorBoardWriter(folder, purge_step=first_step + 1 if first_step else None)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--out {folder}: cannot be written to ({_reason(error)}); free the disk or give another"
            ) from error
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not shows_bars(), dynamic_ncols=True)
        self._first_step, self._step, self._total_steps = first_step, first_step, total_steps
        self._started_s = self._last_line_s = time.monotonic()
        self._spent_s, self._depth = 0.0, 0
        self._affords: bool | None = True
        if self._pictures.every != 0:  # while the first videos are read; otherwise the first picture would pay for it
            threading.Thread(target=charts.warm_up, name="warm-up", daemon=True).start()
        self._last = (first_step, self._started_s)

    def config(self, config: dict[str, Any]) -> None:
        """Writes the configuration of the run to TensorBoard: as text, and as hyperparameters."""
        self._try(lambda: self._writer.config(config, _SCORES))

    def start(self) -> None:
        """Starts the clocks: the first step is next."""
        self._started_s = time.monotonic()
        self._spent_s, self._last = 0.0, (self._step, self._started_s)

    def step(self, description: str) -> None:
        """Moves the bar by a training step."""
        with self._timed():
            self._step += 1
            self._bar.set_description(description, refresh=False)
            self._bar.update()

    def train(self, step: int, epoch: int, metrics: dict[str, float], *, last: bool) -> None:
        """Records training metrics, and what the machine did meanwhile.

        Args:
            step: optimizer steps taken.
            epoch: counted from 1.
            metrics: loss, top1 and top5 (per cent), gradient_norm, lr, clips_per_s, data_wait_percent.
            last: this is the epoch's last record: the console always shows it.
        """
        with self._timed():
            self._write("train", step, epoch, metrics)
            self._write("machine", step, epoch, self._step_timing(step))
            text = (
                f"loss {metrics['loss']:.3f}  top-1 {metrics['top1']:.1f} %  {metrics['clips_per_s']:.1f} clips/s  "
                f"data wait {metrics['data_wait_percent']:.0f} %"
            ) + remote_text(metrics)
            self._bar.set_postfix_str(text, refresh=False)
            now = time.monotonic()
            if self._bar.disable and (last or now - self._last_line_s >= _LINE_EVERY_S):
                self._last_line_s = now
                left = (now - self._started_s) / max(step - self._first_step, 1) * (self._total_steps - step)
                eta = timedelta(seconds=round(left))
                print(f"epoch {epoch}  step {step}/{self._total_steps}  {text}  lr {metrics['lr']:.3g}  eta {eta}")

    def validation(self, step: int, epoch: int, metrics: dict[str, float], text: str) -> None:
        """Records validation metrics (as Scores.metrics() has them) and shows the text."""
        with self._timed():
            self._write("val", step, epoch, metrics)
            for name, value in self._pictures.published.items():
                self._scalar(f"published/{name}", value, step)
            self._try(self._writer.flush)
            self.say(text)

    def best(self, step: int, epoch: int, metrics: dict[str, float]) -> None:
        """Records the best validation so far, for the table of hyperparameters."""
        with self._timed():
            for name, value in ({name: metrics[name] for name in _BEST if name in metrics} | {"epoch": epoch}).items():
                self._scalar(f"best/{name}", value, step)

    def begin_epoch(self, epoch: int) -> bool:
        """Starts the clock of an epoch's steps; says whether its clips are to be kept for pictures.

        Args:
            epoch: counted from 1.
        """
        self._last = (self._step, time.monotonic())
        if self._gauges:
            self._gauges.read()
        self._affords = True if self._pictures.are_certain(epoch) else None
        return self._pictures.are_due(epoch)

    def clips(self, kind: str, step: int, gallery: Gallery, name: Callable[[int], str]) -> None:
        """Writes a strip of clips that the model was fed.

        Args:
            kind: train or val.
            step: optimizer steps taken.
            gallery: has seen them; its time is recording's, too.
            name: says which video has an index in the plan.
        """

        def draw() -> None:
            shown = gallery.pop()
            if shown and shown.labels:
                classes = self._classes(max(*shown.labels, *shown.guesses) + 1)
                names = [name(index).partition(": ")[2] for index in shown.indices]
                self._try(lambda: self._writer.clips(f"{kind}/clips", shown, classes, names, step))

        with self._timed():
            self._spent_s += gallery.spent_s
            self._draw(draw)

    def score_figures(self, step: int, scores: Scores) -> None:
        """Draws the confusion matrix and the accuracy of each class; what there is of several labels a video."""

        def draw() -> None:
            for name, figure in score_figures(scores, self._classes(scores.scores.shape[1])):
                self._figure(f"val/{name}", figure, step)

        with self._timed():
            self._draw(draw)

    def skipped(self, line: dict[str, Any]) -> None:
        """Notes in nonfinite.jsonl a step that was not applied, with the loss and the videos of each rank."""

        def write() -> None:
            with (self._folder / "nonfinite.jsonl").open("a") as file:
                file.write(encode(line) + "\n")

        with self._timed():
            self._try(write)

    def say(self, text: str) -> None:
        """Shows a line above the bar."""
        tqdm.write(text) if not self._bar.disable else print(text)

    def overhead_percent(self) -> float:
        """Returns the share of the time since start() that recording has taken, in per cent."""
        return 100 * self._spent_s / max(time.monotonic() - self._started_s, 1e-9)

    def close(self, *, finished: bool = False) -> None:
        """Writes out everything; of a finished run it says what recording has cost."""
        with self._timed():
            self._bar.close()
            self._try(lambda: self._writer.close(finished=finished))
            self._try(self._jsonl.close)
            self._try(self._machine.close)
            if self._gauges:
                self._gauges.close()
        if finished:
            steps, elapsed_ms = self._step - self._first_step, 1000 * (time.monotonic() - self._started_s)
            each = f": {1000 * self._spent_s / steps:.2f} ms for each step of {elapsed_ms / steps:.0f} ms" if steps else ""
            self.say(f"recording took {self.overhead_percent():.2f} % of the time{each}, validation and pictures included")
        if self._tracker:  # what is waited for here no step has waited for
            self._tracker.close(finished=finished)
            self._tell_of_tracker()

    def _draw(self, draw: Callable[[], None]) -> None:
        if self._affords is None:  # known at the end of an epoch, and the same for all of its pictures
            spent_s, elapsed_s = self._spent_s + _PICTURES_S, time.monotonic() - self._started_s
            self._affords = 100 * spent_s < _MOST_PERCENT * elapsed_s
        if not self._affords:
            return
        try:
            draw()
        except Exception as error:  # whatever it is: a picture is not worth a run
            self._pictures, self._affords = replace(self._pictures, every=0), False
            self.say(f"warning: pictures can no longer be drawn ({type(error).__name__}: {error}); the run goes on")

    def _figure(self, tag: str, figure: "Figure", step: int) -> None:
        width, height = (figure.get_size_inches() * figure.dpi).round().astype(int).tolist()
        file = charts.encode_png(figure)
        self._try(lambda: self._writer.image(tag, file, (height, width), step))

    def _step_timing(self, step: int) -> dict[str, float]:
        now_s, (last_step, last_s) = time.monotonic(), self._last
        self._last = (step, now_s)
        timing = {"step_ms": 1000 * (now_s - last_s) / (step - last_step)} if step > last_step else {}
        return {**timing, "recording_percent": self.overhead_percent(), **(self._gauges.read() if self._gauges else {})}

    def _classes(self, count: int) -> list[str]:
        names = list(self._pictures.classes)
        return names + [f"class {label}" for label in range(len(names), count)]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started_s, self._depth = time.perf_counter(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:  # within another one it is counted there
                self._spent_s += time.perf_counter() - started_s

    def _write(self, kind: str, step: int, epoch: int, metrics: dict[str, float]) -> None:
        line = {"kind": kind, "step": step, "epoch": epoch, "time_s": round(time.time(), 3), **metrics}
        # What depends on the machine stands apart: of the rest a resumed run has the same to the bit.
        file = self._machine if kind == "machine" else self._jsonl
        self._try(lambda: file.write(encode(line) + "\n"))
        for name, value in metrics.items():
            self._scalar(f"{kind}/{name}", value, step)
        self._tell_of_tracker()

    def _scalar(self, tag: str, value: float, step: int) -> None:
        self._try(lambda: self._writer.scalar(tag, value, step))
        if self._tracker:
            self._tracker.scalar(tag, value, step)

    def _tell_of_tracker(self) -> None:
        for line in self._tracker.pop_lines() if self._tracker else ():
            self.say(line)

    def _try(self, write: Callable[[], object]) -> None:
        if not self._writes:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self._writes = False
            self.say(f"warning: metrics and TensorBoard events can no longer be written ({_reason(error)}); the run goes on")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
