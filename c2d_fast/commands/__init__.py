"""What the commands do once their flags are parsed: they put the other rooms' parts together.

May import: all rooms.

run_train.py      `train`, top to bottom
run_data.py       of it: what is read, where is written
run_loaders.py    of it: loaders and validation
learning.py       of it: the model, the loss and the optimizer's step
teachers.py       of it: what it learns from beside the labels
quarantine.py     of it: broken videos that the run has found, on all ranks
resume.py         of it: what is gone on from, and what differs
run_test.py       `test`
run_predict.py    `predict`
run_segments.py   `predict --segments`: long videos
run_explain.py    `predict --explain`: which places speak for a class
output_files.py   of `predict`: which files are written of each video
run_watch.py      `predict --watch`: a folder that grows
run_stream.py     `predict --stream`: cameras, devices and pipes
live_windows.py   of it: the windows, and which of them there is time for
window_scores.py  of `predict --segments`: scores of windows, kept until all are there
window_model.py   of `predict --segments` and `--stream`: what a model sees of a window, and says
run_browse.py     `browse`
run_analyze.py    `analyze`
analyze_runs.py   of it: runs
analyze_page.py   of it: all as one page, `--html`
analyze_results.py  of it: what test --dump writes
analysis_folder.py  of it: where it writes
thresholds.py     of `test` and `predict`: files of a threshold for each class
run_export.py     `export`
exported_lists.py   of it: calibration, and what a file is worth on a list
run_info.py       `info`
recipe_text.py    of it: a recipe as a pipe file, and its lines
machine_facts.py  what this machine can do
remote_facts.py   what a list's clips take to read from its server
label_kinds.py    the kind of labels that a recipe means, against a list's
data_flags.py     from data flags to lists
dataset.py        from lists to videos that can be read
"""
