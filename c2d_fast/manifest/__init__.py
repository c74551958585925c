"""What is known of a list's videos before a run starts, and which of them can be used. No torch, no DALI.

May import: lists, formats, video, remote, processes.

manifest.py    facts of every video: from a scan, or examined once
cache.py       these facts, kept in the user's cache folder
videos.py      the usable videos as arrays, for plans, decoders and workers
bad_videos.py  counts broken videos against --max-bad-videos
"""
