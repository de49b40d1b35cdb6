#!/usr/bin/env bash
# What matters of training on a GPU, in one call: the tests marked gpu, then what an epoch costs.
#
#     benchmarks/gpu.sh                # on a GPU
#     benchmarks/gpu.sh --device cpu   # a few tiny clips: shows that it runs
#
# Takes python3 with torch, transformers, h5py, pandas, scikit-learn, PyYAML and pytest; no network, and this package
# need not be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
device=cuda
[ "${1:-}" = --device ] && device=$2

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# checkpoints say which version of the package made them, also where it is not installed
mkdir "$scratch/cmc_workflow-0.dist-info"
printf 'Metadata-Version: 2.1\nName: cmc-workflow\nVersion: 0\n' > "$scratch/cmc_workflow-0.dist-info/METADATA"
export PYTHONPATH="$PWD:$scratch" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8 CMC_DEVICE=$device

[ "$device" = cpu ] || nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
failed=0
# settings of plugins that are not here are no errors
timeout -s INT -k 10 200 python3 -m pytest -m gpu tests/gpu -q --tb=short --durations=3 -rfEs -p no:cacheprovider -W ignore \
    || failed=$?
python3 benchmarks/gpu.py --device "$device"
echo "took $SECONDS s"
exit "$failed"
