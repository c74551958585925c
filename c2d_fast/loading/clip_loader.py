"""ClipLoader: batches of clips from video files, for any training loop. Our trainer and commands read through it, too."""

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch

from c2d_fast.errors import UserError
from c2d_fast.loading import loader_state
from c2d_fast.loading.batch import Batch
from c2d_fast.loading.clip_transforms import Transform, transformed
from c2d_fast.loading.frame_sampling import Sampling, sampling_of
from c2d_fast.loading.loader import EvalLoader, TrainLoader
from c2d_fast.loading.loader_arguments import check_arguments, in_arguments
from c2d_fast.loading.pipelines import Graph, LoaderOptions
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.rank import rank_and_world
from c2d_fast.loading.reading_options import choose_options, scored_at_a_time
from c2d_fast.loading.usable_videos import Labels, open_listing, usable_videos
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.recipe import Clip, Crop, load_pipe

Videos = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
_GRAPHS = "k400_8x8"  # the shipped pipe file whose graphs are used where none is given: scale, crop, resize, flip


class ClipLoader:
    """Reads clips from video files, batch by batch; iterating gives the batches of an epoch, each a Batch.

    Worker processes read (and on a CPU decode) ahead. All that is random is drawn from (seed, epoch, index of the video):
    batches do not depend on the number of workers, and a run that goes on from state_dict() gets the same bytes. With several
    ranks each reads its own part of every global batch.

        loader = ClipLoader("train.txt", clip=Dense(8, 8), batch_size=32)
        for epoch in range(loader.current_epoch, 100):
            loader.set_epoch(epoch)
            for batch in loader:
                loss = criterion(model(batch.as_NCTHW(torch.bfloat16, normalize=True)), batch.label)
    """

    def __init__(
        self,
        videos: Videos | BadVideos,
        *,
        batch_size: int,
        clip: Clip | Sampling = Clip(num_frames=8, interval=8),
        crop: Crop = Crop(),
        train: bool = True,
        seed: int = 0,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        pad_last: bool = False,
        accumulate: int = 1,
        balance: bool = False,
        labels: Sequence[Labels] | None = None,
        root: str | os.PathLike[str] | None = None,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        video_name: str | None = None,
        allow_missing: bool = False,
        max_bad_videos: str | int = "1%",
        device: str | torch.device | None = None,
        decoder: str = "auto",
        workers: int | None = None,
        num_workers: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        transform: Transform | None = None,
        graph: Graph | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_gb: float | None = None,
        options: LoaderOptions | None = None,
        verbose: bool = True,
    ):
        """Looks the videos up and chooses how they are read; the workers start with the first batch, or with start().

        Args:
            videos: a list of any shape of docs/lists.md, a manifest, a folder of class folders, by its path; or videos' paths.
            batch_size: clips in a batch of this rank. Several clips of one decode (Multi) count each.
            clip: which frames: Dense(num_frames, interval) or Clip, Uniform(num_segments), Multi(num_clips, clip), or Frames.
            crop: which part of them, see recipe.Crop.
            train: False: every video once, in the list's order; Multi's clips lie spread over it, in all views, crop-major.
            seed: of all that is drawn.
            shuffle: the order of training; None: as train. Evaluation is never shuffled.
            drop_last: leave out what is no whole global batch; None: as train. False: training's last is as small on each rank.
            pad_last: fill that batch up to batch_size with rows that are not valid: a compiled model sees one shape.
            accumulate: batches of each rank that make up a step.
            balance: an epoch of training shows every class equally often: videos of rare ones come several times.
            labels: of paths, for each a number or a name, several of these, or a mapping to weights; None: -1 (none).
            root: the folder that relative paths are below; None: the list's own, or the current one.
            classes: the classes' names in the order of their labels, as a label map; None: labels' names in alphabetical order.
            num_classes: labels must be below it; it is the width of Batch.targets.
            video_name: of files, where a list gives ids, e.g. `{id}.avi`.
            allow_missing: leave missing files out, in evaluation broken ones, too.
            max_bad_videos: broken training videos that are borne, a number or per cent of the list.
            device: where batches are made; None: the current CUDA GPU, or the CPU where there is none.
            decoder: auto, nvdec, dali, ffmpeg or hybrid (docs/decoders.md).
            workers: processes that read; None: by the machine.
            num_workers: the same, by torch's name.
            rank: of this process; None: torch.distributed's, where it is initialized, or RANK's.
            world_size: ranks that share the list; None: likewise, or WORLD_SIZE's.
            transform: is given each batch's clips as [N, T, C, H, W], on the device (as torchvision's v2 takes videos), and
                returns them so. torch's generators are seeded for it from (seed, epoch, batch, rank).
            graph: a DALI graph of your own, made with @pipeline_def as in pipe files (dali_pipes/README.md): in training a
                train_pipe, otherwise an eval_pipe. What it draws by itself is not drawn again when a run goes on.
            cache: a folder that keeps what is read of remote videos (docs/remote.md); None: nothing is kept.
            cache_gb: what it may hold, in units of 10**9 bytes; None: 50.
            options: how to read, in full: device, decoder and workers are left aside.
            verbose: say on stdout, on the first rank, what is read and how.

        Raises:
            UserError: (a ValueError) a file, a list or an argument breaks a rule.
        """
        clips, drop_last = (sampling := sampling_of(clip)).num_clips, train if drop_last is None else drop_last
        num_workers = check_arguments(batch_size, clips, train, shuffle, accumulate, balance, (workers, num_workers))
        self._rank, self._world = rank_and_world(rank, world_size)
        self._seed, self._transform, self._pads, self._batch_size = seed, transform, pad_last, batch_size
        self._is_ours, self._num_classes = isinstance(videos, BadVideos), num_classes  # commands have flags, not arguments
        speaks = contextlib.nullcontext() if verbose and not self._rank else contextlib.redirect_stdout(io.StringIO())
        with in_arguments(self._is_ours), speaks:
            if isinstance(videos, BadVideos):
                self._bad = videos
            else:
                listing = open_listing(videos, labels, root, num_classes, classes, video_name)
                self._bad = usable_videos(listing, train=train, allow_missing=allow_missing, max_bad_videos=max_bad_videos)
            how = (num_workers, sampling, crop, batch_size, (cache, cache_gb))
            self.options = options or choose_options(self._bad, device, decoder, *how)
            shared: dict[str, Any] = {"videos": self._bad.manifest.videos(), "clip": sampling, "crop": crop}
            shared |= {"rank": self._rank, "world": self._world}
            self.plan: TrainPlan | EvalPlan
            self._loader: TrainLoader | EvalLoader
            if train:
                order: dict[str, Any] = {"seed": seed, "shuffle": shuffle is not False, "drop_last": drop_last}
                order |= {"balance": balance, "accumulate": accumulate, "name": str(self._bad.manifest.listing.path)}
                self.plan = TrainPlan(**shared, **order, batch_size=batch_size // clips)
                self._loader = TrainLoader(graph or load_pipe(_GRAPHS).train_pipe, self.plan, self.options, self._bad)
            else:
                one = EvalPlan(**shared, batch_size=1, num_clips=clips)
                size = min(batch_size, scored_at_a_time(one, self.options.decoder))
                self.plan = dataclasses.replace(one, batch_size=size)
                graph = graph or load_pipe(_GRAPHS).eval_pipe
                self._loader = EvalLoader(graph, self.plan, self.options, self._bad, views_per_batch=batch_size)
        self._loader.num_classes = self.num_classes
        # The epoch that is read now, or next; its batches that were given; the one that iterating begins with.
        self.current_epoch, self._given, self._first = 0, 0, 0

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Returns the classes' names by label, where the list or the labels give any."""
        return self._bad.manifest.listing.classes

    @property
    def num_classes(self) -> int:
        """Returns how many classes there are: as given, or as many as have names, or up to the largest label."""
        return self._num_classes or len(self.classes or ()) or self._bad.manifest.listing.largest_label + 1

    @property
    def num_videos(self) -> int:
        """Returns how many videos are usable."""
        return len(self.plan.videos)

    @property
    def steps_per_epoch(self) -> int:
        """Returns the steps of an epoch of training; each takes accumulate batches."""
        return self._train_plan.steps_per_epoch

    @property
    def clips_per_step(self) -> int:
        """Returns the clips of a step, on all ranks together."""
        return self._train_plan.clips_per_step

    def __len__(self) -> int:
        """Returns the batches of an epoch on this rank. Videos that break while they are scored may make them fewer."""
        if isinstance(self.plan, TrainPlan):
            return self.plan.steps_per_epoch * self.plan.accumulate
        return math.ceil(self.plan.num_valid * self.plan.num_views / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches of the epoch, from where load_state_dict has put it; then the next epoch's turn has come.

        Raises:
            UserError: too many videos are broken, or the graph fails.
            EndedError: workers end again and again, or a storage does not come back.
        """
        if self._given and not self._first and self._given == len(self):  # by one who knows the length, and asked for no more
            self.current_epoch += 1
        epoch, self._given, self._first, last = self.current_epoch, self._first, 0, len(self)
        for padded in self._batches(epoch, self._given):
            batch = self._transformed(padded if self._pads else padded.trimmed(), epoch)
            self._given += 1
            if self._given == last:
                self._check_end()
            yield batch
        self._check_end()
        self._given, self.current_epoch = 0, epoch + 1

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch comes next; of the one that is next anyway nothing changes, also not the place in it."""
        if epoch != self.current_epoch or (self._given == len(self) and not self._first):
            self.current_epoch, self._given, self._first = epoch, 0, 0

    sampler = property(lambda self: self, doc="This, where Lightning looks for set_epoch.")

    def state_dict(self) -> dict[str, Any]:
        """Returns the place in the run, plain numbers and strings: behind the batch that was given last."""
        place = {"epoch": self.current_epoch, "clips": self._given * self._batch_size * self._world}
        return loader_state.identity(self.plan) | place | {"quarantined": sorted(self.quarantined())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place: the next iteration begins behind the batch that was given last there.

        The number of ranks and batch_size may have changed in training, as long as so many clips are whole batches.

        Raises:
            UserError: the state is of other videos, another seed or another kind of loader.
        """
        self._first = loader_state.first_batch(state, self.plan, self._batch_size * self._world)
        self.current_epoch, self._given = state["epoch"], self._first
        self.exclude(frozenset(state["quarantined"]))
        self._bad.add_known(self.quarantined(), 0)

    def start(self, epoch: int = 0, first_step: int = 0) -> None:
        """Starts the workers of training before a batch is asked for: what is wrong with the graph comes out now.

        Raises:
            UserError: the graph does not build.
        """
        if isinstance(self._loader, TrainLoader):
            self._loader.start(epoch, first_step)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch of training from a step on (as TrainSource)."""
        self.current_epoch, self._given, self._first = epoch, 0, first_step * self._train_plan.accumulate
        yield from self

    views = __iter__  # as EvalSource
    batch_sampler = None  # Lightning asks for it beside sampler

    def exclude(self, indices: frozenset[int]) -> None:
        """Replaces videos of training by others, and leaves them out of an evaluation."""
        self._loader.exclude(indices)

    def quarantined(self) -> frozenset[int]:
        """Returns the videos that this rank has found broken while it read them, and those that were excluded."""
        return self._loader.quarantined()

    def name(self, index: int) -> str:
        """Says which video has an index, for messages: `list.txt:12: path.mp4`."""
        return self._loader.name(index)

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return self._loader.current_videos()

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        self._loader.set_heartbeat(heartbeat)

    def close(self) -> None:
        """Ends the workers. What is read next starts others."""
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        loader, views = self._loader, first * self._batch_size
        with in_arguments(self._is_ours):
            yield from loader.batches(epoch, first) if isinstance(loader, TrainLoader) else loader.views(views)

    def _check_end(self) -> None:
        if not self._is_ours and isinstance(self.plan, EvalPlan):
            self._bad.check_all_scored()

    def _transformed(self, batch: Batch, epoch: int) -> Batch:
        if self._transform is None:
            return batch
        seed = loader_state.transform_seed(self._seed, epoch, self._given, self._rank)
        try:
            return transformed(batch, self._transform, seed)
        except BaseException:  # the user's own, and theirs to see: nothing is left running behind it
            self.close()
            raise

    @property
    def _train_plan(self) -> TrainPlan:
        if not isinstance(self.plan, TrainPlan):
            raise UserError("train=False: has no steps; take train=True, or iterate")
        return self.plan
