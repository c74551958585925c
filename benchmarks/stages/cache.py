"""Where inductor keeps what it has compiled: the same folder for all stages, which outlives them."""

import os
from pathlib import Path


def inductor_cache() -> tuple[dict[str, str], int]:
    """Returns the environment that names the folder, and how many graphs are in it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or home / "c2d_fast" / "inductor")
    folder.mkdir(parents=True, exist_ok=True)
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder)}, sum(1 for _ in folder.glob("fxgraph/*/*"))
