"""What a run tells: the console, JSON lines and TensorBoard, from the same figures."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from c2d_fast.console import shows_bars

_LINE_EVERY_S = 10.0


class Records:
    """The records of one run folder: metrics.jsonl, TensorBoard events, and a progress bar (plain lines off a terminal)."""

    def __init__(self, folder: Path, *, first_step: int, total_steps: int):
        # Steps after the checkpoint that a resumed run starts from are taken again: their old records go.
        self._jsonl = _open_without_later_steps(folder / "metrics.jsonl", first_step)
        self._board = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not shows_bars(), dynamic_ncols=True)
        self._first_step, self._total_steps = first_step, total_steps
        self._started_s = self._last_line_s = time.monotonic()

    def config(self, config: dict[str, Any]) -> None:
        """Writes the configuration of the run to TensorBoard, as text."""
        self._board.add_text("config", "```json\n" + json.dumps(config, indent=2) + "\n```")

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
            left = (now - self._started_s) / (step - self._first_step) * (self._total_steps - step)
            eta = timedelta(seconds=round(left))
            print(f"epoch {epoch}  step {step}/{self._total_steps}  {text}  lr {figures['lr']:.3g}  eta {eta}")

    def validation(self, step: int, epoch: int, figures: dict[str, float], text: str) -> None:
        """Records validation figures (loss, top1 and top5 in per cent) and shows the text."""
        self._write("val", step, epoch, figures)
        self.say(text)

    def say(self, text: str) -> None:
        """Shows a line above the bar."""
        tqdm.write(text) if not self._bar.disable else print(text)

    def close(self) -> None:
        """Writes out everything."""
        self._bar.close()
        self._board.close()
        self._jsonl.close()

    def _write(self, kind: str, step: int, epoch: int, figures: dict[str, float]) -> None:
        line = {"kind": kind, "step": step, "epoch": epoch, "time_s": round(time.time(), 3), **figures}
        self._jsonl.write(json.dumps(line) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)
        self._board.flush() if kind == "val" else None


def _open_without_later_steps(path: Path, last_step: int) -> TextIO:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= last_step]
    file = path.open("w", buffering=1)
    file.writelines(kept)
    return file
