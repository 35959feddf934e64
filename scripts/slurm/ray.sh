#!/usr/bin/env bash
# Start a Ray cluster on the nodes of a job, and run one command on it; pip install "segfw[ray]":
#
#   sbatch scripts/slurm/ray.sh                            # the words below: a folder of images, a task for each card
#   sbatch --gpus-per-node=0 scripts/slurm/ray.sh +task=Task04 'stages=[fingerprint,plan,preprocess]'
#
# A node other than the first may be lost: its cases are begun again on the others.

# ---- edit -----------------------------------------------------------------------------------------------------------
#SBATCH --job-name=segfw-ray
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=04:00:00
#SBATCH --output=segfw_%j.log
venv=.venv
words=(predict model=outputs/Task04_Hippocampus/models/main input=images output=segmented devices=auto)
# ---------------------------------------------------------------------------------------------------------------------
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
source "$venv/bin/activate"
if [ $# -gt 0 ]; then words=("$@"); fi

# Nobody outside is told of what runs, and nobody else on the network may send the cluster work.
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN head port
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
head=$(hostname) port=$((20000 + SLURM_JOB_ID % 10000)) # of its own, where jobs share a node
node='if [ "$SLURM_PROCID" = 0 ]; then place="--head --port=$port --include-dashboard=false"; else place="--address=$head:$port"; fi
      exec ray start --block $place --num-cpus="$SLURM_CPUS_PER_TASK"'
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c "$node" >ray_"$SLURM_JOB_ID".log 2>&1 &
nodes() { ray status --address="$head:$port" 2>/dev/null | grep -c '1 node_' || true; }
until [ "$(nodes)" -ge "$SLURM_JOB_NUM_NODES" ]; do
  if [ "$SECONDS" -gt 300 ] || ! kill -0 $!; then echo "there is no Ray cluster, see ray_$SLURM_JOB_ID.log" >&2; exit 1; fi
  sleep 2
done
python -m segfw "${words[@]}" executor=ray executor.address="$head:$port"
