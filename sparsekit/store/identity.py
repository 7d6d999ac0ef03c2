"""What a result is: a stage, described by plain data, addressed by its hash."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sparsekit.store.source import SOURCE, source_digest
from sparsekit.system.secrets import masked

KEY = re.compile(r"[a-z_]+-[0-9a-f]{20}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """Identity of a result: two equal stages are the same result, wherever it is computed.

    `config` is plain data, or bound functions and dataclasses that `describe` turns into it;
    `inputs` are the keys of the stages it reads; `version` is raised by the commit that changes
    the numbers this kind of stage produces.
    """

    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...] = ()
    version: int = 1

    def description(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "config": masked(describe(self.config)),
            "inputs": list(self.inputs),
            "version": self.version,
        }

    @functools.cached_property
    def key(self) -> str:
        """Address of the result, e.g. `fit-3f0c...`: kind and 80 bits of its hash."""
        return stage_key(self.description())


def stage_key(description: Mapping[str, Any], *, with_none: bool = False) -> str:
    """Return the key that belongs to a stage's description; `with_none` as for `canonical`.

    >>> stage_key({"kind": "fit", "config": {"epochs": 1}, "inputs": [], "version": 1})
    'fit-3f698378a9d24ea734c4'
    """
    text = canonical(description, with_none=with_none)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{description['kind']}-{digest[:20]}"


def keys_in(value: Any) -> Iterator[str]:
    """Yield the keys of stages that a described value names, in order, each once.

    A stored network that a setting names, such as the ticket whose ratios are copied, is an input.

    >>> list(keys_in({"prune": {"ticket": "ticket-3f698378a9d24ea734c4", "seed": 0}}))
    ['ticket-3f698378a9d24ea734c4']
    """
    yield from dict.fromkeys(text for text in _texts(value) if KEY.fullmatch(text))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def canonical(value: object, *, with_none: bool = False) -> str:
    """Write a value in its only spelling: sorted names, no spaces, 1 the same as 1.0.

    A None is left out of mappings, so that an optional setting that nobody uses changes no address,
    whether it exists yet or not. `with_none` keeps it: earlier stores were written like that.

    >>> canonical({"b": 1.0, "a": [True, None, 0.5], "c": None})
    '{"a":[true,null,0.5],"b":1}'
    """
    plain = _plain_numbers(value, with_none)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def _plain_numbers(value: Any, with_none: bool) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be part of a result's identity; use a finite number")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        kept = {n: entry for n, entry in value.items() if with_none or entry is not None}
        return {str(name): _plain_numbers(entry, with_none) for name, entry in kept.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(entry, with_none) for entry in value]
    return value


def describe(value: Any) -> Any:
    """Return plain data that describe `value` fully: numbers, containers, functions, dataclasses.

    A bound function is `{"_target_": its import path, every argument, defaults included}`. A
    default is part of the identity, so changing one can never return a result of the old one. So
    is the code of a user's own functions, as a digest: `_source_`.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): describe(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [describe(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {**_target(type(value)), **fields}
    if isinstance(value, functools.partial):
        return {**_target(value.func), **_arguments(value)}
    if callable(value):
        return {**_target(value), **_arguments(functools.partial(value))}
    raise TypeError(f"{value!r} cannot be described; use numbers, text, lists, dicts or functions")


def _target(function: Callable[..., Any]) -> dict[str, str]:
    source = source_digest(function)
    return {"_target_": import_path(function)} | ({SOURCE: source} if source else {})


def import_path(target: Callable[..., Any]) -> str:
    """Return `package.module.name` of a function or class that can be imported again."""
    name = getattr(target, "__qualname__", "")
    if not name or "<" in name or target.__module__ == "__main__":
        raise TypeError(f"{target!r} has no import path; define it at the top of a module")
    if inspect.ismethod(target):
        raise TypeError(f"{target!r} belongs to an object; use a function or a dataclass")
    return f"{target.__module__}.{name}"


def _arguments(bound: functools.partial[Any]) -> dict[str, Any]:
    if bound.args:
        raise TypeError(f"{bound!r} binds positional arguments; bind them by name")
    parameters = inspect.signature(bound.func).parameters.values()
    defaults = {
        p.name: p.default
        for p in parameters
        if p.default is not p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    return {name: describe(entry) for name, entry in {**defaults, **bound.keywords}.items()}
