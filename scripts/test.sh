#!/usr/bin/env bash
# Check style and types and run the tests; further arguments go to pytest (-m slow runs the slow ones).
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/environment.sh test

ruff check .
mypy &
types=$!
export OMP_NUM_THREADS=1  # one process a core is faster than threads that wait for each other
python -m pytest -n auto --dist worksteal "$@"
wait "$types"
python scripts/soak.py --kills 3 clf
