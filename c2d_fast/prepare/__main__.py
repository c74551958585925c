"""`python -m c2d_fast.prepare`. Child processes import this module again: it imports nothing heavy."""

from c2d_fast import cli
from c2d_fast.prepare.command_line import main

if __name__ == "__main__":
    cli.run(main)
