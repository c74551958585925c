"""What one `prepare transcode` works on: its videos, where they go, what is known of them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from c2d_fast.formats.packet_store import PacketStore
from c2d_fast.lists.listing import Listing
from c2d_fast.prepare.encode import EncodeItem, EncodeResult, EncodeSettings
from c2d_fast.prepare.results_folder import ResultsFolder
from c2d_fast.prepare.share import Share
from c2d_fast.remote.remote_path import UNKNOWN, FileState, Location, RemotePath, below, pinned
from c2d_fast.video.file_states import file_states
from c2d_fast.video.storage_wait import DEFAULT_WAIT_POLICY


@dataclass
class TranscodeJob:
    """One list, where it goes, and what is known of its videos."""

    share: Share
    out: ResultsFolder
    stem: str
    settings: EncodeSettings
    targets: dict[str, str]
    """Video of the list -> path below the folder of results that is called stem."""
    store: PacketStore
    done: dict[str, EncodeResult]

    @property
    def listing(self) -> Listing:
        """The videos that this command works on."""
        return self.share.listing

    @property
    def folder(self) -> Location:
        """Where the results are."""
        return self.out.place(self.stem)

    def target(self, video: str) -> Location:
        """Returns where the result of a video goes."""
        return below(self.folder, self.targets[video])

    def item(self, video: str, state: FileState, *, is_sound: bool) -> EncodeItem:
        """Returns what a child process is given of a video in a state that is known to decode without an error, or is not."""
        local, target = self.out.local / self.stem / self.targets[video], self.target(video)
        upload = target if isinstance(target, RemotePath) else None
        return EncodeItem(video, pinned(self.listing.file_of(video), state), local, self.settings, is_sound, upload)


def target_names(videos: Iterable[str]) -> dict[str, str]:
    """Returns where each video of a list goes, below a folder: never outside of it, and no two to the same place."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for video in dict.fromkeys(videos):
        parts = [part for part in PurePosixPath(os.path.normpath(video)).parts if part not in ("/", "//")]
        inside = PurePosixPath(*(part if part != ".." else "outside" for part in parts or ["video"]))
        name = str(inside.with_suffix(".mp4"))
        while name in taken:  # a.avi beside a.mp4
            inside = inside.with_name(inside.name + ".mp4")
            name = str(inside)
        names[video] = name
        taken.add(name)
    return names


def etags(job: TranscodeJob) -> tuple[str, ...]:
    """Returns what servers call the results, where they are remote: "" of one that is not there."""
    if not isinstance(job.out.out, RemotePath):
        return ()
    videos = job.listing.videos
    states = dict(zip(job.targets, file_states([job.target(video) for video in job.targets], DEFAULT_WAIT_POLICY), strict=True))
    found = [(states[video] or UNKNOWN, job.done[video].target) for video in videos]
    return tuple(state.etag if state.key == target else "" for state, target in found)
