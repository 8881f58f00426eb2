#!/usr/bin/env bash
# Check the style and run the tests; further arguments go to pytest (-m slow runs the slow ones).
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/environment.sh test

ruff check .
python -m pytest "$@"
