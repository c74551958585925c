"""The training loop and the evaluation, on one rank or many. It takes any iterable of batches: no video, no DALI.

May import: reporting, model, loading.batch, formats, processes.

trainer.py        the loop
train_step.py     one optimizer step, applied or not
progress.py       how far a run has come, and what ends it
objective.py      the loss: of labels of any kind, and of a teacher
mixing.py         mixup and cutmix
teacher.py        what a teacher says of a batch
averaged_weights.py  the exponential moving average of the weights
parameter_groups.py  which parameters are learnt, and how fast
schedule.py       optimizer and learning rate
batch_norm.py     running statistics over ranks
metrics.py        counts losses and hits on the device
evaluate.py       views averaged by video
distributed.py    the ranks: what they share and decide together
throughput.py     clips per second, and how far the host is ahead
energy_meter.py   joules of a clip and of an epoch, over ranks
watchdog.py       ends a run that gets no further
checkpoints.py    when to save, which to keep, which is the newest whole one
run_folder.py     finds or makes the run's folder
folder_lock.py    one run in a folder at a time
determinism.py    fast kernels or repeatable ones
blocking_sync.py  waits for a GPU asleep
batch_finder.py   `--batch-size auto`
step_profile.py   `--profile`
batch_log.py      `--log-batches`
"""
