"""What of a configuration may be stored where others read it: all but keys and passwords.

The shell lines of `cluster.setup` are nobody else's business as a whole: they are where people put
what a job needs to log in somewhere. Nor is what a logger takes from the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sparsekit.system.secrets import LEAST_CHARACTERS, MASK, hidden_in, masked, masked_here

CLUSTER, SETUP, LOGGER = "cluster", "setup", "logger"
LEAST_TYPED = 4
WORD = re.compile(r"[^\s,'\"\[\]{}]+")


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, or a part of it, as others may see it."""
    lines = config.get(CLUSTER, {}).get(SETUP) or []
    # Another setting may be made of one that is hidden, as by ${logger.api_key}.
    hidden = {*hidden_in(config), *(line for line in lines if isinstance(line, str))} - {""}
    shown: dict[str, Any] = _without(masked(config), hidden)
    if lines:
        shown[CLUSTER] = {**shown[CLUSTER], SETUP: [MASK] * len(lines)}
    if isinstance(shown.get(LOGGER), Mapping):
        shown[LOGGER] = {
            name: value if name == "_target_" else _without(value, _of_environment())
            for name, value in shown[LOGGER].items()
        }
    return shown


def published_message(text: str, overrides: Sequence[str]) -> str:
    """Return a message, which may repeat what was typed, as others may see it."""
    for override in overrides:
        shown = published_override(override)
        typed = override.partition("=")[2]
        if shown != override:
            text = text.replace(override, shown)
            for value in (typed, typed.strip("'\"[]{}")):
                text = text.replace(value, MASK) if len(value) >= LEAST_TYPED else text
    return masked_here(text, is_prose=True)


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
    if value[:1] == "[":
        shown = WORD.sub(lambda found: str(masked(found[0], name)), shown)
    return f"{key}={shown}" if shown != value else masked_here(text)


def _of_environment() -> set[str]:
    values = os.environ.values()
    return {value for value in values if len(value) >= LEAST_CHARACTERS and value[0] not in "/."}


def _without(node: Any, hidden: Collection[str]) -> Any:
    """Return plain data without these texts, and without the keys of this environment."""
    if isinstance(node, Mapping):
        return {name: _without(value, hidden) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without(value, hidden) for value in node]
    if not isinstance(node, str):
        return node
    for value in hidden:
        node = node.replace(value, MASK)
    return masked_here(node)
