"""Files of our own that are read back: nothing in them can run, and a damaged one is noticed. No torch.

May import: remote, video.

schemas.py          the shape of all JSON that is read back, and the one place that decodes it
checksums.py        checksums of lines of JSON
texts.py            very many strings in little memory
integers.py         integers of an array as a sequence
label_sets.py       any number of labels of very many videos
array_blocks.py     reads an archive's arrays block by block
archive_members.py  what an .npz archive holds, before anything of it is read
journal.py          what a long command has done so far
manifest_file.py    the manifest that a scan leaves
manifest_checks.py  whether its columns hold what a scan writes
manifest_part.py    which part of its list a manifest has
packet_table.py     where every packet of a manifest's videos lies
packet_store.py     the packets while a table is being made
"""
