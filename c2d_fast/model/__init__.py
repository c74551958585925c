"""C2D and the files that its weights are in. No video, no DALI.

May import: formats.

c2d.py               the model
nonlocal_block.py    non-local blocks
weights.py           what a model starts from, and whether a file is of this model
model_file.py        files of weights, of every known form
checkpoint.py        the file format of our checkpoints
inert_pickle.py      reads weights out of a pickle without running anything of it
published_config.py  the backbone that a published checkpoint names
precision.py         mixed precision
onnx_file.py         ONNX, checked against PyTorch
onnx_precision.py    of it: float16 and int8
pt2_file.py          programs of torch.export, checked likewise
compared.py          how far a file's numbers are from PyTorch's
grad_cam.py          which places of a clip speak for a class
"""
