"""Floating-point operations of one example's forward pass, by the weights behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from sparsekit.data.batches import num_examples
from sparsekit.models.examples import Example, inputs_of
from sparsekit.models.trace import trace


@dataclass(frozen=True)
class Flops:
    """Operations of the forward pass of one example; a multiplication and an addition count as two.

    per_weight: parameter name -> operations of the multiplications with it while it is dense,
        wherever in the network and however it is used; 0 for biases, norms, embeddings and all
        else that is not multiplied, so that the names of any mask can be looked up.
    other: operations that no parameter causes, such as the products inside attention.
    unknown: parameter name -> an operation that uses it and that is not counted anywhere, or
        counted in `other` because it is not clear what a zero in the parameter spares.
    """

    per_weight: dict[str, int]
    other: int
    unknown: dict[str, str] = field(default_factory=dict)

    def total(self, densities: Mapping[str, float]) -> float:
        """Count operations when each weight keeps this fraction of its entries; others are dense.

        A weight's share is proportional to its density because every entry is used once at each
        output position. Raises ValueError for names that are not in `per_weight`.
        """
        if unknown := sorted(densities.keys() - self.per_weight.keys()):
            known = ", ".join(self.per_weight)
            raise ValueError(f"no such parameter: {', '.join(unknown)}; there are: {known}")
        shares = (densities.get(name, 1.0) * count for name, count in self.per_weight.items())
        return sum(shares) + self.other


def flops(model: nn.Module, example: Example) -> Flops:
    """Count the operations of one example through `model`.

    `example` is a batch of one as the network gets it, a tensor, tuple or dict; or the shape of an
    image [C, H, W]. A weight costs 2 * numel * number of output positions: pixels of a
    convolution's output, tokens of a linear or recurrent layer. The model is left as it was.
    Raises ValueError for a batch of several.
    """
    inputs = inputs_of(model, example)
    if (batch := num_examples(inputs)) != 1:
        raise ValueError(f"expected a batch of one example, got {batch}")
    seen = trace(model, inputs)
    per_weight = {name: seen.per_weight.get(name, 0) for name, _ in model.named_parameters()}
    return Flops(per_weight=per_weight, other=seen.other, unknown=dict(seen.unknown))
