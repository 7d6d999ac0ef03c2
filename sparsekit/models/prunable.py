"""Which parameters of a model may be pruned. Code bases differ in this, so it is decided once."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sparsekit.models.layers import layer_weights


def prunable(
    model: nn.Module,
    *,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    keep_head: bool = False,
) -> tuple[str, ...]:
    """Names of the weights that may be pruned, in the order of model.named_parameters().

    These are the weights of convolution and linear layers and the input projections of
    nn.MultiheadAttention (its output projection is a linear layer); never biases, norms or
    embeddings. `exclude` takes names out, `include` adds names that are not among them, for
    example "*.pos_embed"; both hold glob patterns on parameter names, and `exclude` has the last
    word. A parameter shared by several layers is listed once, under its first name; one shared
    with an embedding counts as an embedding. `keep_head` leaves the last of the weights alone, the
    classifier of every model here.

    Raises ValueError for an `exclude` pattern that takes nothing out and an `include` pattern that
    adds nothing, with the names it could have matched.
    """
    default = _default_names(model)
    others = [name for name, _ in model.named_parameters() if name not in default]
    added = _matching(include, others, option="include")
    chosen = [name for name, _ in model.named_parameters() if name in default | added]
    removed = _matching(exclude, chosen, option="exclude") | set(chosen[-1:] if keep_head else ())
    return tuple(name for name in chosen if name not in removed)


def _default_names(model: nn.Module) -> set[str]:
    """Names of the weights that are prunable unless somebody says otherwise."""
    weights = {id(weight) for layer in model.modules() for weight in layer_weights(layer)}
    embeddings = {
        id(layer.weight)
        for layer in model.modules()
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag))
    }
    chosen = weights - embeddings
    return {name for name, parameter in model.named_parameters() if id(parameter) in chosen}


def _matching(patterns: Sequence[str], names: Iterable[str], *, option: str) -> set[str]:
    """The names that match any pattern; ValueError for a pattern that matches none of them."""
    names = list(names)
    matched: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise ValueError(f"{option} pattern {pattern!r} matches none of: {', '.join(names)}")
        matched |= hits
    return matched
