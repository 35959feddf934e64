#!/usr/bin/env bash
# Train the folds of one task as an array, a fold for each job:
#
#   sbatch scripts/slurm/train_array.sh                    # further words go to segfw: trainer.max_epochs=250
#
# Whoever comes first prepares the data, while the others wait; whoever finishes last selects and packages the model. A
# job whose time ends saves the step at hand and is queued again. What failed goes on when the same line is given again.

# ---- edit -----------------------------------------------------------------------------------------------------------
#SBATCH --job-name=segfw
#SBATCH --array=0-4
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=12
#SBATCH --mem=48G
#SBATCH --time=24:00:00
#SBATCH --output=segfw_%A_%a.log
venv=.venv
words=(+task=Task04 'configurations=[3d_fullres]' data_root=data output_root=outputs)
# ---------------------------------------------------------------------------------------------------------------------
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --signal=USR1@120
#SBATCH --open-mode=append

set -euo pipefail
source "$venv/bin/activate"
srun python -m segfw "${words[@]}" folds="$SLURM_ARRAY_TASK_ID" "$@"
