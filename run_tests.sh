#!/usr/bin/env bash
# Sets everything up and runs every check: lint, format, types, then all tests, a file at a time on each of two
# processes. Arguments go to pytest: with "-n 0" everything runs in one process, as a debugger needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./set_up_env.sh --install-only --dev
PATH=$(realpath "${VENV_DIR:-.venv}")/bin:$PATH

ruff check .
ruff format --check .
mypy
export OMP_NUM_THREADS=1 # so that two test processes do not fight over the cores
exec pytest --numprocesses 2 --dist loadfile "$@"
