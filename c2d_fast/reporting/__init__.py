"""What a run tells and what is drawn of results: console, JSON lines, TensorBoard, trackers, figures, videos.

May import: loading.batch, formats, video, processes.

records.py             the same metrics to console, JSON lines, TensorBoard and a tracker
no_records.py          what the ranks beside the first record: nothing
tensorboard_writer.py  how TensorBoard is laid out
trackers.py            which trackers there are beside it; begins a run there, or finds it again
tracker_queue.py       sends figures to one by a thread
mlflow_run.py          a run in MLflow
wandb_run.py           a run in Weights & Biases
metrics_file.py        metrics.jsonl
gauges.py              CPUs, memory and GPU, sampled by a thread
energy.py              joules that this rank's GPU has taken
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
heat_maps.py           which places of a video's frames speak for a class, for `predict`
segments.py            what a long video shows when, as JSON, CSV and subtitles
timeline.py            a video with its segments below it
"""
