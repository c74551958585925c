"""One child process of the stage models, and the ways that it takes one after the other."""

import contextlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from stages.child import Child, LostError
from stages.stage import Stage
from stages.ways import Way

_NO_MEMORY = "out of memory"


class Lane:
    """Ways that wait for each other; the first is waiting, being prepared, or ready to be timed."""

    def __init__(self, stage: Stage, name: str, ways: list[Way], env: dict[str, str]):
        self._stage, self._name, self._ways, self._env = stage, name, list(ways), env
        self._child: Child | None = None
        self._state = "waiting"
        self.needs_quiet = False
        """Whether it ran out of the GPU's memory beside others: it gets one more try, alone."""
        self.prepared_s = 0.0
        """How long the first step took, compiling included, without pauses."""
        self._precision: dict[str, Any] = {}

    @property
    def way(self) -> Way:
        """Returns what is in work."""
        return self._ways[0]

    @property
    def is_open(self) -> bool:
        """Whether anything is left to be done."""
        return bool(self._ways)

    @property
    def may_start(self) -> bool:
        """Whether there is a way that nothing has been done for."""
        return self.is_open and self._state == "waiting"

    @property
    def is_preparing(self) -> bool:
        """Whether a model is being made and compiled."""
        return self.is_open and self._state == "preparing"

    @property
    def is_ready(self) -> bool:
        """Whether a model can be timed."""
        return self.is_open and self._state == "ready"

    @property
    def waits_for(self) -> Connection:
        """Becomes readable when the model is ready, or never will be."""
        assert self._child
        return self._child.waits_for

    def start(self) -> None:
        """Has the model made, and its first step taken."""
        self._child = self._child or self._stage.child(self._name, self._env)
        self._state = "preparing"
        self._child.call("stages.model_jobs.prepare", self.way)

    def hear(self, *, alone: bool) -> str:
        """Takes the answer that is there; returns why the model will never be ready, if so."""
        assert self._child
        try:
            self._precision = self._child.answer(0)
        except LostError as error:
            return self._again_or(error, "waiting", alone=alone)
        self.prepared_s = round(self._child.seconds, 1)
        self._state = "ready"
        self._stage.say(f"{self.way.name}: ready after {self.prepared_s:.0f} s")
        return ""

    def measure(self, round_s: float, limit_s: float, *, alone: bool) -> dict[str, Any] | None:
        """Returns the figures, or why there are none; None if it is to be tried again when others are done."""
        assert self._child
        try:
            figures: dict[str, Any] = self._child.ask(
                "stages.model_jobs.measure", self.way.batch_size, round_s, limit_s=limit_s
            )
        except LostError as error:
            problem = self._again_or(error, "ready", alone=alone)
            return {"missing": problem} if problem else None
        return self._precision | figures

    def skip(self) -> None:
        """Goes on to the next way; the child ends with the last."""
        self._ways.pop(0)
        self._state, self.needs_quiet = "waiting", False
        if not self._ways and self._child:
            self._child.end()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the child for a while."""
        assert self._child
        with self._child.paused():
            yield

    def close(self) -> list[str]:
        """Ends the child; returns what has not been done."""
        names = [way.name for way in self._ways]
        if self._child:
            if names and self._state == "preparing":
                names[0] += f" (still being prepared after {self._child.seconds:.0f} s)"
            self._child.end()
        return names

    def _again_or(self, error: LostError, state: str, *, alone: bool) -> str:
        """Returns the problem; or nothing, if it was want of memory beside others: then the way goes back to a state."""
        if _NO_MEMORY in str(error) and not alone and not self.needs_quiet:
            self._state, self.needs_quiet = state, True
            self._stage.say(f"{self.way.name}: {error}; it is tried again when others are done")
            return ""
        if error.is_gone:
            self._child = None  # the next way gets another
        return str(error)
