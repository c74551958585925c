"""Stage decode: whether NVDEC decodes at all, and the tests of decoding. Meanwhile the videos of the next stages are made."""

import dataclasses
from typing import Any

from stages.child import Child, LostError
from stages.run_tests import run_tests
from stages.stage import Stage

SIZES, THREADS = ((336, 256), (340, 256)), (1, 16)
"""NVDEC codes 340 pixels as 352, of which DALI 2.4 makes its sessions anew each time; of 336 it should find them again."""
KEY_FRAMES = ("h264, key frames only", "h264, key frames only, not marked")
"""Of smoke_jobs: DALI 2.4 failed on the first; the second is what workers now make of it. The verdict is not theirs."""
TOLERANCE = 8.0
"""Levels of 255 by which frames may differ from PyAV's: colours are converted differently. Frames of black differ by more."""
_TRY_S, _TRY_LIMIT_S = 6.0, 25.0
"""Even if all of them hang, there is time left to make the videos."""
_WAIT_S = 1.0


@dataclasses.dataclass
class Try:
    """A size and a number of threads, in a process of its own: it may crash, and its first batch has no session yet."""

    width: int
    height: int
    threads: int
    codec: str
    child: Child

    @property
    def name(self) -> str:
        """Returns what the stage calls it."""
        return f"{self.width}x{self.height}, {self.threads} threads, {self.codec}"


def run(stage: Stage) -> None:
    """Tries, tests, and waits for the videos as long as there is time."""
    maker = stage.child("videos", nice=19)
    maker.call("stages.data_jobs.make", stage.asked.data, stage.asked.rehearse)
    _smoke(stage)
    if stage.result["nvdec"] == "works" or stage.asked.rehearse:
        run_tests(stage, "tests/gpu/test_gpu_decode.py", processes=6)
    else:
        stage.result["advice"] = "--decoder ffmpeg"
        stage.say(f"nvdec {stage.result['nvdec']}: go on with --decoder ffmpeg")
    try:
        stage.result["videos"] = maker.answer(stage.left_s - _WAIT_S) | {"seconds": round(maker.seconds, 1)}
    except LostError as error:
        stage.result["videos"] = {"missing": str(error)}
        stage.leave_out("the benchmark's videos (the next stage goes on with them)")


def _smoke(stage: Stage) -> None:
    """Has small clips decoded, one process after the other; "nvdec" says what came of it."""
    codec, device = ("vp9", "cpu") if stage.asked.rehearse else ("h264", "mixed")
    wanted = [(*size, threads, codec) for size in SIZES for threads in THREADS]
    wanted += [] if stage.asked.rehearse else [(*SIZES[0], THREADS[0], kind) for kind in KEY_FRAMES]
    tries = [Try(*what, stage.child(f"smoke {number}")) for number, what in enumerate(wanted)]
    for one in tries:  # imports and the clip are made side by side, and not timed
        one.child.call("stages.smoke_jobs.make_clip", one.width, one.height, one.codec)
    rows: list[dict[str, Any]] = []
    stage.result |= {"nvdec": "not tried", "smoke": rows}
    for one in tries:
        if not stage.allows(one.name, _TRY_S):
            continue
        row: dict[str, Any] = {
            "size": f"{one.width}x{one.height}",
            "threads": one.threads,
            "device": device,
            "codec": one.codec,
        }
        try:
            one.child.answer(min(_TRY_LIMIT_S, stage.left_s))
            clip = (one.width, one.height, one.codec, one.threads, device)
            row |= one.child.ask("stages.smoke_jobs.try_decoder", *clip, limit_s=min(_TRY_LIMIT_S, stage.left_s))
        except LostError as error:
            row["missing"] = str(error)
        rows.append(row | {"at_s": stage.at_s})
        one.child.end()
        stage.result["nvdec"] = _verdict([row for row in rows if row["codec"] == codec])
        stage.say(f"{one.name}: {row.get('missing') or row['later_ms_per_clip']}")
        stage.save()


def _verdict(rows: list[dict[str, Any]]) -> str:
    for row in rows:
        if "missing" in row:
            return f"failed: {row['size']}, {row['threads']} threads: {row['missing']}"
        if row["mean_difference"] > TOLERANCE:
            return f"failed: {row['size']}: frames differ from PyAV's by {row['mean_difference']} levels"
    return "works"
