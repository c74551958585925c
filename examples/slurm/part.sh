#!/bin/bash
#SBATCH --job-name=prepare
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --requeue
# One part of a scan or of transcoding, as task of an array that is numbered from 1:
#   sbatch --array=1-32 --cpus-per-task=16 examples/slurm/part.sh scan --list train.txt --out train.npz
# A task that is killed, or whose node fails, goes on where it was when it is started again.
set -euo pipefail
exec "${PYTHON:-python}" -m c2d_fast.prepare "$@" \
    --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --jobs "${SLURM_CPUS_PER_TASK:-1}"
