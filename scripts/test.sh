#!/usr/bin/env bash
# Sets up what is missing, checks style, types and import contracts, and runs the tests.
# Further arguments go to pytest and skip the checks: scripts/test.sh tests/core -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
bin=.venv/bin
if [ "$#" -eq 0 ]; then
  $bin/ruff check .
  $bin/ruff format --check .
  $bin/mypy
  $bin/lint-imports --no-cache | tail -n 12
  set -- -n "${TEST_WORKERS:-2}"
fi
export OMP_NUM_THREADS=1
exec $bin/python -m pytest "$@"
