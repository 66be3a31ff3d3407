#!/usr/bin/env bash
# Try the anomalib adapter in an environment of its own, .anomalib: anomalib is not among the locked dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/set_up.sh
"$PYTHON" -m uv venv --quiet --allow-existing --python "$PYTHON" .anomalib
"$PYTHON" -m uv pip install --quiet --python .anomalib --editable '.[anomalib,openvino]' pytest
exec .anomalib/bin/python -m pytest tests/integrations "$@"
