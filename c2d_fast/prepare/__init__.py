"""`python -m c2d_fast.prepare`: lists, scans, transcodes, makes the demo data. No torch, no DALI.

May import: lists, formats, video, remote, processes; its command line also cli.

__main__.py         starts the command
command_line.py     its flags
scan.py             `prepare scan`: examines every video, writes a manifest
show.py             `prepare show`: a manifest as tables
tallies.py          what its videos are, counted
show_plots.py       the same as one picture
transcode.py        `prepare transcode`: rewrites and checks every video
results_folder.py   where its results go
encode.py           one video of it, in a child process
demo_data.py        `prepare demo`: draws and encodes the demo videos
"""

from c2d_fast.prepare.command_line import main, make_parser, parse

__all__ = ["main", "make_parser", "parse"]
