"""Which parameters of a model may be pruned. Code bases differ in this, so it is decided once."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sparsekit.models.examples import Example
from sparsekit.models.heads import classifiers
from sparsekit.models.layers import weight_names
from sparsekit.models.tied import tied_names


def prunable(
    model: nn.Module,
    example: Example | None = None,
    /,
    *,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    keep_head: bool = False,
) -> tuple[str, ...]:
    """Return the weights that may be pruned, in the order of model.named_parameters().

    These are the weights of convolution, linear and recurrent layers and the input projections of
    nn.MultiheadAttention (its output projection is a linear layer); never biases, norms or
    embeddings, nor what is frozen (requires_grad=False), because training cannot make up for what
    is pruned there. `exclude` takes names out, `include` adds names that are not among them, for
    example "*.pos_embed"; both hold glob patterns on parameter names, and `exclude` wins. A
    parameter shared by several layers is listed once, under its first name; one shared with an
    embedding counts as an embedding. Where a layer computes its weight (weight norm, spectral norm)
    it is the parameter that it computes it from. `keep_head` leaves the classifier alone, or all of
    several; finding it takes an `example` of the inputs.

    Raises ValueError for an `exclude` pattern that takes nothing out and an `include` pattern that
    adds nothing, with the names it could have matched; for a model of which nothing is prunable,
    with what could be included; and if the classifier cannot be told.
    """
    tied_names(model)  # refuses weights that share memory in a way that masks cannot follow
    default = _default_names(model)
    others = [name for name, _ in model.named_parameters() if name not in default]
    added = _matching(include, others, option="include")
    chosen = [name for name, _ in model.named_parameters() if name in default | added]
    if not chosen:
        raise ValueError(
            "nothing is prunable: the model has no trainable weights in convolution, linear, "
            f"attention or recurrent layers; prunable.include takes any of: {', '.join(others)}"
        )
    removed = _matching(exclude, chosen, option="exclude")
    if keep_head:
        removed |= classifiers(model, example)
    if not (left := tuple(name for name in chosen if name not in removed)):
        raise ValueError(f"nothing is prunable: all of {', '.join(chosen)} are left out")
    return left


def _default_names(model: nn.Module) -> set[str]:
    """Return the weights that are prunable unless settings say otherwise."""
    embeddings = {
        id(layer.weight)
        for layer in model.modules()
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag))
    }
    weights = set(weight_names(model))
    return {
        name
        for name, parameter in model.named_parameters()
        if name in weights and parameter.requires_grad and id(parameter) not in embeddings
    }


def _matching(patterns: Sequence[str], names: Iterable[str], *, option: str) -> set[str]:
    """Return the names that match any pattern; ValueError for a pattern that matches none."""
    names = list(names)
    matched: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise ValueError(f"{option} pattern {pattern!r} matches none of: {', '.join(names)}")
        matched |= hits
    return matched
