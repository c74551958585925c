"""`--log-batches`: what a run was fed, to compare runs by."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from c2d_fast.errors import UserError
from c2d_fast.loading.batch import Batch, TrainSource


class BatchLog:
    """A training source that writes batches-rank0.jsonl (rank 1's, 2's ...) while its batches go by. It waits for a GPU.

    step counts in the epoch; part is the batch's place among those that the rank accumulates.
    """

    def __init__(self, source: TrainSource, folder: Path, rank: int, accumulate: int):
        """Begins or goes on with the file.

        Raises:
            UserError: it cannot be written.
        """
        self._source, self._accumulate = source, accumulate
        self.steps_per_epoch, self.clips_per_step = source.steps_per_epoch, source.clips_per_step
        self.name = source.name
        self._path = folder / f"batches-rank{rank}.jsonl"
        self._open().close()

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the source's batches; steps that a resumed run takes again are written again."""
        with self._open() as file:
            for number, batch in enumerate(self._source.epoch(epoch, first_step)):
                step, part = divmod(number, self._accumulate)
                digest = hashlib.sha256(batch.clip.cpu().numpy().tobytes()).hexdigest()
                videos = [self.name(index) for index in batch.index.tolist()]
                place = {"epoch": epoch + 1, "step": first_step + step + 1, "part": part}
                line: dict[str, Any] = place | {"videos": videos, "sha256": digest}
                if batch.targets is not None:
                    line["targets"] = hashlib.sha256(batch.targets.cpu().numpy().tobytes()).hexdigest()
                try:
                    file.write(json.dumps(line) + "\n")
                except OSError as error:
                    raise self._problem(error) from error
                yield batch

    def _open(self) -> TextIO:
        try:
            return self._path.open("a", buffering=1)
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> UserError:
        return UserError(f"--log-batches: {self._path} cannot be written ({error.strerror}); make room, or leave it out")
