#!/usr/bin/env bash
# All checks: lint, format, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
source tools/set_up.sh
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
# In two processes of one thread each: most tests are too small for several threads.
export OMP_NUM_THREADS=1
exec "$PYTHON" -m pytest --numprocesses 2 --dist loadfile "$@"
