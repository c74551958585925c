"""`python -m c2d_fast`: the program `c2d-fast`."""

from c2d_fast.cli import run
from c2d_fast.program import main

if __name__ == "__main__":
    run(main)
