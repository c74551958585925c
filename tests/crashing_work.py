"""Work for children that may crash them; imports nothing, since each child imports it."""

import os
import signal


def crash_or_double(item, tick):
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "full":
        raise OSError(28, "the disk is full")
    return item * 2
