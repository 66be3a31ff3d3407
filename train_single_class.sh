#!/usr/bin/env bash
# Train, measure and diagnose one class: carpet from 2 pictures. Arguments are added.
set -euo pipefail
cd "$(dirname "$0")"
source tools/set_up.sh
source tools/choose_data.sh
exec "$PYTHON" -m promptad train ${DATA[@]+"${DATA[@]}"} --class_name carpet --k-shot 2 --n_pro 3 --n_pro_ab 6 --Epoch 100 "$@"
