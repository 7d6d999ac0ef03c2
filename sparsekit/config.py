"""The configuration's typed spine, its checks, and `build`, which turns leaves into objects.

A leaf is `_target_` and arguments. A target that is a dataclass is called; any other function or
class is bound to its arguments with functools.partial, to be called by whoever uses it.
Nothing here imports torch: what a leaf of this package accepts is read from its source.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sparsekit.signatures import Signature, signature_of


class ConfigError(ValueError):
    """A mistake in the configuration: names the place and what would be valid there."""


@dataclasses.dataclass
class Spine:
    """Top level of every configuration; the leaves below it are checked by `check`."""

    model: Any = None
    data: Any = None
    prunable: Any = None
    train: Any = None
    method: Any = None
    executor: Any = None
    logger: Any = None
    runtime: Any = None
    seed: int = 0
    sparsity: float = 0.9
    sweep: list[dict[str, Any]] = dataclasses.field(default_factory=list)


LEAVES = ("model", "data", "prunable", "train", "method", "executor", "runtime")
OPTIONAL_LEAVES = ("logger",)


def check(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first unknown key, target, argument, or value of a wrong type."""
    valid = [field.name for field in dataclasses.fields(Spine)]
    for name in config:
        if name not in valid:
            raise ConfigError(f"{name}: no such key at the top level{suggest(name, valid)}")
    for name in LEAVES + OPTIONAL_LEAVES:
        node = config.get(name)
        if isinstance(node, Mapping) and "_target_" in node:
            _check_node(name, node)
        elif node is not None or name in LEAVES:
            raise ConfigError(f"{name}: expected a leaf with `_target_`, found {node!r}")
    if not 0 <= config["sparsity"] < 1:
        raise ConfigError(f"sparsity={config['sparsity']} is outside 0 <= sparsity < 1")


def build(node: Any) -> Any:
    """Objects for a checked node: bound functions, dataclasses, plain containers and values.

    The only caller of Hydra's instantiate.
    """
    from hydra.utils import instantiate

    if not isinstance(node, Mapping | list | tuple):
        return node
    return instantiate(_marked(node), _convert_="all")


def suggest(name: str, valid: Iterable[str]) -> str:
    """`; nearest: ...` or, where nothing is near, `; valid: ...`.

    >>> suggest("epoch", ["epochs", "batch_size"])
    '; nearest: epochs'
    """
    options = sorted(valid)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if near:
        return f"; nearest: {', '.join(near)}"
    return f"; valid: {', '.join(options) or 'none'}"


def _marked(node: Any) -> Any:
    if isinstance(node, Mapping):
        marked = {name: _marked(value) for name, value in node.items()}
        if "_target_" in node and not signature_of(node["_target_"]).is_dataclass:
            marked["_partial_"] = True
        return marked
    if isinstance(node, list | tuple):
        return [_marked(value) for value in node]
    return node


def _check_node(place: str, node: Any) -> None:
    for name, child in _children(node):
        _check_node(f"{place}.{name}", child)
    if not (isinstance(node, Mapping) and "_target_" in node):
        return
    try:
        signature = signature_of(node["_target_"])
    except LookupError as error:
        raise ConfigError(f"{place}._target_: {error.args[0]}") from error
    _check_arguments(place, node, signature)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, list | tuple):
        yield from ((str(i), child) for i, child in enumerate(node))


def _check_arguments(place: str, node: Mapping[str, Any], signature: Signature) -> None:
    target = node["_target_"]
    for name, value in node.items():
        if name == "_target_":
            continue
        if name not in signature.arguments and not signature.is_open:
            near = suggest(name, signature.arguments)
            raise ConfigError(f"{place}.{name}: {target} has no such argument{near}")
        types = signature.arguments.get(name)
        if value == "???" or (types is not None and not _fits(value, types)):
            wanted = " or ".join(sorted(types or {"a value"}))
            raise ConfigError(f"{place}.{name}={value!r} is not valid; expected {wanted}")
    missing = [name for name in signature.required if name not in node]
    if missing:
        raise ConfigError(f"{place}: {target} needs {', '.join(missing)}")


def _fits(value: Any, types: frozenset[str]) -> bool:
    kind = "None" if value is None else type(value).__name__
    return kind in types or (kind == "int" and "float" in types)
