"""`predict --stream`: what a camera, a device or a pipe shows now: a line of JSON for each window, soon or not at all."""

import argparse
import json
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from c2d_fast.commands.live_windows import LiveWindows, Waiting, Window
from c2d_fast.commands.window_model import BATCH, Scorer, centre_crop, clips_as_asked, window_scorer
from c2d_fast.commands.window_scores import Clips
from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import check_is_no_input, check_writable
from c2d_fast.model.c2d import C2D
from c2d_fast.processes import early_signals
from c2d_fast.recipe import Recipe
from c2d_fast.video.crops import why_no_opencv
from c2d_fast.video.live_frames import LiveFrames
from c2d_fast.video.live_reader import Ended, Event, LiveReader, Opened
from c2d_fast.video.live_source import LiveSource, live_source

_DELAY_S = 5.0
_LOOK_S = 0.5
_SAY_AGAIN_S = 60.0
_STANDARD_INPUT = "/dev/stdin"  # of a file's: the file
_DELAYS = 10000  # the last ones, of which the median is told


def check_stream_flags(args: argparse.Namespace) -> LiveSource | None:
    """Compares the flags of streams with others; returns the source, None without --stream.

    Raises:
        UserError: they do not fit, or the source cannot be read.
    """
    if args.stream is None:
        for name in ("out", "max_delay"):
            if getattr(args, name):
                raise UserError(f"--{name.replace('_', '-')}: is of --stream, which is missing; give it, or leave this out")
        return None
    given = ("videos", "segments", "overlay", "explain", "explain_class", "json", "watch", "top")
    others = [name for name in given if getattr(args, name)] + ["views"] * (args.views != "1x1")
    if others:
        name = "VIDEO" if others[0] == "videos" else f"--{others[0].replace('_', '-')}"
        raise UserError(f"{name}: does not go with --stream, which prints a line of JSON for each window; leave one out")
    if problem := why_no_opencv():
        raise UserError(f"--stream: {problem}; pip install opencv-python-headless")
    if args.out:
        check_writable(args.out, "--out")
        check_is_no_input(args.out, "--out", (args.checkpoint, args.label_map, args.thresholds, _STANDARD_INPUT))
    return live_source(args.stream)


def run_stream(
    args: argparse.Namespace,
    source: LiveSource,
    model: C2D,
    recipe: Recipe,
    classes: Sequence[str],
    thresholds: Sequence[float],
) -> None:
    """Scores the windows of a stream until it ends, or a signal comes.

    Args:
        args: of the command.
        source: of the stream.
        model: on the CPU.
        recipe: of the model.
        classes: names by label.
        thresholds: what a class's probability must reach to be named, by label.

    Raises:
        UserError: the source never opened, nothing of it decodes, or --out cannot be written.
        KeyboardInterrupt: a signal has come.
        BrokenPipeError: nobody reads standard output.
    """
    score = window_scorer(args, model, recipe)
    clips = clips_as_asked(args, recipe)
    _warm_up(score, recipe, clips, args.batch_size or BATCH)
    with ExitStack() as files:
        try:
            file = args.out.open("a", encoding="utf-8") if args.out else None
        except OSError as error:
            raise UserError(f"--out {args.out}: cannot be written ({error.strerror}); give another file") from error
        if file:
            files.callback(_close, file)
        lines = _Lines(file, args, clips, classes, thresholds, several=recipe.labels.kind == "several")
        stream = _Stream(args, source, clips, recipe, score, lines)
        try:
            stream.run()
        except KeyboardInterrupt:
            number = early_signals.received[0] if early_signals.received else 2
            lines.end(early_signals.exit_message(number))
            raise
        except BrokenPipeError:
            lines.end("nobody reads standard output", to_file_alone=True)
            raise
        lines.end("the stream has ended")


def _close(file: TextIO) -> None:
    with suppress(OSError):  # a line that did not go onto a full disk is tried again, and has been named
        file.close()


