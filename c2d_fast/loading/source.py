"""What a loader's worker processes run: from a slot of the plan to one video's bytes or frames. No torch, no DALI."""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.formats.packet_table import REMEDY, PacketTable, TableError, open_table
from c2d_fast.loading.crop_buffers import ClipsBuffer, CropBuffer, RegionBuffer, in_order
from c2d_fast.loading.plan import EvalPlan, Sample, TrainPlan
from c2d_fast.loading.sample_info import SampleInfo, SingleSample  # noqa: F401 (others take it from here)
from c2d_fast.loading.sample_streams import flip_of, scaled_size_of, turns_of
from c2d_fast.manifest.videos import Videos
from c2d_fast.processes import worker_notes, worker_process, worker_stacks
from c2d_fast.remote import range_cache
from c2d_fast.remote.remote_path import RemotePath
from c2d_fast.video import storage
from c2d_fast.video.crops import why_no_opencv
from c2d_fast.video.facts import is_cropped
from c2d_fast.video.file_states import check_unchanged
from c2d_fast.video.orientation import TRANSPOSED
from c2d_fast.video.packets import WHOLE, Stored, ask_ahead, table_rows
from c2d_fast.video.reader import DecodeError, decode_images, read_clip


@lru_cache(maxsize=2)
def _open_table(path: str, identity: str) -> PacketTable | None:
    try:
        return open_table(Path(path), identity)
    except UserError as error:  # it has gone or been made anew since the run began: slower, but nothing is lost
        worker_notes.tell(path, f"warning: {error}; going on without it")
        return None


