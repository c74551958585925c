"""Runs an example several times in this process: `python runs_of_example.py FILE '[[ARG, ...], ...]'`.

One process, since what the examples import takes seconds. What each run is fed comes as a line of JSON after the word "fed".
"""

import json
import multiprocessing
import runpy
import sys
import zlib


def main():
    from c2d_fast import ClipLoader
    from c2d_fast.loading import worker_pool

    # Its loaders' workers are forks of a process that has imported what they import, as in tests/conftest.py.
    multiprocessing.set_forkserver_preload(["c2d_fast.loading.source", "c2d_fast.loading.worker_pool"])
    worker_pool._CONTEXT = multiprocessing.get_context("forkserver")
    original = ClipLoader.__iter__

    def told(self):
        for batch in original(self):
            if not hasattr(self.plan, "num_valid"):  # an evaluation's
                print("\nfed", json.dumps([batch.index.tolist(), zlib.crc32(batch.clip.numpy().tobytes())]), flush=True)
            yield batch

    ClipLoader.__iter__ = told
    example, runs = sys.argv[1], json.loads(sys.argv[2])
    for words in runs:
        print("\nrun", flush=True)
        sys.argv[:] = [example, *words]
        runpy.run_path(example, run_name="__main__")


if __name__ == "__main__":
    main()
