from pathlib import Path

import numpy as np
import pytest

from c2d_fast.errors import UserError
from c2d_fast.lists.listing import Listing
from c2d_fast.loading import decode
from c2d_fast.loading.decode import choose_decoder
from c2d_fast.manifest.manifest import Manifest
from c2d_fast.video.facts import DTYPE


def manifest(
    *codecs, pix_fmt="yuv420p", agrees=True, size=160, bt709=False, interlaced=False, entries=1, cropped=False, container="mov"
):
    names = tuple(f"{i}.mp4" for i in range(len(codecs)))
    listing = Listing(Path("l.txt"), Path(), names, (0,) * len(codecs), tuple(range(1, len(codecs) + 1)), "0" * 64)
    facts = np.zeros(len(codecs), DTYPE)
    facts["codec"], facts["pix_fmt"], facts["in_order"], facts["matrix"] = codecs, pix_fmt, agrees, 1 if bt709 else 2
    facts["interlaced"], facts["entries"], facts["container"] = interlaced, entries, container
    facts["coded_width"] = facts["coded_height"] = size + 16 * cropped
    facts["frames"], facts["width"], facts["height"] = 10, size, size
    state = np.zeros(len(codecs), np.int64)
    return Manifest(listing, np.arange(len(codecs)), facts, state, state, {})


@pytest.fixture(params=[True, False])
def library(request, monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: request.param)
    return request.param


def test_auto_takes_nvdec_only_where_everything_allows_it(library):
    fine = manifest("h264", "hevc", "mpeg4")
    decoder, reason = choose_decoder("auto", fine, gpu=True)
    assert decoder == ("nvdec" if library else "ffmpeg")
    assert ("libnvcuvid" in reason) == (not library)
    decoder, reason = choose_decoder("auto", fine, gpu=False)
    assert decoder == "ffmpeg"
    assert reason == "there is no CUDA GPU"


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (manifest("h264", "prores"), "l.txt:2: 1.mp4 is prores"),
        (manifest("h264", pix_fmt="yuv422p10le"), "l.txt:1: 0.mp4 is stored as yuv422p10le"),
        (manifest("h264", "hevc", size=128), "l.txt:2: 1.mp4 is 128x128, and hevc must be 144x144 at least"),
        (manifest("mpeg4", agrees=False), "l.txt:1: 0.mp4 has timestamps by which DALI"),
        (manifest("h264", "mjpeg"), "l.txt:2: 1.mp4 is mjpeg"),
        (manifest("h264", "mpeg4", entries=0), "l.txt:2: 1.mp4 is mpeg4 that is read whole"),
        (
            manifest("h264", cropped=True, container="avi"),
            "l.txt:1: 0.mp4 is cropped, and stored so that",
        ),
        (manifest("hevc", cropped=True, entries=0), "l.txt:1: 0.mp4 is cropped, and stored so that"),
        (manifest("hevc", interlaced=True), "l.txt:1: 0.mp4 is interlaced: DALI would make a frame of each field"),
    ],
)
def test_one_video_that_nvdec_lacks_sends_the_list_to_ffmpeg(unfit, reason, monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    decoder, why = choose_decoder("auto", unfit, gpu=True)
    assert decoder == "ffmpeg"
    assert reason in why
    with pytest.raises(UserError, match=r"--decoder nvdec: l\.txt"):
        choose_decoder("nvdec", unfit, gpu=True)


def test_what_is_asked_for_and_cannot_be_had_is_refused():
    with pytest.raises(UserError, match="--decoder nvdec: there is no CUDA GPU"):
        choose_decoder("nvdec", manifest("h264"), gpu=False)
    with pytest.raises(UserError, match=r"--decoder dali: l.txt:2: 1.mp4 is h264"):
        choose_decoder("dali", manifest("vp9", "h264"), gpu=True)
    assert choose_decoder("dali", manifest("vp8", "vp9", "mjpeg"), gpu=False)[0] == "dali"
    assert choose_decoder("ffmpeg", manifest("prores"), gpu=True)[0] == "ffmpeg"


def test_says_where_dali_s_colours_are_not_those_of_the_tags(monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    assert "the 2 videos tagged BT.709" in choose_decoder("auto", manifest("h264", "h264", bt709=True), gpu=True)[1]
    assert "BT.709" not in choose_decoder("ffmpeg", manifest("h264", bt709=True), gpu=True)[1]
    assert "BT.709" not in choose_decoder("auto", manifest("h264"), gpu=True)[1]


@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1"])
def test_codecs_that_no_gpu_has_shown_right_are_nvdec_s_only_when_asked_for(codec, monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    videos = manifest("h264", codec)
    decoder, why = choose_decoder("auto", videos, gpu=True)
    assert decoder == "ffmpeg"
    assert why.startswith(f"l.txt:2: 1.mp4 is {codec}, whose frames no GPU has shown")
    for asked in ("nvdec", "hybrid"):
        decoder, why = choose_decoder(asked, videos, gpu=True)
        assert decoder == asked
        assert f"warning: l.txt:2: 1.mp4 is {codec}" in why


def test_mpeg4_is_nvdec_s_only_where_it_is_cut(monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    assert choose_decoder("auto", manifest("mpeg4"), gpu=True)[0] == "nvdec"
    decoder, why = choose_decoder("auto", manifest("mpeg4"), gpu=True, whole_files=True)
    assert decoder == "ffmpeg"
    assert "is mpeg4 that is read whole" in why
    assert choose_decoder("auto", manifest("h264"), gpu=True, whole_files=True)[0] == "nvdec"
    with pytest.raises(UserError, match=r"--decoder nvdec: .*is mpeg4 that is read whole"):
        choose_decoder("nvdec", manifest("mpeg4"), gpu=True, whole_files=True)


def test_cropping_that_can_be_cleared_is_no_obstacle_and_whole_files_keep_theirs(monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    assert choose_decoder("auto", manifest("h264", cropped=True), gpu=True)[0] == "nvdec"
    assert choose_decoder("auto", manifest("h264", cropped=True, container="avi"), gpu=True, whole_files=True)[0] == "nvdec"


def test_without_a_gpu_hybrid_needs_what_dali_decodes_on_a_cpu():
    assert choose_decoder("hybrid", manifest("vp9", "mjpeg"), gpu=False)[0] == "hybrid"
    with pytest.raises(UserError, match=r"--decoder hybrid: without a CUDA GPU l.txt:2: 1.mp4 is h264; DALI's CPU decoder"):
        choose_decoder("hybrid", manifest("vp9", "h264"), gpu=False)