def _warm_up(score: Scorer, recipe: Recipe, clips: Clips, batch_size: int) -> None:
    """Has all compiled and allocated before the stream begins, and so does not make it late.

    Raises:
        UserError: so many windows do not fit memory.
    """
    for count in sorted({1, batch_size}):
        try:
            score(np.zeros((count, clips.num_frames, recipe.crop.size, recipe.crop.size, 3), np.uint8))
        except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError for it
            if count == 1:
                raise
            why = str(error).partition("\n")[0]
            raise UserError(f"--batch-size {count}: so many windows do not fit memory ({why:.120}); give fewer") from error


class _Stream:
    """A stream that is being scored."""

    def __init__(
        self, args: argparse.Namespace, source: LiveSource, clips: Clips, recipe: Recipe, score: Scorer, lines: "_Lines"
    ):
        self._args, self._source, self._score, self._lines = args, source, score, lines
        self._delay_s = args.max_delay or _DELAY_S
        waits = source.kind == "file"
        self._frames = LiveFrames(centre_crop(recipe), key_frames=args.key_frames, waits=waits)
        self._windows, self._stride_s = LiveWindows(clips), clips.stride_s
        self._batch_size, self._waits = args.batch_size or BATCH, waits
        self._waiting = Waiting(math.inf if waits else self._delay_s, self._batch_size)
        self._said_s = -math.inf
        self._dropped_since = 0

    def run(self) -> None:
        """Reads and scores until the source has ended.

        Raises:
            UserError: it never opened, or nothing of it decodes.
        """
        reader = LiveReader(self._source, self._say, max_delay_s=self._delay_s, key_frames=self._args.key_frames)
        try:
            while True:
                for event in reader.take(_LOOK_S):
                    self._heed(event)
                    if isinstance(event, Ended) and event.is_last:
                        self._end(event)
                        return
                self._score_waiting()
        finally:
            reader.stop()

    def _heed(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._lines.openings += 1
            codec = event.stream.codec_context
            size = f", {codec.width}x{codec.height}" if codec.width else ""  # known later, where nothing has come yet
            self._say(f"{self._source.name}: {codec.name}{size}")
        for frame in self._frames.of(event):
            if frame.is_cut:
                missing = self._windows.cut(frame.time_s)
                if frame.dropped:
                    self._drop(missing, frame.dropped)
            for window in self._windows.add(frame, self._frames.picture):
                self._waiting.add(window)
                if self._waits and len(self._waiting) >= self._batch_size:  # a file's frame may stand for days: many windows
                    self._score_waiting()

    def _score_waiting(self) -> None:
        while self._waiting:
            windows, dropped = self._waiting.take()
            if dropped:
                self._drop(dropped, 0)
            began_s = time.monotonic()
            rows = self._score(np.stack([window.clip for window in windows]))
            self._waiting.scored(len(windows), time.monotonic() - began_s)
            for window, row in zip(windows, rows, strict=True):
                self._lines.write(window, row)

    def _end(self, event: Ended) -> None:
        if not self._lines.openings:
            raise UserError(f"--stream {self._source.name}: {event.why}; correct it, or start its server")
        if not self._frames.count:
            remedy = "an mp4 needs its index in front (faststart)" if self._source.kind == "pipe" else "give another source"
            raise UserError(f"--stream {self._source.name}: has no frame that decodes; {remedy}")
        if event.why:
            self._say(f"{self._source.name}: {event.why}; what came before is scored")
        for window in self._windows.end():
            self._waiting.add(window)
        self._score_waiting()

    def _drop(self, windows: int, frames: int) -> None:
        self._lines.drop(windows, frames)
        self._dropped_since += windows
        now_s = time.monotonic()
        if now_s - self._said_s < _SAY_AGAIN_S:
            return
        self._said_s = now_s
        if self._waiting.each_s > self._stride_s / 2:
            why = f"one takes the model {self._waiting.each_s:.2f} s; a longer --stride gives it time"
        else:
            why = "decoding is too slow; --key-frames decodes less"
        self._say(f"{self._source.name}: windows dropped: {self._dropped_since}: {why}")
        self._dropped_since = 0

    def _say(self, text: str) -> None:
        if not self._args.quiet:
            print(on_one_line(text), file=sys.stderr, flush=True)


class _Lines:
    """The lines of JSON that are written, and what the last of them sums up."""

    def __init__(
        self,
        file: TextIO | None,
        args: argparse.Namespace,
        clips: Clips,
        classes: Sequence[str],
        thresholds: Sequence[float],
        *,
        several: bool,
    ):
        self._file, self._path, self._clips = file, args.out, clips
        self._classes, self._thresholds, self._several = classes, np.array(thresholds), several
        self._last: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=args.smooth or 1)
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._longest_s = 0.0
        self._windows = self._dropped_windows = self._dropped_frames = 0
        self._new_windows = self._new_frames = 0
        self.openings = 0
        """How often the source was opened."""

    def drop(self, windows: int, frames: int) -> None:
        """Counts what was dropped."""
        self._new_windows, self._new_frames = self._new_windows + windows, self._new_frames + frames
        self._dropped_windows, self._dropped_frames = self._dropped_windows + windows, self._dropped_frames + frames

    def write(self, window: Window, row: NDArray[np.float32]) -> None:
        """Writes a window's line; row: probabilities, float32 [K]."""
        if self._last and window.number != self._last[-1][0] + 1:  # no mean over a gap
            self._last.clear()
        self._last.append((window.number, row))
        start_s = window.number * self._clips.stride_s
        delay_s = max(time.monotonic() - window.arrived_s, 0.0)
        line = {"window": window.number, "start": round(start_s, 3), "end": round(start_s + self._clips.window_s, 3)}
        at = datetime.now(UTC) - timedelta(seconds=delay_s)
        line |= {"at": at.isoformat(timespec="milliseconds")} | self._found()
        line |= {"delay_s": round(delay_s, 3), "dropped_windows": self._new_windows, "dropped_frames": self._new_frames}
        with early_signals.signals_deferred():  # what is counted is written
            self._new_windows = self._new_frames = 0
            self._windows += 1
            self._delays.append(delay_s)
            self._longest_s = max(self._longest_s, delay_s)
            self._put(line)

    def _found(self) -> dict[str, Any]:
        row = np.stack([row for _, row in self._last]).astype(np.float64).mean(0)
        if self._several:
            reached = [int(label) for label in np.argsort(-row, kind="stable") if row[label] >= self._thresholds[label]]
            return {"classes": [self._named(label, float(row[label])) for label in reached]}
        best = int(row.argmax())
        if row[best] < self._thresholds[best]:
            return {"class": None, "label": None, "score": round(float(row[best]), 4)}
        return self._named(best, float(row[best]))

    def _named(self, label: int, score: float) -> dict[str, Any]:
        return {"class": self._classes[label], "label": label, "score": round(score, 4)}

    def end(self, why: str, *, to_file_alone: bool = False) -> None:
        """Writes the last line."""
        line: dict[str, Any] = {"ended": why, "windows": self._windows, "dropped_windows": self._dropped_windows}
        line |= {"dropped_frames": self._dropped_frames, "reconnects": max(self.openings - 1, 0)}
        if self._delays:
            line |= {"delay_median_s": round(statistics.median(self._delays), 3), "delay_max_s": round(self._longest_s, 3)}
        self._put(line, to_file_alone=to_file_alone)

    def _put(self, line: dict[str, Any], *, to_file_alone: bool = False) -> None:
        text = json.dumps(line)
        with early_signals.signals_deferred():  # no line is half written
            if self._file:
                try:
                    self._file.write(text + "\n")
                    self._file.flush()
                except OSError as error:
                    raise UserError(f"--out {self._path}: cannot be written ({error.strerror}); free the disk") from error
            if not to_file_alone:
                result(text)
