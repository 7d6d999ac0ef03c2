"""What of a configuration may be stored where others read it: all but keys and passwords.

The shell lines of `cluster.setup` are nobody else's business as a whole: they are where people put
what a job needs to log in somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsekit.system.secrets import MASK, masked, masked_here

CLUSTER, SETUP = "cluster", "setup"


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, or a part of it, as others may see it."""
    shown: dict[str, Any] = _without_variables(masked(config))
    lines = config.get(CLUSTER, {}).get(SETUP)
    if lines:
        shown[CLUSTER] = {**shown[CLUSTER], SETUP: [MASK] * len(lines)}
    return shown


def published_override(text: str) -> str:
    """Return what was typed as others may see it.

    >>> published_override("logger.api_key=2f1c"), published_override("cluster.setup=[a]")
    ('logger.api_key=<masked>', 'cluster.setup=<masked>')
    >>> published_override("cluster.options.export=ALL,A=2f1c")
    'cluster.options.export=<masked>'
    >>> published_override("cluster.options={nice:7,export:'ALL,A=2f1c'}")
    'cluster.options={nice:7,export:<masked>}'
    """
    key, equals, value = text.partition("=")
    name = key.lstrip("+~")
    is_setup = name.startswith(f"{CLUSTER}.{SETUP}") or (name == CLUSTER and SETUP in value)
    if not equals or is_setup:
        return f"{key}={MASK}" if is_setup else masked_here(text)
    shown = masked(value, name)
    return f"{key}={shown}" if shown != value else masked_here(text)


def _without_variables(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _without_variables(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_variables(value) for value in node]
    return masked_here(node) if isinstance(node, str) else node
