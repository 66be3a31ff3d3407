#!/usr/bin/env bash
# Train the single-anchor baseline and ours on the demo data, and compare them. Started again, it goes on where it was
# stopped. Arguments are added to all trainings. LEVELS="image pixel" trains for pixel metrics by themselves, too.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/set_up.sh
results=result/compare_demo

train() {
    "$PYTHON" -m promptad train-all --dataset demo --root-dir "$results" --seeds 0-2 --save-diagnostics False "$@"
}

for level in ${LEVELS:-image}; do
    for k in 1 2 4; do
        train --k-shot "$k" --level "$level" --system single-anchor --memory-bank True "$@"
        train --k-shot "$k" --level "$level" --system multi-prototype --memory-bank False "$@"
    done
done
exec "$PYTHON" -m promptad compare --dataset demo --root-dir "$results" --k-shot 1,2,4 --seeds 0-2 \
    --output "$results/comparison"
