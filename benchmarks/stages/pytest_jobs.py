"""Runs pytest in a child process of a stage."""

import os

import pytest


def run(root: str, arguments: list[str]) -> int:
    """Runs pytest in a folder; returns its exit code."""
    os.chdir(root)
    return int(pytest.main(arguments))
