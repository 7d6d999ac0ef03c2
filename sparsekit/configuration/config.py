"""The configuration's typed spine, its checks, and `build`, which turns leaves into objects.

A leaf is `_target_` and arguments. A target that is a dataclass is called; any other function or
class is bound to its arguments with functools.partial, and called where it is used.
Nothing here imports torch: what a leaf of this package accepts is read from its source.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sparsekit.configuration.signatures import LEAF, MAPPING, Signature, signature_of
from sparsekit.store.source import SOURCE


class ConfigError(ValueError):
    """A mistake in the configuration: names the place and what would be valid there."""


@dataclasses.dataclass
class Spine:
    """Top level of every configuration; the leaves below it are checked by `check`."""

    task: Any = None
    model: Any = None
    data: Any = None
    prunable: Any = None
    train: Any = None
    method: Any = None
    cluster: Any = None
    resources: Any = None
    executor: Any = None
    logger: Any = None
    callbacks: Any = None
    source: Any = None
    runtime: Any = None
    seed: int = 0
    sparsity: float = 0.9
    label: Any = None
    claims: Any = None
    sweep: list[dict[str, Any]] = dataclasses.field(default_factory=list)


LEAVES = (
    "task", "model", "data", "prunable", "train", "method", "cluster", "resources", "executor",
    "runtime",
)  # fmt: skip
OPTIONAL_LEAVES = ("logger", "source")
LIGHT_MODULES = (
    "sparsekit.training.settings", "sparsekit.sweeps.resources", "sparsekit.sweeps.clusters",
)  # fmt: skip
FRACTIONS = ("sparsity", "remove", "average_from")
"""Of a method; what else its settings must be takes PyTorch to see."""


def check(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first unknown key, target, argument, or value of a wrong type."""
    valid = [field.name for field in dataclasses.fields(Spine)]
    for name in config:
        check_key(name)
    missing = [name for name in valid if name not in config]
    if missing:
        raise ConfigError(f"{missing[0]}: cannot be left out")
    for name in LEAVES + OPTIONAL_LEAVES:
        node = config.get(name)
        if isinstance(node, Mapping) and "_target_" in node:
            _check_node(name, node)
        elif node is not None or name in LEAVES:
            raise ConfigError(f"{name}: expected a leaf with `_target_`, found {node!r}")
    _check_callbacks(config.get("callbacks"))
    _check_fraction("sparsity", config["sparsity"])
    for name in FRACTIONS:
        _check_fraction(f"method.{name}", config["method"].get(name))
    if not 0 <= config["seed"] < 2**63:
        raise ConfigError(f"seed={config['seed']} is outside 0 <= seed < 2^63")
    for name in LEAVES:
        _check_values(name, config[name])


def _check_fraction(place: str, value: Any) -> None:
    if isinstance(value, int | float) and not 0 <= value < 1:
        name = place.rpartition(".")[2]
        raise ConfigError(f"{place}={value} is outside 0 <= {name} < 1")


def _check_callbacks(node: Any) -> None:
    if node is None:
        return
    if not isinstance(node, Mapping) or "_target_" in node:
        raise ConfigError(f"callbacks: expected names of leaves with `_target_`, found {node!r}")
    for name, leaf in node.items():
        if not isinstance(leaf, Mapping) or "_target_" not in leaf:
            raise ConfigError(f"callbacks.{name}: expected a leaf with `_target_`, found {leaf!r}")
        _check_node(f"callbacks.{name}", leaf)


def check_key(name: str, groups: Iterable[str] = ()) -> None:
    """Raise ConfigError unless `name` is a key of the top level; `groups` are named as well."""
    valid = [field.name for field in dataclasses.fields(Spine)]
    if name not in valid:
        near = suggest(name, {*valid, *groups})
        raise ConfigError(f"{name}: no such key at the top level{near}")


def build(node: Any) -> Any:
    """Build what a checked node describes: bound functions, dataclasses, containers, values.

    The only caller of Hydra's instantiate.
    """
    from hydra.utils import instantiate

    if not isinstance(node, Mapping | list | tuple):
        return node
    return _plain(instantiate(_marked(node), _convert_="all"))