@dataclass(frozen=True)
class ClipSource:
    """Callable for worker_pool.py, one call a sample; picklable, the same in every worker process.

    Each call returns a tuple of arrays:
        file: a small video file, uint8 [bytes] (not with ffmpeg)
        frames: numbers of the frames to decode of it, int32 [F] (not with ffmpeg)
        shown: height and width of its frames before they are turned, int32 [2] (not with ffmpeg; where cropping is cleared)
        transposed, mirrored, upside_down: parts of the orientation, bool, int32, int32 (where the source turns)
        images: the part of the decoded frames that the crops need, uint8 [F, H, W, C] (ffmpeg and hybrid)
        order: where each clip's frames stand among them, int32 [clips, T] (where several clips are made of one decode)
        is_file: whether the sample is in file or in images, bool (hybrid)
        start, end: the crops' corners (y, x) as parts of the decoded frame or of images, 0..1, float32 [crops, 2]
        scaled: height and width of the crop in the scaled frame, float32 [2] (where the graph scales first)
        flip: 0 or 1, int32 (training only)
        index: the video, int64
        problem: why it could not be read, UTF-8 in uint8, empty when it could

    Of several clips of one decode scaled and flip have one dimension more, [clips, 2] and [clips].

    With cuts_crops a call returns (images, index, problem), the images being the crops, resized and flipped: uint8
    [F, size, size, C] in training (of several clips one array each), [crops, F, size, size, C] in evaluation.
    """

    plan: TrainPlan | EvalPlan
    decoder: str
    """nvdec, dali, ffmpeg or hybrid (some samples by FFmpeg, the others by nvdec, or by dali without a GPU)."""
    device: str
    """Where the graph augments: gpu or cpu."""
    decoder_threads: int
    cuts_crops: bool = False
    """Whether the workers cut out the crops, see read_crops in decode.py."""
    whole_files: bool = False
    """Whether all of a file is read and decoded, up to the last wanted frame; otherwise only what a clip needs."""
    clear_cropping: bool = False
    """Whether nvdec is given H.264 and HEVC without cropping, see small_file.py."""
    hybrid_share: float = 0.0
    """Share of the samples that are not FFmpeg's, of hybrid."""
    clips_at_a_time: int = 0
    """Samples of the pipeline's batch; 0: as many as the plan's has."""
    first_step: int = 0
    """The plan's step that the pipeline's first sample is of."""
    first_slot: int = 0
    """That sample's slot in the plan's batch."""
    clip_number: int = 0
    """Which of the clips of one decode a graph is to make, see each_clip.py."""
    cache: tuple[str, int] = ("", 0)
    """Of range_cache.open_cache."""
    inbox: str = ""
    """Where workers write their stacks to when asked, see worker_stacks.py."""
    counts: str = ""
    """Where they count decoded frames, see worker_counts.py."""
    notes: str = ""
    """Where they tell what the user has to know, see worker_notes.py."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in a worker process, which from now on ends with its parent, and not by signals that are meant for it."""
        self.__dict__.update(state)
        range_cache.use(*self.cache)
        worker_process.init_worker(self.inbox, self.counts, self.notes)

    @property
    def crops_on_cpu(self) -> bool:
        """Whether workers decode and there is no GPU: then they (with OpenCV) are quicker at the crops than the graph."""
        return self.decoder == "ffmpeg" and self.device == "cpu" and not why_no_opencv()

    @property
    def file_decoder(self) -> str:
        """What decodes small files: nvdec or dali; "" where FFmpeg decodes all."""
        if self.decoder == "hybrid":
            return "nvdec" if self.device == "gpu" else "dali"
        return "" if self.decoder == "ffmpeg" else self.decoder

    @property
    def cuts_shown(self) -> bool:
        """Whether files may decode to more than is shown, which the graph then cuts out."""
        return self.clear_cropping and bool(self.file_decoder)

    @cached_property
    def turns(self) -> bool:
        """Whether DALI decodes videos that their container turns or mirrors, which the graph then does."""
        return bool(self.file_decoder) and bool(self.plan.videos.stored["orientation"].any())

    @property
    def scales_first(self) -> bool:
        """Whether frames are scaled to the short side before a crop is cut out of them."""
        return isinstance(self.plan, TrainPlan) and self.plan.crop.scale_before_crop

    @cached_property
    def all_scaled(self) -> bool:
        """Whether every video has that short side as it is."""
        sides = np.minimum(self.plan.videos.width, self.plan.videos.height)
        return self.plan.crop.kind != "short_side_jitter" and bool((sides == self.plan.short_side).all())

    @property
    def num_clips(self) -> int:
        """Training clips that are made of one decode."""
        return self.plan.clips_per_video if isinstance(self.plan, TrainPlan) else 1

    @property
    def num_crops(self) -> int:
        """Crops that the graph cuts out of each frame."""
        return self.plan.num_crops if isinstance(self.plan, EvalPlan) else 1

    @property
    def crop_size(self) -> int:
        """Side of the squares that the graph makes, in pixels."""
        return self.plan.crop.size

    @property
    def flips(self) -> bool:
        """Whether samples come with a flip."""
        return isinstance(self.plan, TrainPlan)

    def step_and_slot(self, iteration: int, sample: int) -> tuple[int, int]:
        """Returns the plan's step and slot of a sample of the pipeline's batch."""
        size = self.plan.batch_size
        first = self.first_step * size + self.first_slot
        return divmod(first + iteration * (self.clips_at_a_time or size) + sample, size)

    def sample(self, step: int, slot: int) -> Sample:
        """Returns the sample in a slot of the plan."""
        sample = self.plan.sample(step, slot)
        return replace(sample, lot=self.plan.lot(step, slot)) if self.decoder == "hybrid" else sample

    def is_file(self, sample: Sample) -> bool:
        """Says whether a sample is handed on as a small file, or else decoded by FFmpeg."""
        return sample.lot < self.hybrid_share if self.decoder == "hybrid" else self.decoder != "ffmpeg"

    def __call__(self, info: SampleInfo) -> tuple[NDArray[Any], ...]:
        """Reads the sample that is asked for; see the class for what it returns."""
        sample, problem = self.sample(*self.step_and_slot(info.iteration, info.idx_in_batch)), np.zeros(0, np.uint8)
        if worker_process.is_worker():
            worker_stacks.set_thread_name("train" if self.flips else "eval", sample.index)
        try:
            read = storage.read_with_retry(lambda: self._read(sample), self.plan.videos.file(sample.index))
        except (DecodeError, OSError) as error:
            # An exception would end the pipeline without naming the video; the loader reads this instead.
            place = self.plan.videos.location(sample.index)
            text = storage.storage_problem(error, place, lambda: self._nearby_files(sample.index)) or str(error)
            problem = np.frombuffer(text.encode(), np.uint8)
            # All of the tiny images: a graph is given no box without a pixel.
            read = _Read(self._no_images(), np.tile(np.array([0, 0, 1, 1], np.float32), (len(sample.boxes), 1)))
        index, videos = np.array(sample.index, np.int64), self.plan.videos
        if self.cuts_crops:
            return *(read.images if self.num_clips > 1 else (read.images,)), index, problem
        orientation = int(videos.stored["orientation"][videos.row(sample.index)])
        is_transposed = bool(orientation & TRANSPOSED)
        size = (videos.width, videos.height) if is_transposed else (videos.height, videos.width)
        return (
            *((read.file, read.frames) if self.file_decoder else ()),
            *((np.array([side[sample.index] for side in size], np.int32),) if self.cuts_shown else ()),
            *(turns_of(orientation) if self.turns else ()),
            *((read.images,) if self.decoder in ("ffmpeg", "hybrid") else ()),
            *((np.array(self.is_file(sample)),) if self.decoder == "hybrid" else ()),
            *((sample.order.astype(np.int32),) if self.num_clips > 1 else ()),
            np.ascontiguousarray(read.boxes[:, 1::-1]),
            np.ascontiguousarray(read.boxes[:, :1:-1]),
            *((scaled_size_of(sample),) if self.scales_first and not self.all_scaled else ()),
            *((flip_of(sample),) if self.flips else ()),
            index,
            problem,
        )

    def _read(self, sample: Sample) -> "_Read":
        path, stored = self.plan.videos.location(sample.index), self.stored(sample.index)
        check_unchanged(path, *self.plan.videos.state(sample.index))
        if self.is_file(sample):
            clears = self.clear_cropping and self.file_decoder == "nvdec"
            return _Read(self._no_images(), sample.boxes, *read_clip(path, sample.frames, stored, clear_cropping=clears))
        wanted, indices = np.unique(sample.frames, return_inverse=True)
        if not self.cuts_crops:
            # An evaluation's crops are of scaled frames in any case; a training graph scales by itself.
            regions = RegionBuffer(len(wanted), sample.boxes, scaled_to=0 if self.flips else self.plan.short_side)
            order = np.array(decode_images(path, wanted, self.decoder_threads, stored, regions))
            return _Read(in_order(regions.images, order[indices], 0), regions.boxes)
        if sample.clips:
            how: dict[str, Any] = {"short_side": self.plan.short_side, "scales_first": self.scales_first}
            clips = ClipsBuffer(sample, self.crop_size, **how)
            order = np.array(decode_images(path, wanted, self.decoder_threads, stored, clips))
            if not np.array_equal(order, np.arange(len(wanted))):  # a decoder with an order of its own
                clips = ClipsBuffer(sample, self.crop_size, **how)
                for image in decode_images(path, wanted, self.decoder_threads, stored):
                    clips(image)
            return _Read(clips.images, sample.boxes)
        crops = CropBuffer(
            len(wanted),
            sample.boxes,
            self.crop_size,
            flip=sample.flip,
            short_side=self.plan.short_side,
            scaled=sample.scaled if self.scales_first else None,
        )
        order = np.array(decode_images(path, wanted, self.decoder_threads, stored, crops))
        images = in_order(crops.images, order[indices], 1)
        return _Read(images[0] if self.flips else images, sample.boxes)

    def ask_ahead(self, info: SampleInfo) -> None:
        """Asks a server for what will be read of a sample; nothing of local videos, nor of those without a packet table."""
        sample = self.sample(*self.step_and_slot(info.iteration, info.idx_in_batch))
        path = self.plan.videos.location(sample.index)
        if isinstance(path, RemotePath) and (groups := table_rows(self.stored(sample.index), np.unique(sample.frames))):
            ask_ahead(path, np.concatenate(groups))

    def _nearby_files(self, index: int) -> list[str]:
        """Returns some of the list's files that lie near a video."""
        videos = self.plan.videos
        return storage.nearby_files(videos.file(index), videos.some_files())

    def _no_images(self) -> NDArray[np.uint8]:
        """Returns images of the right number of dimensions, and nothing in them."""
        if not self.cuts_crops or (self.flips and self.num_clips == 1):
            return np.zeros((1, 2, 2, 3), np.uint8)
        return np.zeros((self.num_clips, 1, 2, 2, 3), np.uint8)

    def stored(self, index: int) -> Stored:
        """Returns what is known of how a video is stored."""
        return stored_of(self.plan.videos, index, whole_files=self.whole_files)


