"""Compare two stores bit for bit: `python scripts/compare_runs.py RUNS_A RUNS_B`.

Exit status 0: every stage is in both and equal; 1: the differences were printed.
"""

import sys
from pathlib import Path

from sparsekit.report.compare import differences
from sparsekit.store.store import Store

USAGE = "usage: python scripts/compare_runs.py RUNS_A RUNS_B, which are stores"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not all(Path(folder, "stages").is_dir() for folder in arguments):
        print(USAGE)
        return 2
    first, second = (Store(Path(folder)) for folder in arguments)
    found = differences(first, second)
    print("\n".join(found) or "equal, bit for bit")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
