"""DALI's decoder is compared with FFmpeg before a run believes it; here with DALI's CPU decoder in NVDEC's place."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from loaders import CLIP, CROP, PIPE, dataset, options
from media import make_dataset, spoil

from c2d_fast.errors import EXIT_START_AGAIN, EndedError
from c2d_fast.lists.listing import read_list
from c2d_fast.loading import decoder_check
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.loader import TrainLoader
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("vp9"), codec="vp9", count=4, sizes=((160, 96), (96, 160)))


def check(bad, **changes):
    return check_decoder(bad.manifest.videos(), "dali", CPU, **changes)


def replace_frames(monkeypatch, change):
    """Has DALI's decoder give other frames than it was asked for."""
    decode = decoder_check.decode_files

    def changed(files, *args, **kwargs):
        return [change(file, frames) for file, frames in zip(files, decode(files, *args, **kwargs), strict=True)]

    monkeypatch.setattr(decoder_check, "decode_files", changed)


def renumber(monkeypatch, change):
    """Has it take other numbers for the frames."""
    decode = decoder_check.decode_files

    def changed(files, *args, **kwargs):
        return decode([(data, change(numbers).astype(np.int32)) for data, numbers in files], *args, **kwargs)

    monkeypatch.setattr(decoder_check, "decode_files", changed)


def test_a_sound_decoder_passes(vp9):
    assert check(vp9) == ""


@pytest.mark.parametrize("codec", ["vp8", "mjpeg"])
def test_so_does_one_of_other_codecs(tmp_path, codec):
    assert check(dataset(tmp_path, codec=codec, count=1, num_frames=(9,))) == ""


@pytest.mark.parametrize(
    "change",
    [lambda n: np.maximum(n - 1, 0), lambda n: n[::-1], lambda n: np.append(n[1:], n[-1])],
    ids=["one off", "back", "next"],
)
def test_other_numbers_are_noticed(vp9, monkeypatch, change):
    renumber(monkeypatch, change)
    assert "clip 0.webm, " in check(vp9)


def test_numbers_that_are_one_off_in_a_slow_video_are_noticed(tmp_path, monkeypatch):
    """Where neighbouring frames are so much alike that their difference alone says nothing."""
    import av

    path = tmp_path / "slow.webm"
    rng = np.random.default_rng(0)
    still = rng.integers(60, 200, (12, 20, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream_ = container.add_stream("libvpx-vp9", rate=25, options={"b": "2M"})
        stream_.width, stream_.height, stream_.pix_fmt = 160, 96, "yuv420p"
        for k in range(50):
            image = np.roll(still, k, 1)
            container.mux(stream_.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream_.encode())
    (tmp_path / "list.txt").write_text("slow.webm 0\n")
    bad = BadVideos(read_manifest(read_list(tmp_path / "list.txt", None, 1), allow_missing=False, jobs=1), (1.0, False), "")
    assert check(bad) == ""
    renumber(monkeypatch, lambda numbers: np.maximum(numbers - 1, 0))
    assert check(bad).endswith("frames of which are numbered otherwise than by FFmpeg")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file, frames: frames[:, :, :-16], "has frames of (5, 96, 144, 3), FFmpeg's are (5, 96, 160, 3)"),
        (lambda file, frames: np.zeros_like(frames), "of which a frame differs from FFmpeg's by "),
        (lambda file, frames: frames[:-1], "has frames of (4, 96, 160, 3)"),
    ],
    ids=["size", "black", "number"],
)
def test_other_pictures_are_noticed(vp9, monkeypatch, change, reason):
    replace_frames(monkeypatch, change)
    assert reason in check(vp9)


