#!/bin/bash
#SBATCH --job-name=prepare-merge
#SBATCH --nodes=1
#SBATCH --ntasks=1
# Joins the parts, once all are done. ARRAY is what sbatch --parsable has printed for them:
#   sbatch --dependency=afterok:ARRAY examples/slurm/merge.sh train.npz
set -euo pipefail
exec "${PYTHON:-python}" -m c2d_fast.prepare merge --out "$1"
