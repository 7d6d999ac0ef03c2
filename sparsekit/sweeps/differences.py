"""How the runs of a sweep differ in what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def differing(runs: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    """Return, per run, the overrides that are not the same for all.

    >>> differing([["method=imp", "seed=0"], ["method=imp", "seed=1"]])
    [{'seed': '0'}, {'seed': '1'}]
    """
    pairs = [{_bare(text): text.partition("=")[2] for text in texts} for texts in runs]
    keys = list(dict.fromkeys(key for one in pairs for key in one))
    several = [key for key in keys if len({one.get(key) for one in pairs}) > 1]
    return [{key: one[key] for key in several if key in one} for one in pairs]


def _bare(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
