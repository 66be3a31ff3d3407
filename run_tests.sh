#!/usr/bin/env bash
# All checks: lint, format, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
source tools/set_up.sh
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
exec "$PYTHON" -m pytest "$@"
