#!/usr/bin/env bash
# Makes .venv with sparsekit and its tools in it, once; does nothing when that is already done.
# Used by the other scripts. PYTHON=python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=".venv/.installed-$(sha256sum pyproject.toml | cut -c1-16)"
[ -e "$stamp" ] && exit 0

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
find_python() {
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3; do
    if [ -n "$candidate" ] && supported "$candidate"; then echo "$candidate"; return; fi
  done
  echo "sparsekit needs Python 3.11 or 3.12; set PYTHON=/path/to/python" >&2
  exit 1
}

make_environment() {
  "$1" -m venv --clear .venv >/dev/null 2>&1 && return
  # Debian ships venv apart from Python.
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    "$1" -m venv --clear .venv && return
  fi
  echo "cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
  exit 1
}

echo "setting up .venv: about 5 GB, a minute or more" >&2
[ -x .venv/bin/python ] || make_environment "$(find_python)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
# Compiled now, because some machines forbid Python to write bytecode later.
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python -e '.[dev]'
touch "$stamp"
