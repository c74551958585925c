"""Lists of labelled videos, of every documented shape. No torch, no DALI.

May import: formats, video, remote.

listing.py       reads a list: paths, labels, class names, its hash
list_shapes.py   the shapes that lists come in
label_tables.py  of them: tables of labels
row.py           one video of a list, and how its labels are written
numbering.py     from labels and class names to numbers
fetched.py       copies of remote lists
file_finder.py   finds the file that a line means
label_map.py     class names and their numbers
make_lists.py    `prepare list`
"""
