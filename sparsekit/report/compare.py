"""Are two stores the same, bit for bit? What a stage says it holds is decided by checksums."""

from __future__ import annotations

from sparsekit.store.store import Store

MEASURED = ("cost.json",)


def differences(first: Store, second: Store) -> list[str]:
    """List how two stores differ, one line each; times and costs do not count.

    Stages have the same key only if their descriptions are equal, so equal keys must hold equal
    bytes.
    """
    found = []
    for kind in sorted({*first.kinds(), *second.kinds()}):
        left, right = set(first.keys(kind)), set(second.keys(kind))
        found += [f"{key} is only in {first.root}" for key in sorted(left - right)]
        found += [f"{key} is only in {second.root}" for key in sorted(right - left)]
        for key in sorted(left & right):
            found += [f"{key}/{name} differs" for name in _differing(first, second, key)]
    return found


def _differing(first: Store, second: Store, key: str) -> list[str]:
    left, right = (store.description(key)["files"] for store in (first, second))
    names = sorted((set(left) | set(right)) - set(MEASURED))
    return [name for name in names if left.get(name) != right.get(name)]
