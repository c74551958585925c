"""Processes, threads and signals: how they start, are watched and end, and what they share. No torch, no DALI.

May import: nothing.

early_signals.py    signals while a command still imports: they end it
signals.py          signals later: a training run saves first, other commands tidy up
children.py         runs a function over items in child processes that may hang or crash
spawning.py         processes that do not run the user's script again
watched_threads.py  the same in threads that may hang
shared_arrays.py    arrays that workers read and one process holds
worker_process.py   a loader's worker ends with its parent, and by nobody else's signals
worker_counts.py    how many frames the workers have decoded
worker_notes.py     what workers have to tell the user, once
worker_stacks.py    what workers are doing, asked from outside
"""
