"""Keys and passwords in places where they can be neither stored nor masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sparsekit.configuration.config import ConfigError
from sparsekit.system.secrets import MASKED, hidden_in, masked, secret_variables


def refuse_secrets(config: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise ConfigError for a key that would be stored with every result, or be missing there.

    Keys that are recognised are masked in what is stored. A network is built again from that
    alone. And a key that is not recognised, but is one of this environment, would be in it.
    """
    for place, text in _texts("", config):
        if MASKED.search(text):
            raise ConfigError(f"{place}={text!r} stands for what was not stored; give the value")
    known = {value: f"${name}" for name, value in secret_variables().items()}
    known |= {value: "another setting, which is masked," for value in hidden_in(config)}
    for place, text in _texts("", masked(identity)):
        for value, what in known.items():
            if value in text:
                raise ConfigError(
                    f"{place}: the value of {what} would be stored with every result; let the "
                    "function that needs it read it from the environment"
                )
    method = identity["method"]
    transform = method.get("transform") if isinstance(method, Mapping) else None
    for place, node in (("model", identity["model"]), ("method.transform", transform)):
        if masked(node) != node:
            raise ConfigError(
                f"{place}: a key or password in it cannot be stored, and without it no stored "
                "network could be built again; let the function read it from the environment"
            )


def _texts(place: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(f"{place}.{name}".lstrip("."), value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(place, value)
    elif isinstance(node, str):
        yield place, node
