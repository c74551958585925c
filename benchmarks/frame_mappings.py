"""The index of a file's frames that torchcodec takes as custom_frame_mappings."""

import json
from pathlib import Path

import av


class FrameMappings:
    """Makes a file for each video, as JSON, before anything is timed: so are manifests and packet tables made."""

    def __init__(self, folder: Path):
        self._folder, self._made = folder, dict[str, str]()

    def file(self, video: str) -> str:
        """Returns the path of a video's JSON."""
        if video not in self._made:
            path = self._folder / f"{len(self._made)}.json"
            path.write_text(frame_mappings(video))
            self._made[video] = str(path)
        return self._made[video]


def frame_mappings(video: str) -> str:
    """Returns the JSON: times and key frames of all frames, in the order in which they are shown.

    `ffprobe -show_frames` decodes the video to write the same. Packets say it, too, where each is one frame; that the frames
    are then the right ones is checked (same_frames.py).
    """
    with av.open(video) as container:
        packets = [
            {"pts": packet.pts, "duration": packet.duration or 0, "key_frame": int(packet.is_keyframe)}
            for packet in container.demux(video=0)
            if packet.pts is not None and not packet.is_discard  # the last, which is empty, has no time
        ]
    return json.dumps({"frames": sorted(packets, key=lambda packet: int(packet["pts"]))})
