"""The log that the fault tests leave, as the table of docs/reliability.md.

SPARSEKIT_FAULT_LOG=/tmp/faults.jsonl bash scripts/test.sh tests/slurm
python -m tests.slurm.summary /tmp/faults.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COUNTS = ("injected", "runs", "lost", "differing")


def summary(log: Path) -> str:
    """One line per fault: times injected, runs of the sweeps, results lost, results differing."""
    totals: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        told = json.loads(line)
        counts = totals.setdefault(told["fault"], [0] * len(COUNTS))
        totals[told["fault"]] = [a + told[name] for a, name in zip(counts, COUNTS, strict=True)]
    head = [
        "| fault | injected | runs | results lost | results differing |",
        "|---|--:|--:|--:|--:|",
    ]
    rows = [f"| {fault} | {' | '.join(map(str, counts))} |" for fault, counts in totals.items()]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    print(summary(Path(sys.argv[1])))
