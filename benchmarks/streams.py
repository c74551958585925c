"""Runs predict --stream for minutes on an RTSP server, which is killed and started again midway, and on a pipe beside it.

    python benchmarks/streams.py                 # ten minutes of both, then two of a slow model; into benchmarks/results
    python benchmarks/streams.py --minutes 0.5 --late-minutes 0.2 --out /tmp/streams.json

Needs an RTSP server: pip install aio-rtsp-toolkit. The model is that of benchmarks/long_video.py; the slow one is a ResNet-50
whose weights are random: it is about time, not about accuracy.
"""

import argparse
import contextlib
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
from long_video import make_events, make_model, make_video
from machine import describe_machine
from result_file import write_result

from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import load_pipe

FORMAT = "c2d_fast.benchmark.streams/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "streams-cpu.json"
RATE, GROUP = 25, 50
WINDOW_S, STRIDE_S = 2.0, 0.5
AWAY_S = 5.0
_AT_ONCE = {"flush_packets": "1"}
MINUTE_S = 60.0
_SLOW = "k400_8x8"
_SERVER = """
import asyncio, sys
from aio_rtsp_toolkit import server
asyncio.run(server.serve(sys.argv[1], "127.0.0.1", int(sys.argv[2])))
"""


class Server:
    """An RTSP server over a folder."""

    def __init__(self, folder: Path):
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.start()

    def url(self, name: str) -> str:
        """Returns where a file's stream is."""
        return f"rtsp://127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Starts it."""
        words = [sys.executable, "-c", _SERVER, str(self._folder), str(self._port)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._process.kill()
        self._process.wait()


def feed(path: Path, pipe: Any, duration_s: float) -> None:
    """Writes a video as MPEG-TS, each packet at its time."""
    with (
        contextlib.suppress(OSError, ValueError),
        av.open(str(path)) as source,
        av.open(pipe, "w", format="mpegts", options=_AT_ONCE) as target,
    ):
        video = source.streams.video[0]
        copy, began_s = target.add_stream_from_template(video), time.monotonic()
        for packet in source.demux(video):
            if packet.dts is None or (at_s := float(packet.dts * video.time_base)) > duration_s:
                break
            time.sleep(max(began_s + at_s - time.monotonic(), 0.0))
            packet.stream = copy
            target.mux(packet)
    with contextlib.suppress(OSError):
        pipe.close()


class Run:
    """A command that runs, what it prints, and the memory that it takes."""

    def __init__(self, stream: str, model: Path, recipe: str, *more: str):
        words = [sys.executable, "-m", "c2d_fast.predict", "--stream", stream, "--pipe", recipe, "--checkpoint", model]
        words += ["--set", "model.num_classes=2", "--window", WINDOW_S, "--stride", STRIDE_S, *more]
        self._stdin = subprocess.PIPE if stream == "-" else subprocess.DEVNULL
        self.process = subprocess.Popen(
            list(map(str, words)), stdin=self._stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
        )
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.said: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._hear, self._watch)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append((time.monotonic(), json.loads(line)))

    def _hear(self) -> None:
        self.said += [line.decode().rstrip() for line in self.process.stderr or ()]

    def _watch(self) -> None:
        watched = psutil.Process(self.process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            while self.process.poll() is None:
                self.memory.append((time.monotonic(), watched.memory_info().rss / 1e6))
                time.sleep(0.5)

    def wait_for_a_window(self) -> float:
        """Returns when the first one is there."""
        while not self.lines:
            if self.process.poll() is not None:
                sys.exit("\n".join(self.said))
            time.sleep(0.05)
        return self.lines[0][0]

    def end(self, limit_s: float) -> dict[str, Any]:
        """Returns the figures, once the command has ended."""
        self.process.wait(limit_s)
        for thread in self._threads:
            thread.join(10)
        *windows, (_, summary) = self.lines
        began_s = windows[0][0]
        return {
            **{key: summary[key] for key in ("windows", "dropped_windows", "dropped_frames", "reconnects")},
            "ended": summary["ended"],
            "exit_code": self.process.returncode,
            **_delays([line for _, line in windows]),
            "by_minute": list(_by_minute(windows, began_s)),
            "longest_pause_s": max(np.diff([at_s for at_s, _ in windows]).tolist(), default=0.0),
            "mb_at_1_minute": _memory(self.memory, began_s + MINUTE_S),
            "mb_at_the_end": _memory(self.memory, self.memory[-1][0]),
            "said": self.said,
        }


def _delays(lines: list[dict[str, Any]]) -> dict[str, float]:
    delays = [line["delay_s"] for line in lines]
    return {
        "delay_median_s": statistics.median(delays),
        "delay_p95_s": float(np.percentile(delays, 95)),
        "delay_max_s": max(delays),
    }


def _by_minute(windows: list[tuple[float, dict[str, Any]]], began_s: float) -> Iterator[dict[str, Any]]:
    minutes: dict[int, list[dict[str, Any]]] = {}
    for at_s, line in windows:
        minutes.setdefault(int((at_s - began_s) / MINUTE_S), []).append(line)
    for minute, lines in sorted(minutes.items()):
        yield {"minute": minute + 1, "windows": len(lines), "dropped_windows": sum(line["dropped_windows"] for line in lines),
               **_delays(lines)}  # fmt: skip


def _memory(memory: list[tuple[float, float]], at_s: float) -> float:
    """Returns the median of the ten seconds before a time; of a shorter run, of its last ones."""
    last_s = min(at_s, memory[-1][0])
    return statistics.median(mb for time_s, mb in memory if last_s - 10 <= time_s <= last_s)


def make_slow_model(path: Path) -> None:
    """Writes a checkpoint of a ResNet-50, 8 frames of 224 x 224, with random weights."""
    torch.manual_seed(0)
    recipe = load_pipe(_SLOW).recipe.with_num_classes(2)
    content = {
        "model": C2D(recipe.model).state_dict(),
        "optimizer": {},
        "scaler": {},
        "progress": {},
        "recipe": recipe.as_dict(),
    }
    checkpoint.save(content | {"classes": ["nothing", "event"]}, path)


def measure_both(video: Path, model: Path, duration_s: float) -> list[dict[str, Any]]:
    """Runs RTSP and a pipe side by side; the server is away for a few seconds midway."""
    server = Server(video.parent)
    time.sleep(3)
    camera, piped = Run(server.url(video.name), model, "demo"), Run("-", model, "demo")
    feeder = threading.Thread(target=feed, args=(video, piped.process.stdin, duration_s), daemon=True)
    feeder.start()
    began_s = max(camera.wait_for_a_window(), piped.wait_for_a_window())
    time.sleep(max(began_s + duration_s / 2 - time.monotonic(), 0))
    server.kill()
    time.sleep(AWAY_S)
    server.start()
    time.sleep(max(began_s + duration_s - time.monotonic(), 0))
    camera.process.send_signal(signal.SIGTERM)
    rows = [{"what": "RTSP, server killed and started again midway", **camera.end(30)}]
    rows.append({"what": "pipe (MPEG-TS) in real time", **piped.end(60)})
    server.kill()
    return rows


def measure_late(video: Path, model: Path, duration_s: float) -> dict[str, Any]:
    """Runs a pipe into a model that is too slow."""
    run = Run("-", model, _SLOW)
    threading.Thread(target=feed, args=(video, run.process.stdin, duration_s), daemon=True).start()
    run.wait_for_a_window()
    return {"what": "pipe, a model that is too slow", **run.end(duration_s + 120)}


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown."""
    lines = [
        "| stream | windows | dropped | delay: median, 95 %, largest | reconnects | memory after a minute, at the end |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['what']}, {row['minutes']:g} minutes | {row['windows']} | {row['dropped_windows']} | "
            f"{row['delay_median_s']:.2f} s, {row['delay_p95_s']:.2f} s, {row['delay_max_s']:.2f} s | {row['reconnects']} | "
            f"{row['mb_at_1_minute']:.0f} MB, {row['mb_at_the_end']:.0f} MB |"
        )
    medians = [minute["delay_median_s"] for row in result["rows"][:2] for minute in row["by_minute"]]
    machine = result["machine"]
    said = (
        f"320 x 240 at {RATE} frames/s, windows of {WINDOW_S:g} s every {STRIDE_S:g} s. RTSP and pipe ran side by side, with "
        f"the demo's network; the median delay of each minute was {max(medians):.2f} s or less. The server was "
        f"away for {AWAY_S:g} s, and the longest pause between two windows of its stream was "
        f"{result['rows'][0]['longest_pause_s']:.1f} s. The slow model is a ResNet-50 of 8 frames of 224 x 224."
    )
    return "\n".join([*lines, "", f"{said} Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs."])


TABLES = {"streams": table}
"""Marks of docs/streams.md -> what stands between them."""


def main() -> None:
    """Measures, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--late-minutes", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    duration_s, late_s = MINUTE_S * args.minutes, MINUTE_S * args.late_minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model.pt")
        make_slow_model(folder / "slow.pt")
        (folder / "served").mkdir()
        video = folder / "served" / "video.mp4"
        length_s = max(duration_s, late_s) + 30
        make_video(video, length_s, make_events(max(int(length_s / 60), 1), length_s), rate=RATE, group=GROUP)
        rows = [{"minutes": args.minutes, **row} for row in measure_both(video, folder / "model.pt", duration_s)]
        rows.append({"minutes": args.late_minutes, **measure_late(video, folder / "slow.pt", late_s)})
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine("aio-rtsp-toolkit"),
        "rows": rows,
    }
    write_result(args.out, result)
    print(table(result))


if __name__ == "__main__":
    main()
