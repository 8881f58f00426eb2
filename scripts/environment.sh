# Sourced by the other scripts: install the project, with the extras in $1, into the active environment (venv or conda),
# or into .venv where none is active.

if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
  "${PYTHON:-python3}" -m venv .venv
  . .venv/bin/activate
fi
python - <<'PYTHON'
import sys
if sys.version_info < (3, 10):
    sys.exit(f"error: Python {sys.version.split()[0]} at {sys.executable}; expected 3.10 or newer: set PYTHON=python3.x")
PYTHON
python -m pip install --disable-pip-version-check --quiet -e ".${1:+[$1]}"
