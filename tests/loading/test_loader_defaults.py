import pytest
import torch

from c2d_fast.loading.loader_defaults import decode_batch_size, even_num_threads, num_threads, num_workers
from c2d_fast.training.determinism import make_deterministic, tune_kernels


@pytest.mark.parametrize("most", [1, 2, 7, 8, 14, 16])
def test_threads_divide_the_clips_or_need_as_few_rounds_as_all(most):
    for clips in range(1, 130):
        threads = even_num_threads(clips, most)
        assert 1 <= threads <= most
        fewest = -(-clips // most)
        assert clips % threads == 0 or -(-clips // threads) == fewest
        assert threads > most / 2 or -(-clips // threads) == fewest
    assert even_num_threads(64, 16) == even_num_threads(32, 16) == 16
    assert even_num_threads(30, 16) == 15
    assert even_num_threads(31, 16) == 16


def test_workers_follow_the_cpus_and_what_is_to_be_fed():
    assert num_workers("ffmpeg", 16, has_table=True) == num_workers("hybrid", 64, has_table=False) == 16
    assert num_workers("nvdec", 16, has_table=True) < num_workers("nvdec", 16, has_table=False) <= 16
    for decoder in ("ffmpeg", "nvdec", "dali", "hybrid"):
        for table in (True, False):
            assert num_workers(decoder, 1, has_table=table) == 1
            assert num_workers(decoder, 3, has_table=table) <= 3


def test_threads_by_decoder():
    assert num_threads("ffmpeg", 16, 32) == 1
    assert num_threads("dali", 6, 32) == 6
    assert num_threads("nvdec", 16, 64) == num_threads("hybrid", 32, 64) == 16
    assert num_threads("nvdec", 12, 64) == 8


def test_nvdec_decodes_several_batches_together_where_memory_allows():
    clip = 8 * 340 * 256 * 3
    assert decode_batch_size("nvdec", 32, clip) == 64
    assert decode_batch_size("nvdec", 24, clip) == 72
    assert decode_batch_size("hybrid", 8, clip) == 64
    assert decode_batch_size("nvdec", 64, clip) == decode_batch_size("nvdec", 100, clip) == 0
    assert decode_batch_size("ffmpeg", 8, clip) == decode_batch_size("dali", 8, clip) == 0
    large = 8 * 1920 * 1080 * 3
    assert decode_batch_size("nvdec", 32, large) == 0
    assert decode_batch_size("nvdec", 8, large) == 40
    assert 40 * large < 2 * 2**30


def test_kernels_are_timed_on_a_gpu_and_not_where_results_must_repeat(monkeypatch):
    # Nothing here needs the GPU: these are switches.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    tune_kernels(torch.device("cpu"))
    assert not torch.backends.cudnn.benchmark
    tune_kernels(torch.device("cuda"))
    assert torch.backends.cudnn.benchmark
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *args, **kwargs: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setenv("TORCHINDUCTOR_DETERMINISTIC", "")
    make_deterministic(torch.device("cuda"))
    assert not torch.backends.cudnn.benchmark
