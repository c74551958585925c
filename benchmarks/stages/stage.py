"""What all stages share: the time that they have, and the JSON that they leave."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import describe_host
from result_file import write_result

from stages.card import Card
from stages.child import Child

PACKAGES = ("torchvision", "triton", "opencv-python-headless", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says."""

    out: Path
    data: Path
    """Folder of the benchmark's videos."""
    budget_s: float
    rehearse: bool


class Stage:
    """A stage at work."""

    def __init__(self, name: str, file_format: str, asked: Asked, card: Card | None):
        self.name, self.asked = name, asked
        self._started_s = time.monotonic()
        self._children: list[Child] = []
        self.result: dict[str, Any] = {
            "format": file_format,
            "stage": name,
            "date": time.strftime("%Y-%m-%d"),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": " ".join(["python", "benchmarks/gpu_stages.py", *sys.argv[1:]]),
            "rehearsal": asked.rehearse,
            "budget_s": asked.budget_s,
            "machine": describe_host(*PACKAGES) | (card.facts() if card else {}),
            "left_out": [],
            "seconds": 0.0,
        }
        self.save()

    @property
    def at_s(self) -> float:
        """Seconds since the stage began."""
        return round(time.monotonic() - self._started_s, 1)

    @property
    def left_s(self) -> float:
        """Seconds that are left of the budget."""
        return self.asked.budget_s - (time.monotonic() - self._started_s)

    def allows(self, what: str, needs_s: float) -> bool:
        """Says whether there is time for something that takes about so long; if not, it is named."""
        if self.left_s >= needs_s:
            return True
        self.leave_out(what)
        return False

    def leave_out(self, what: str) -> None:
        """Names what is not done."""
        self.result["left_out"].append(what)
        self.say(f"left out: {what}")
        self.save()

    def save(self) -> None:
        """Writes the JSON."""
        self.result["seconds"] = self.at_s
        write_result(self.asked.out / f"gpu-{self.name}.json", self.result)

    def say(self, text: str) -> None:
        """Prints a line with the time."""
        print(f"{self.name} {self.at_s:6.1f} s: {text}", flush=True)

    def child(self, name: str, env: dict[str, str] | None = None, *, nice: int = 0) -> Child:
        """Starts a process that ends with the stage."""
        self._children.append(Child(name, env, nice=nice))
        return self._children[-1]

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Ends all processes and writes the JSON at the end, however that comes."""
        try:
            yield
        except BaseException as error:
            self.result["failed"] = " ".join(f"{type(error).__name__}: {error}".split())
            raise
        finally:
            for child in self._children:
                child.end()
            self.save()
            self.say(f"written: {self.asked.out / f'gpu-{self.name}.json'}")
