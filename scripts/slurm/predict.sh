#!/usr/bin/env bash
# Segment a folder of images on all graphics cards of one node (for several nodes see ray.sh):
#
#   sbatch scripts/slurm/predict.sh                        # further words go to segfw: inference.mirror=false
#
# Images that are there already are skipped. Several such jobs on one output folder share the work.

# ---- edit -----------------------------------------------------------------------------------------------------------
#SBATCH --job-name=segfw-predict
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=96G
#SBATCH --time=04:00:00
#SBATCH --output=segfw_%j.log
venv=.venv
words=(model=outputs/Task04_Hippocampus/models/main input=images output=segmented devices=auto)
# ---------------------------------------------------------------------------------------------------------------------
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
source "$venv/bin/activate"
srun python -m segfw predict "${words[@]}" "$@"
