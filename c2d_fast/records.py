"""What a run tells: the console, JSON lines and TensorBoard, from the same figures."""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.files import written_whole

_LINE_EVERY_S = 10.0


class Records:
    """The records of one run folder: metrics.jsonl, TensorBoard events, and a progress bar (plain lines off a terminal).

    Once they cannot be written, the run goes on without: it ends when a checkpoint cannot be written.
    """

    def __init__(self, folder: Path, *, first_step: int, total_steps: int):
        self._folder, self._writes = folder, True
        threading.excepthook = _quieter_hook
        # Steps after the checkpoint that a resumed run starts from are taken again: their old records go.
        self._jsonl = _open_without_later_steps(folder / "metrics.jsonl", first_step)
        try:
            self._board = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        except OSError as error:
            raise UserError(
                f"--out {folder}: cannot be written to ({error.strerror}); free the disk or give another"
            ) from error
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not shows_bars(), dynamic_ncols=True)
        self._first_step, self._total_steps = first_step, total_steps
        self._started_s = self._last_line_s = time.monotonic()

    def config(self, config: dict[str, Any]) -> None:
        """Writes the configuration of the run to TensorBoard, as text."""
        text = "```json\n" + json.dumps(config, indent=2) + "\n```"
        self._try(lambda: self._board.add_text("config", text))

    def step(self, description: str) -> None:
        """Moves the bar by a training step."""
        self._bar.set_description(description, refresh=False)
        self._bar.update()

    def train(self, step: int, epoch: int, figures: dict[str, float], *, last: bool) -> None:
        """Records training figures.

        Args:
            step: optimizer steps taken.
            epoch: counted from 1.
            figures: loss, top1 (per cent), lr, clips_per_s, data_wait_percent.
            last: this is the epoch's last record: the console always shows it.
        """
        self._write("train", step, epoch, figures)
        text = (
            f"loss {figures['loss']:.3f}  top-1 {figures['top1']:.1f} %  {figures['clips_per_s']:.1f} clips/s  "
            f"data wait {figures['data_wait_percent']:.0f} %"
        )
        self._bar.set_postfix_str(text, refresh=False)
        now = time.monotonic()
        if self._bar.disable and (last or now - self._last_line_s >= _LINE_EVERY_S):
            self._last_line_s = now
            left = (now - self._started_s) / max(step - self._first_step, 1) * (self._total_steps - step)
            eta = timedelta(seconds=round(left))
            print(f"epoch {epoch}  step {step}/{self._total_steps}  {text}  lr {figures['lr']:.3g}  eta {eta}")

    def validation(self, step: int, epoch: int, figures: dict[str, float], text: str) -> None:
        """Records validation figures (loss, top1 and top5 in per cent) and shows the text."""
        self._write("val", step, epoch, figures)
        self.say(text)

    def skipped(self, line: dict[str, Any]) -> None:
        """Notes in nonfinite.jsonl a step that was not applied, with the loss and the videos of each rank."""

        def write() -> None:
            with (self._folder / "nonfinite.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

        self._try(write)

    def say(self, text: str) -> None:
        """Shows a line above the bar."""
        tqdm.write(text) if not self._bar.disable else print(text)

    def close(self) -> None:
        """Writes out everything."""
        self._bar.close()
        self._try(self._board.close)
        self._try(self._jsonl.close)

    def _write(self, kind: str, step: int, epoch: int, figures: dict[str, float]) -> None:
        line = {"kind": kind, "step": step, "epoch": epoch, "time_s": round(time.time(), 3), **figures}
        self._try(lambda: self._jsonl.write(json.dumps(line) + "\n"))
        for name, value in figures.items():
            self._try(lambda name=name, value=value: self._board.add_scalar(f"{kind}/{name}", value, step))  # type: ignore[misc]
        if kind == "val":
            self._try(self._board.flush)

    def _try(self, write: Callable[[], object]) -> None:
        if not self._writes:
            return
        try:
            write()
        except OSError as error:
            self._writes = False
            self.say(f"warning: metrics and TensorBoard events can no longer be written ({error.strerror}); the run goes on")


def _open_without_later_steps(path: Path, last_step: int) -> TextIO:
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        if path.exists():
            with written_whole(path) as partial:  # a run that is killed here loses none of what it had
                partial.write_text("".join(line for line in lines if _step(line) <= last_step))
        return path.open("a", buffering=1)
    except OSError as error:
        raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another folder") from error


def _step(line: str) -> float:
    """Returns the step of a line; infinity for one that a killed process has left unfinished."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


_usual_hook = threading.excepthook


def _quieter_hook(args: threading.ExceptHookArgs) -> None:
    """Leaves errors of TensorBoard's writing thread to its callers, to whom its next call raises them again.

    And those of DALI's thread that looks after its workers to stream.py, which notices dead workers itself.
    """
    is_dalis = args.thread is not None and "_observer_thread" in args.thread.name
    if not is_dalis and not isinstance(args.thread, event_file_writer._AsyncWriterThread):
        _usual_hook(args)


class NoRecords(Records):
    """What the ranks beside the first record: nothing."""

    def __init__(self) -> None:
        pass

    def config(self, config: dict[str, Any]) -> None:
        """Records nothing."""

    def step(self, description: str) -> None:
        """Records nothing."""

    def train(self, step: int, epoch: int, figures: dict[str, float], *, last: bool) -> None:
        """Records nothing."""

    def validation(self, step: int, epoch: int, figures: dict[str, float], text: str) -> None:
        """Records nothing."""

    def skipped(self, line: dict[str, Any]) -> None:
        """Records nothing."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Closes nothing."""
