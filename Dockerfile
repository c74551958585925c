# The trainer in a container. Data and runs are mounted, never copied:
#
#     docker build -t c2d-fast .
#     docker run --rm --gpus all -v /fast/kinetics:/data:ro -v "$PWD/runs:/work/runs" c2d-fast train --pipe k400_8x8 \
#         --data-root /data --train-list /data/train.npz --val-list /data/val.npz
#
# The mounted folder for runs must be writable for user 1000, or for the user of `docker run --user`.
# This file has been read and checked by tests/test_project_files.py, but not been built: its makers had no Docker.

# An image of Debian with Python 3.11 or newer, pip and Python's headers, as the official ones are. PyTorch and DALI bring CUDA's
# libraries with them; the driver's come from the host, with the NVIDIA Container Toolkit.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS base
# `video` is what NVDEC needs.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1
# torch.compile builds its launchers with a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG USER_ID=1000
RUN useradd --create-home --uid ${USER_ID} c2d && install --directory --owner c2d /work /work/runs

# What the development container is: tools, and no package of Python; `make` installs those into the checkout's .venv.
FROM base AS dev
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg git make zsh \
    && rm -rf /var/lib/apt/lists/*
USER c2d
WORKDIR /work

FROM base AS trainer
# Extras, with brackets and commas as pip takes them; empty for none.
ARG EXTRAS=[export]
COPY setup.cfg pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff /tmp/source/
COPY c2d_fast /tmp/source/c2d_fast
COPY dali_pipes /tmp/source/dali_pipes
RUN python -m pip install "/tmp/source${EXTRAS}" && rm -rf /tmp/source
USER c2d
WORKDIR /work
ENTRYPOINT ["c2d-fast"]
CMD ["info"]
