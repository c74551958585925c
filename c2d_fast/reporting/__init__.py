"""What a run tells and what is drawn of results: console, JSON lines, TensorBoard, figures, pictures, videos.

May import: loading.batch, formats, video, processes.

records.py             the same metrics to console, TensorBoard and JSON lines
tensorboard_writer.py  how TensorBoard is laid out
metrics_file.py        metrics.jsonl
gauges.py              CPUs, memory and GPU, sampled by a thread
remote_traffic.py      what a run asks of its videos' servers, in words
picture_schedule.py    which epochs have pictures
gallery.py             picks clips to look at, the wrong ones first
host_copy.py           copies from a GPU that nobody waits for
scores.py              scores of a list: top-k, mean class accuracy, mAP, loss
ranking.py             average precision, and thresholds of the best F1
confusion.py           counts which class was taken for which
score_figures.py       which figures a list's scores have, by what labels mean
charts.py              figures by class: arrays in, a figure out
curves.py              curves of runs
sheet.py               contact sheets
history.py             reads a run folder
run_notes.py           of it: videos it did without, steps not applied, what bounded it
html_report.py         a page in one file, of a bounded size, for `analyze --html`
html_parts.py          of it: texts, tables, pictures, escaped
hardest_cards.py       of it: the hardest videos of a result, with pictures
video_strip.py         a few frames of a video, beside each other
dump_file.py           reads what `test --dump` writes
dump_rows.py           of it: a row, and the labels that it gives
clip_pictures.py       clips as sheets or playing pictures, for `browse`
clip_archive.py        clips as NumPy arrays, for `browse`
overlay.py             text over a video, for `predict`
"""
