"""Stage train: the tests of training on a GPU. In their file those that everything else hangs on come first."""

from stages.run_tests import run_tests
from stages.stage import Stage


def run(stage: Stage) -> None:
    """Runs the tests."""
    run_tests(stage, "tests/gpu/test_gpu_train.py", processes=4)
