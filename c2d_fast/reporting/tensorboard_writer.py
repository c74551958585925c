"""What TensorBoard is given of a run, and how it is laid out there: a run is to be judged in a minute."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from c2d_fast.errors import on_one_line
from c2d_fast.recipe import stored_part
from c2d_fast.reporting.gallery import GalleryClips
from c2d_fast.reporting.sheet import GREEN, INK, RED, Tile, draw_sheet, encode_jpeg

_LAYOUT = {
    "1 accuracy": {
        "top-1, %": ["Multiline", [r"train/top1$", r"val/top1$", r"published/top1$"]],
        "top-5, %": ["Multiline", [r"train/top5$", r"val/top5$", r"published/top5$"]],
        "loss": ["Multiline", [r"train/loss$", r"val/loss$"]],
    },
    "2 optimiser": {
        "learning rate": ["Multiline", [r"train/lr$"]],
        "gradient norm before clipping": ["Multiline", [r"train/gradient_norm$"]],
    },
    "3 speed": {
        "clips/s": ["Multiline", [r"train/clips_per_s$"]],
        "waiting for data, % of the time": ["Multiline", [r"train/data_wait_percent$"]],
        "step, ms": ["Multiline", [r"machine/step_ms$"]],
        "frames decoded per s": ["Multiline", [r"machine/decoded_frames_per_s$"]],
        "recording, % of the time": ["Multiline", [r"machine/recording_percent$"]],
    },
    "4 machine": {
        "CPUs busy, %": ["Multiline", [r"machine/cpu_percent$"]],
        "memory of the run's processes (RSS), MB": ["Multiline", [r"machine/rss_mb$"]],
    },
}
_GPU_CHARTS = {
    "GPU and its video decoders busy, %": ["Multiline", [r"machine/gpu_percent$", r"machine/decoder_percent$"]],
    "GPU memory, MB": ["Multiline", [r"machine/gpu_memory_mb$"]],
    "energy of the GPUs, J for each clip": ["Multiline", [r"train/joules_per_clip$"]],
    "energy of the GPUs, J for each epoch": ["Multiline", [r"train/epoch_joules$"]],
}
_STRIP_PX = 940  # what TensorBoard shows without scrolling


class TensorBoardWriter:
    """The TensorBoard events of a run folder."""

    def __init__(self, folder: Path, *, purge_step: int | None):
        """Begins an events file.

        Args:
            folder: the run folder.
            purge_step: of a run that is resumed: what earlier files hold of this step and later ones is not to be shown.

        Raises:
            OSError: it cannot be written.
            ValueError: its path is not UTF-8, which TensorBoard wants.
        """
        self._is_new = not any(folder.glob("events.out.tfevents.*"))
        threading.excepthook = _quieter_hook
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        machine = _LAYOUT["4 machine"] | (_GPU_CHARTS if torch.cuda.is_available() else {})
        self._writer.add_custom_scalars(_LAYOUT | {"4 machine": machine})
        self._session_end: Any = None

    def config(self, config: dict[str, Any], metrics: Sequence[str]) -> None:
        """Writes the run's configuration as text, and what decides its result as hyperparameters.

        Args:
            config: as config.json has it.
            metrics: tags of the scores that stand beside the hyperparameters.
        """
        self._writer.add_text("config", "```json\n" + json.dumps(config, indent=2) + "\n```")
        self._writer.add_text("command", "    " + on_one_line(_utf8(str(config.get("command", "")))))
        start, session, self._session_end = hparams(hyperparameters(config), dict.fromkeys(metrics, 0.0))
        # Now, not at the end: a run that is killed has them, too. TensorBoard heeds the first ones of a run folder only.
        for summary in (start, session) if self._is_new else ():
            self._add(summary)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        self._writer.add_scalar(tag, value, step)

    def clips(self, tag: str, shown: GalleryClips, classes: Sequence[str], names: Sequence[str], step: int) -> None:
        """Writes a strip of clips, each with label, guess and probabilities.

        Args:
            tag: of the image.
            shown: the clips.
            classes: names by label.
            names: of the videos.
            step: optimizer steps taken.
        """
        facts = zip(shown.labels, shown.guesses, shown.scores, shown.label_scores, names, strict=True)
        tiles = []
        for clip, (label, guess, score, label_score, name) in zip(shown.clips, facts, strict=True):
            verdict = f"{classes[guess]} {100 * score:.0f} %"
            if guess != label:
                verdict += f", is {classes[label]} {100 * label_score:.0f} %"
            tiles.append(Tile(clip, [(verdict, GREEN if guess == label else RED), (name, INK)]))
        picture = draw_sheet(tiles, width=_STRIP_PX)
        self.image(tag, encode_jpeg(picture), picture.shape[:2], step)

    def image(self, tag: str, file: bytes, size: tuple[int, ...], step: int) -> None:
        """Writes a picture: a PNG or JPEG file of a height and width."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=file)
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def flush(self) -> None:
        """Writes out what is held back."""
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Writes out everything; of a run that has finished its hyperparameters are marked as done."""
        if finished and self._session_end is not None:
            self._add(self._session_end)
        self._writer.close()

    def _add(self, summary: Any, step: int | None = None) -> None:
        file_writer: Any = self._writer.file_writer  # what SummaryWriter's own methods write to
        file_writer.add_summary(summary, step)


def hyperparameters(config: dict[str, Any]) -> dict[str, str | float | bool]:
    """Returns what decides a run's result, flat: recipe, and what was really used."""
    recipe, used, flags = (config.get(part) or {} for part in ("recipe", "used", "flags"))
    facts: dict[str, Any] = {"recipe": recipe.get("name"), "seed": flags.get("seed")}
    for part in ("model", "clip", "crop", "training"):
        facts |= {f"{part}.{name}": value for name, value in recipe.get(part, {}).items()}
    for part in ("augment", "labels", "distill"):  # mostly unset: what is, is left out
        usual, fields = stored_part({}, part) or {}, recipe.get(part) or {}
        facts |= {f"{part}.{name}": value for name, value in fields.items() if value != usual.get(name)}
    facts |= {name: used.get(name) for name in ("global_batch", "base_lr", "epochs", "precision", "decoder", "ranks")}
    facts["weights"] = flags.get("weights") or facts.pop("training.weights", None)
    for replaced in ("training.weights", "training.epochs", "training.lr", "training.lr_batch", "training.clips_per_gpu"):
        facts.pop(replaced, None)
    return {name: value if isinstance(value, (bool, int, float)) else _utf8(str(value)) for name, value in facts.items()}


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # names of files may be any bytes


_usual_hook = threading.excepthook


def _quieter_hook(args: threading.ExceptHookArgs) -> None:
    """Leaves errors of TensorBoard's writing thread to its callers, to whom its next call raises them again.

    And those of DALI's thread that looks after its workers to stream.py, which notices dead workers itself.
    """
    is_dalis = args.thread is not None and "_observer_thread" in args.thread.name
    if not is_dalis and not isinstance(args.thread, event_file_writer._AsyncWriterThread):
        _usual_hook(args)
