#!/usr/bin/env bash
# Try what runs on Ray in an environment of its own, .ray: Ray is not among the locked dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/set_up.sh
"$PYTHON" -m uv venv --quiet --allow-existing --python "$PYTHON" .ray
"$PYTHON" -m uv pip install --quiet --python .ray --editable '.[ray,openvino]' pytest
exec .ray/bin/python -m pytest tests/integrations/test_ray_*.py "$@"
