#!/usr/bin/env bash
# Sets up what is missing and runs the quickstart; further arguments are overrides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec .venv/bin/python -m sparsekit.run +experiment=quickstart "$@"
