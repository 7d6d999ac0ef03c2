"""Training by this package against short scripts: `python -m benchmarks.training`.

`steps`: a step within a fit against a step of a bare loop with the same model, data, optimizer,
learning rates, masks and validation. `pruning`: iterative magnitude pruning as a whole, against
that loop with ten lines around it. Both sides end with the same weights, which is checked. The
ways take turns, and the CPU time of the process counts unless `--clock wall` is asked for.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import timing
from benchmarks.training import pruning, steps

PARTS: Mapping[str, Callable[[timing.Options], list[str]]] = {
    "steps": steps.sections,
    "pruning": pruning.sections,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for."""
    options = timing.read_options(
        __doc__ or "", arguments, rounds=9, clocks=("cpu", "wall"), parts=tuple(PARTS)
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for name in options.parts:
        timing.report(f"Training: {name}", PARTS[name](options), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
