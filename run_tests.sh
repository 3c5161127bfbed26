#!/usr/bin/env bash
# Sets everything up and runs every check: lint, format, types, then all tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./set_up_env.sh --install-only --dev
PATH=$(realpath "${VENV_DIR:-.venv}")/bin:$PATH

ruff check .
ruff format --check .
mypy
exec pytest "$@"