def _plain(value: Any) -> Any:
    """Return what Hydra has built with functions that are bound by Python's own `partial`.

    From 1.3.6 on, Hydra binds them by a class that asks anew at every call whether a configuration
    may name the function, for longer than a small layer takes; a schedule is called at every step.
    """
    if isinstance(value, functools.partial):
        return functools.partial(value.func, *_plain(value.args), **_plain(value.keywords))
    if type(value) is dict:
        return {name: _plain(entry) for name, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(entry) for entry in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            # Even if frozen: it was built a moment ago, and nobody else has it.
            object.__setattr__(value, field.name, _plain(getattr(value, field.name)))
    return value


def built(node: Mapping[str, Any]) -> Any:
    """Build the objects of a leaf; equal leaves, as most runs of a sweep have, share them."""
    return _built_once(json.dumps(node))


@functools.lru_cache(maxsize=1024)
def _built_once(text: str) -> Any:
    return build(json.loads(text))


def suggest(name: str, valid: Iterable[str]) -> str:
    """Format the nearest valid names as `; nearest: ...`, or all as `; valid: ...` if none is near.

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
        marked = {name: _marked(value) for name, value in node.items() if name != SOURCE}
        if "_target_" in node and not signature_of(node["_target_"]).is_dataclass:
            marked["_partial_"] = True
        return marked
    if isinstance(node, list | tuple):
        return [_marked(value) for value in node]
    return node


def _check_node(place: str, node: Any) -> None:
    for name, child in _children(node):
        _check_node(f"{place}.{name}", child)
    if isinstance(node, float) and not math.isfinite(node):
        raise ConfigError(f"{place}={node!r} is not a finite number")
    if not (isinstance(node, Mapping) and "_target_" in node):
        return
    if not isinstance(node["_target_"], str):
        raise ConfigError(f"{place}._target_={node['_target_']!r} is not an import path")
    try:
        signature = signature_of(node["_target_"])
    except LookupError as error:
        raise ConfigError(f"{place}._target_: {error.args[0]}") from error
    _check_arguments(place, node, signature)


def _check_values(name: str, node: Mapping[str, Any]) -> None:
    """Let settings that need no torch refuse their values at once; leaves in them do not matter."""
    module, _, function = node["_target_"].rpartition(".")
    if module not in LIGHT_MODULES:
        return
    plain = {k: v for k, v in node.items() if k != "_target_" and not isinstance(v, Mapping | list)}
    leaves = {k: None for k in node if k != "_target_" and k not in plain}
    settings = getattr(importlib.import_module(module), function)
    try:
        settings(**plain, **leaves)
    except ValueError as error:
        prefix = "" if str(error).startswith(name) else f"{name}: "
        raise ConfigError(f"{prefix}{error}") from error


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, list | tuple):
        yield from ((str(i), child) for i, child in enumerate(node))


RATES = ("lr", "learning_rate")


def _check_arguments(place: str, node: Mapping[str, Any], signature: Signature) -> None:
    target = node["_target_"]
    for name, value in node.items():
        if name == "_target_":
            continue
        if name not in signature.arguments and not signature.is_open:
            near = suggest(name, signature.arguments)
            if place == "train.optimizer" and name in RATES:
                near = "; the schedule sets the learning rate: train.schedule.peak"
            raise ConfigError(f"{place}.{name}: {target} has no such argument{near}")
        types = signature.arguments.get(name)
        if value == "???" or (types is not None and not _fits(value, types)):
            wanted = " or ".join(sorted(types or {"a value"}))
            raise ConfigError(f"{place}.{name}={value!r} is not valid; expected {wanted}")
    missing = [name for name in signature.required if name not in node]
    if missing:
        raise ConfigError(f"{place}: {target} needs {', '.join(missing)}")


def _fits(value: Any, types: frozenset[str]) -> bool:
    if isinstance(value, Mapping):
        return (LEAF if "_target_" in value else MAPPING) in types
    kind = "None" if value is None else type(value).__name__
    return kind in types or repr(value) in types or (kind == "int" and "float" in types)
