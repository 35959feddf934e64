#!/usr/bin/env bash
# Train each fold on all graphics cards of several nodes:
#
#   sbatch scripts/slurm/train_ddp.sh                      # further words go to segfw: folds=0
#
# The batch stays the planned one and is shared out: there must be at least as many samples in it as cards. When the time
# ends, a node is lost or a task fails, the job is queued again and goes on from the last checkpoint.

# ---- edit -----------------------------------------------------------------------------------------------------------
#SBATCH --job-name=segfw-ddp
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=12
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=segfw_%j.log
venv=.venv restarts=3 # after a failure; those for lack of time count, too, but are not limited
words=(+task=Task04 'configurations=[3d_fullres]' plan.batch_size=8 name=batch8 data_root=data output_root=outputs)
# ---------------------------------------------------------------------------------------------------------------------
#SBATCH --requeue
#SBATCH --signal=USR1@120
#SBATCH --open-mode=append

set -euo pipefail
source "$venv/bin/activate"
places=(trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.num_nodes="$SLURM_JOB_NUM_NODES")
# As many tasks as cards, each of which sees all cards of its node: no --gpus-per-task, no --gpu-bind.
status=0
srun --kill-on-bad-exit=1 python -m segfw "${words[@]}" "${places[@]}" "$@" || status=$?
case $status in
  0 | 2) ;; # done, or the words are wrong
  *) if [ "${SLURM_RESTART_COUNT:-0}" -lt "$restarts" ]; then scontrol requeue "$SLURM_JOB_ID"; fi ;;
esac
exit "$status"
