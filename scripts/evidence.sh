#!/usr/bin/env bash
# Compares the methods on MNIST, digits and text: trains what is missing, studies it, and writes the
# tables and figures of experiments/methods_*/, which are those of the README too. It took 43 minutes
# of CPU time on one core; interrupted, the same command goes on. MNIST must lie where README says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
python=.venv/bin/python
store="${SPARSEKIT_STORE:-runs}"

compare() {  # NAME FIGURES
  local results="$store/named/$1" folder="experiments/$1"
  $python -m sparsekit.run "+experiment=$1"
  $python -m sparsekit.study calibration "$results"
  $python -m sparsekit.report "$results" --last --figures "$folder" --figure "$2" --file-types png \
    >/dev/null
  $python -m sparsekit.report "$results" --last --format csv >"$folder/results.csv"
  $python scripts/fill_pages.py --store "$store" "$folder/README.md"
}

compare methods_digits quality,training_flops,barriers,mask_overlap
compare methods_mnist \
  quality,training_flops,pareto,layer_density,mask_overlap,fan_in,learning_curves,reliability
compare methods_text quality,training_flops,layer_density,learning_curves
