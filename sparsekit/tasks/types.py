"""What the rest of the program may ask of a task: what a network's outputs mean."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparsekit.tasks.metric import ACCURACY as ACCURACY
from sparsekit.tasks.metric import Metric

Measured = dict[str, tuple[float, float]]
"""Name -> (sum, count): what was added up, and over how many. Additive over batches and ranks."""


@dataclass(frozen=True)
class Task:
    """Say what outputs mean. Knows no network and no data set; every field can be pickled.

    loss: (outputs, targets) -> mean over the batch, a differentiable scalar. Options of training,
        such as label smoothing, belong here and not in `measure`.
    measure: (outputs, targets) -> name -> (sum, count). Always has "loss".
    primary: the metric that choices and reports go by; one of those that `metrics` returns.
    summarise: means of what was measured -> the metrics shown. None: the means themselves.
    mean_prediction: outputs of several networks -> outputs of their ensemble. None: there is none.
    soften: (outputs, temperature) -> logits / temperature [..., C] of what excludes each other, in
        the last dimension: distillation compares their softmax. None: the outputs are not logits.
    classes: targets -> int64 [B], one class per example. None: examples have no class.
    counted: targets -> bool [B] or [B, T], the positions that the loss counts. None: all do.
    check: (outputs, targets, num_outputs of the data set) -> ValueError for what the task cannot
        read, tried on one batch before training. May look at every value, unlike loss and measure.
    """

    loss: Callable[[Any, Any], Tensor]
    measure: Callable[[Any, Any], Measured]
    primary: Metric
    summarise: Callable[[dict[str, float]], dict[str, float]] | None = None
    mean_prediction: Callable[[Sequence[Any]], Any] | None = None
    soften: Callable[[Any, float], Any] | None = None
    classes: Callable[[Any], Tensor] | None = None
    counted: Callable[[Any], Tensor] | None = None
    check: Callable[[Any, Any, int], None] | None = None

    def metrics(self, total: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Turn what was measured in all batches into the metrics shown, by name.

        A name measured over nothing, such as the recall of a class that no example has, is NaN.
        Raises ValueError if there is no loss, or the primary metric is not among the results.
        """
        if not total.get("loss", (0.0, 0))[1]:
            raise ValueError(
                "nothing was measured: `measure` must give the sum and count of `loss`"
            )
        means = {
            name: value / count if count else math.nan for name, (value, count) in total.items()
        }
        shown = means if self.summarise is None else self.summarise(means)
        if self.primary.name not in shown:
            raise ValueError(
                f"primary metric {self.primary.name!r} was not measured; there are "
                f"{', '.join(shown) or 'none'}"
            )
        return shown


def add(measured: Iterable[Mapping[str, tuple[float, float]]]) -> Measured:
    """Add up what was measured in several batches, name by name.

    >>> add([{"loss": (3.0, 2)}, {"loss": (1.0, 1)}])
    {'loss': (4.0, 3)}
    """
    total: Measured = {}
    for one in measured:
        for name, (value, count) in one.items():
            before = total.get(name, (0, 0))
            total[name] = (before[0] + value, before[1] + count)
    return total