@pytest.mark.parametrize("fade", [lambda k: k / 50, lambda k: 1 - k / 50], ids=["in", "out"])
@pytest.mark.parametrize("grain", [0, 6])
def test_a_fade_is_not_taken_for_other_numbers(tmp_path, monkeypatch, fade, grain):
    """Frames differ from their neighbours in brightness alone, by about as much as decoders differ in colours."""
    import av

    rng = np.random.default_rng(0)
    still = rng.integers(20, 235, (12, 20, 3)).repeat(8, 0).repeat(8, 1)
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"b": "2M"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for k in range(50):
            image = np.clip(still * fade(k) + grain * rng.standard_normal((96, 160, 1)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "list.txt").write_text("a.webm 0\n")
    manifest = read_manifest(read_list(tmp_path / "list.txt", None, 1), allow_missing=False, jobs=1)
    bad = BadVideos(manifest, (1.0, False), "")
    assert check(bad) == ""
    replace_frames(monkeypatch, lambda file, frames: np.clip(frames * 1.03 + 2, 0, 255).astype(np.uint8))
    assert check(bad) == ""


def test_one_odd_video_does_not_condemn_a_decoder(vp9, monkeypatch):
    both, tried = decoder_check._both, []

    def odd_once(*args):
        tried.append(args[1])
        decoded, expected = both(*args)
        return (decoded[::-1] if len(tried) == 1 else decoded), expected

    monkeypatch.setattr(decoder_check, "_both", odd_once)
    assert check(vp9) == ""
    assert len(tried) == 2


def test_a_broken_video_is_not_the_decoder_s_fault(tmp_path, monkeypatch):
    bad = dataset(tmp_path, codec="vp9", count=3)
    for i in range(2):
        spoil(bad.manifest.listing.file(i))
    assert check(bad) == ""
    spoil(bad.manifest.listing.file(2))
    assert check(bad) == "", "nothing can be compared"


def test_a_decoder_that_fails_everywhere_is_named(vp9, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("Critical error in pipeline:\nno session\nCurrent pipeline object is no longer valid.")

    monkeypatch.setattr(decoder_check, "decode_files", fails)
    assert check(vp9).endswith(".webm, which FFmpeg decodes, fails: no session")


def test_every_codec_of_a_list_is_tried(tmp_path, monkeypatch):
    make_dataset(tmp_path, codec="vp9", count=2, name="a.txt")
    make_dataset(tmp_path, codec="vp8", count=2, name="b.txt")
    bad = dataset(tmp_path / "vp8", codec="vp8", count=1)
    seen = []
    videos = bad.manifest.videos()
    both = decoder_check._both
    monkeypatch.setattr(decoder_check, "_both", lambda v, i, *rest: seen.append(i) or both(v, i, *rest))
    assert check_decoder(videos, "dali", CPU) == ""
    assert seen == [0]
    stored = np.concatenate([videos.stored] * 3)
    stored["codec"][1] = b"vp9"
    numbers = {name: np.concatenate([getattr(videos, name)] * 3) for name in ("num_frames", "width", "height")}
    several = dataclasses.replace(videos, stored=stored, **numbers)
    monkeypatch.setattr(decoder_check, "_both", lambda v, i, *rest: seen.append(i) or (np.zeros((1, 2, 2, 3)),) * 2)
    monkeypatch.setattr(decoder_check, "_compare", lambda *clips: "")
    assert check_decoder(several, "dali", CPU) == ""
    assert seen[1:] == [0, 1]


def undecodable(bad, monkeypatch, count):
    """A loader whose workers hand DALI something else in place of the files of some videos, which FFmpeg decodes."""
    from faulty_source import faulty

    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=1, batch_size=2)
    fault = {"kind": "no video in the file", "videos": [plan.index(1, 0), plan.index(1, 1), plan.index(0, 0)][:count]}
    monkeypatch.setenv("FAULT", json.dumps(fault))
    return TrainLoader(lambda source, **kwargs: PIPE.train_pipe(faulty(source), **kwargs), plan, options("dali"), bad)


def test_no_video_is_left_out_for_a_decoder_that_has_stopped_working(tmp_path, monkeypatch):
    bad = dataset(tmp_path, codec="vp9", count=6)
    loader = undecodable(bad, monkeypatch, 2)

    def fails(*args, **kwargs):
        raise RuntimeError("no session")

    monkeypatch.setattr(decoder_check, "decode_files", fails)
    with pytest.raises(
        EndedError, match=r"dali no longer decodes: .*webm, which FFmpeg decodes, fails: no session; no video"
    ) as e:
        list(loader.epoch(0))
    assert e.value.exit_code == EXIT_START_AGAIN
    assert bad.found == []


def test_a_video_that_only_dali_refuses_is_left_out_where_it_decodes_others(tmp_path, monkeypatch):
    bad = dataset(tmp_path, codec="vp9", count=6)
    assert len(list(undecodable(bad, monkeypatch, 1).epoch(0))) == 3
    assert len(bad.found) == 1


def test_a_run_is_refused_or_goes_on_with_ffmpeg(tmp_path, monkeypatch, capsys):
    """Through the commands' own way: the decoder asked for is an error, the one that auto chose is not."""
    from c2d_fast.commands import dataset as chosen
    from c2d_fast.errors import UserError
    from c2d_fast.loading import decode, reading_options
    from c2d_fast.train import parse

    bad = dataset(tmp_path, codec="h264", count=2)
    monkeypatch.setattr(
        reading_options, "check_decoder", lambda *args, **kwargs: "a.mp4: frames are numbered otherwise than by FFmpeg"
    )
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    gpu = torch.device("cuda", 0)
    auto = chosen.loader_options(bad, parse(["--pipe", "x"]), gpu, PIPE.recipe, batch_size=8)
    assert auto.decoder == "ffmpeg"
    assert "ffmpeg (nvdec fails its check: a.mp4: frames are numbered otherwise" in capsys.readouterr().out
    for decoder in ("nvdec", "hybrid"):
        with pytest.raises(UserError, match=f"--decoder {decoder}: nvdec fails its check: a.mp4.*use --decoder auto or ffmpeg"):
            chosen.loader_options(bad, parse(["--pipe", "x", "--decoder", decoder]), gpu, PIPE.recipe, batch_size=8)
    monkeypatch.setattr(reading_options, "check_decoder", lambda *args, **kwargs: "")
    seen = []
    monkeypatch.setattr(reading_options, "check_decoder", lambda videos, name, *args, **kwargs: seen.append(name) or "")
    vp9 = dataset(tmp_path / "vp9", codec="vp9", count=2)
    assert (
        chosen.loader_options(vp9, parse(["--pipe", "x", "--decoder", "dali"]), gpu, PIPE.recipe, batch_size=8).decoder
        == "dali"
    )
    assert seen == ["dali"]
    fine = chosen.loader_options(bad, parse(["--pipe", "x", "--workers", "3"]), gpu, PIPE.recipe, batch_size=8)
    assert (fine.decoder, fine.workers, fine.decode_batch) == ("nvdec", 3, 64)
    assert fine.decode_batch % fine.decoder_threads == 0
