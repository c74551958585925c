"""Which epochs of a run have pictures, and what is said in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PictureSchedule:
    """Which pictures of the data and of the scores a run records."""

    epochs: int
    """Of the whole run: the last one always has pictures."""
    every: int | None = None
    """Epochs from one to the next; 0: none at all. None: the first and every tenth of the run, as far as that takes little."""
    classes: Sequence[str] = ()
    """Names by label."""
    published: dict[str, float] = field(default_factory=dict)
    """Reference lines beside validation's: top1 and top5, in per cent."""

    def are_due(self, epoch: int) -> bool:
        """Says whether an epoch, counted from 1, has pictures, if there is time for them."""
        if self.every == 0:
            return False
        return epoch in (1, self.epochs) or epoch % (self.every or max(round(self.epochs / 10), 1)) == 0

    def are_certain(self, epoch: int) -> bool:
        """Says whether an epoch that is due has pictures whatever they cost."""
        return bool(self.every) or epoch == self.epochs
