"""`python -m c2d_fast.prepare`: lists, scans, checks, transcodes, makes the demo data. No torch, no DALI.

May import: lists, formats, video, remote, processes; its command line also cli.

__main__.py         starts the command
command_line.py     its flags
scan.py             `prepare scan`: examines every video, writes a manifest
share.py            `--part I/N`: which videos of a list one of several machines works on
merge.py            `prepare merge`: joins the parts to what one machine would have made
merge_parts.py      these parts, found and compared
show.py             `prepare show`: a manifest as tables
tallies.py          what its videos are, counted
show_plots.py       the same as one picture
check.py            `prepare check`: finds videos that stand in two lists, or twice in one
checked_lists.py    the lists that it compares
packet_hash.py      copies packet by packet, without decoding
frame_hash.py       perceptual hashes of a few frames
near_pairs.py       which of very many hashes are alike
hash_file.py        hashes, kept for the next time
duplicates.py       what it has found: pairs, summary, CSV
contact_sheet.py    a picture of pairs
transcode.py        `prepare transcode`: rewrites and checks every video
transcode_job.py    what one command of it works on
transcode_report.py  what it says
watched.py          the work of both, in child processes of this machine or of a Ray cluster
ray_driver.py       `--ray`: what hands the work out
ray_node.py         what a node does with it
results_folder.py   where its results go
encode.py           one video of it, in a child process
demo_data.py        `prepare demo`: draws and encodes the demo videos
"""

from c2d_fast.prepare.command_line import main, make_parser, parse

__all__ = ["main", "make_parser", "parse"]
