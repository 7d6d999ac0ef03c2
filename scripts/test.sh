#!/usr/bin/env bash
# Sets up what is missing, checks style, types and import contracts, and runs the tests.
# Further arguments go to pytest and skip the checks: scripts/test.sh tests/core -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
bin=.venv/bin
export OMP_NUM_THREADS=1
[ "$#" -eq 0 ] || exec $bin/python -m pytest "$@"

$bin/ruff check .
$bin/ruff format --check .
$bin/mypy
$bin/lint-imports --no-cache | tail -n 12
failed=0
$bin/python -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal -m "not slurm" || failed=1
# Tests on a SLURM cluster mostly wait for it, so that more of them fit beside each other.
$bin/python -m pytest -n "${SLURM_TEST_WORKERS:-4}" --dist worksteal -m slurm || failed=1
exit $failed
