#!/usr/bin/env bash
# Sets up what is missing, checks style, types and import contracts, and runs the tests.
# Further arguments go to pytest and skip the checks: scripts/test.sh tests/core -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
bin=.venv/bin
export OMP_NUM_THREADS=1
# Where it is set, every interpreter that a test starts would compile the package anew.
export PYTHONDONTWRITEBYTECODE=
[ "$#" -eq 0 ] || exec $bin/python -m pytest "$@"

# Pages are tested in a browser; without one their tests fail and say what is missing.
if [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] \
  && command -v apt-get >/dev/null; then
  echo "installing Chromium for the tests of pages" >&2
  apt-get install -y -qq chromium >/dev/null 2>&1 \
    || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 || true
fi

$bin/ruff check .
$bin/ruff format --check .
# Beside the tests: types and contracts, which leave cores idle, and tests on a SLURM cluster, which
# mostly wait for it, and so run beside each other, too.
told=$(mktemp -d)
{ $bin/mypy && $bin/lint-imports --no-cache | tail -n 12; } >"$told/checks" 2>&1 &
checks=$!
$bin/python -m pytest -n "${SLURM_TEST_WORKERS:-6}" --dist worksteal -m slurm tests/slurm \
  >"$told/slurm" 2>&1 &
slurm=$!
trap 'kill "$checks" "$slurm" 2>/dev/null || true; rm -rf "$told"' EXIT
failed=0
$bin/python -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal -m "not slurm" || failed=1
wait "$checks" || failed=1
wait "$slurm" || failed=1
cat "$told/checks" "$told/slurm"
exit $failed