@dataclass(frozen=True)
class _Read:
    """What has been read of a sample: images, or a small file."""

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    file: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(1, np.uint8))
    frames: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1, np.int32))


def stored_of(videos: Videos, index: int, *, whole_files: bool = False) -> Stored:
    """Returns what is known of how a video is stored: nothing, where files are to be read whole."""
    row = videos.stored[videos.row(index)]
    if whole_files:
        return replace(WHOLE, orientation=int(row["orientation"]))
    stored = Stored(
        codec=row["codec"].decode(),
        full_range=bool(row["full_range"]),
        matrix=int(row["matrix"]),
        closed_gops=bool(row["closed_gops"]),
        entries=int(row["entries"]),
        width=int(videos.width[index]),
        height=int(videos.height[index]),
        orientation=int(row["orientation"]),
        is_cropped=bool(is_cropped(row)),
    )
    if not videos.packet_table:
        return stored
    table, number = _open_table(videos.packet_table, videos.table_identity), videos.table_index(index)
    if table is None:
        return stored
    try:
        rows, extradata = table.read(number, videos.state(index)[0])
    except TableError as error:  # not the video's fault: it is read through, as videos without a table are
        worker_notes.tell(
            videos.packet_table,
            f"warning: {videos.packet_table}: is damaged: what it says of {videos.file(index)} {error}; such videos are read "
            f"through, which is slower; {REMEDY}",
        )
        return stored
    return replace(stored, rows=rows, extradata=extradata)
