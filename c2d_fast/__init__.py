"""Trains C2D video classifiers from video files, fast. See README.md for the commands, docs/architecture.md for the map."""

__version__ = "0.1.0"
