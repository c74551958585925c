"""From a manifest to batches: sampler, plan, worker processes, DALI graphs. The only room that knows DALI.

May import: manifest, lists, formats, video, remote, processes.

sampler.py           which frames, boxes and order: the published rules, numpy only
balanced_order.py    an order that shows every class equally often, numpy only
frame_sampling.py    which frames make a clip: strategies, numpy only
crop_sampling.py     which box of them a training clip shows, numpy only
plan.py              (step, slot) -> sample: shards, padding, substitutes
source.py            what a worker does for a sample: a small file, frames or crops
sample_streams.py    what a graph is told of a sample, as arrays
sample_info.py       which sample a source is asked for
crop_buffers.py      what is kept of a clip's frames: the crops, or what they need
sample_memory.py     shared memory that workers hand samples over in
worker_pool.py       the worker processes: prefetch, replacement of dead ones
worker_loop.py       what each of them does
decode.py            chooses the decoder; the first step of every graph
each_clip.py         a graph made for each of several clips of one decode
decoder_fit.py       what speaks against a decoder for a list
decoder_check.py     compares DALI's decoder with FFmpeg before it is believed
hybrid.py            shares clips between two decoders by their rates
pipelines.py         builds and ends DALI pipelines
stream.py            their outputs by step; survives broken videos and dead workers
sample_problems.py   which sample of a batch fails
read_retry.py        reads a video again before it is called broken
loader.py            makes batches of tensors
loader_defaults.py   what the flags leave open: workers, threads, batches
reading_options.py   how a list is read here: the decoder, and those defaults
usable_videos.py     from a list or paths to videos that can be read
clip_loader.py       ClipLoader: all of this as one object, for any training loop
clip_transforms.py   what is done to training clips on the device
shape_schedule.py    a ClipLoader for each shape of clips, one after another
loader_arguments.py  what its arguments must be
loader_state.py      its place in a run
rank.py              which part of each batch is this process's
batch.py             the contract between loader and trainer
"""
