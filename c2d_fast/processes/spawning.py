"""Starts processes that do not run the user's script again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from pathlib import Path
from typing import Any

_LOCK = threading.Lock()
_MAIN = ("init_main_from_name", "init_main_from_path")


@contextmanager
def without_main() -> Iterator[None]:
    """Processes that this thread spawns meanwhile do not import the script that this program was started with.

    multiprocessing has them import it, for the sake of functions that stand there. A script may import other libraries for
    many seconds, and one that does not begin with `if __name__ == "__main__"` would do all of its work again.
    """
    with _LOCK:
        original, caller = spawn.get_preparation_data, threading.get_ident()

        def preparation_data(name: str) -> dict[str, Any]:
            facts: dict[str, Any] = original(name)
            if threading.get_ident() != caller:
                return facts
            return {key: value for key, value in facts.items() if key not in _MAIN}

        spawn.get_preparation_data = preparation_data
        try:
            yield
        finally:
            spawn.get_preparation_data = original


def needs_main(pickled: bytes) -> bool:
    """Says whether something that was pickled names what stands in the script."""
    return b"__main__" in pickled


def has_guard(script: str) -> bool:
    """Says whether a script looks as if it did nothing when another process imports it: it asks for its name."""
    try:
        return "__name__" in Path(script).read_text(errors="replace")
    except OSError:  # whatever it is, it may be none that is run
        return True
