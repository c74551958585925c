"""What pipe files begin their graphs with; loading/decode.py says what it does."""

from c2d_fast.loading.decode import read_clips, read_crops

__all__ = ["read_clips", "read_crops"]
