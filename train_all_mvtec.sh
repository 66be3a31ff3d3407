#!/usr/bin/env bash
# Train, measure and diagnose all 15 classes. Started again, it goes on where it was stopped. Arguments are added.
set -euo pipefail
cd "$(dirname "$0")"
source tools/set_up.sh
source tools/choose_data.sh
exec "$PYTHON" -m promptad train-all ${DATA[@]+"${DATA[@]}"} --k-shot 2 --n_pro 3 --n_pro_ab 6 --Epoch 100 "$@"
