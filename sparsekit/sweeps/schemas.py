"""What the JSON files of a sweep must hold, for whoever reads them; see `system/schema.py`.

Older releases wrote less, and under other names: what is optional here, readers do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsekit.store.schemas import file_name, metric, path_below, target, time
from sparsekit.system.schema import (
    Check,
    listing,
    mapping,
    mapping_of,
    number,
    optional,
    text,
    whole,
)

MEMBER = r"\d{4,}(\.[\w-]+)?"
FILE = MEMBER + r"\.json"
member = text(r"[\w-]+(\.[\w-]+)?", "a member, such as 0007")
job = text(r"[0-9]{1,18}([_+][0-9]{1,18})?", "the number of a job")
user = text(r"[^-\0-\x1f][^\0-\x1f]*", "the name of a user")
count = whole(most=10**9)
snapshot = text(r"/([^\0]*/)?(?!\.{1,2}$)[^/\0]+", "the folder of a snapshot")

run = mapping(
    {
        "number": whole(),
        "name": path_below,
        "experiment": path_below,
        "differs": mapping_of(text()),
        "choices": mapping({"method": path_below}),
        "overrides": listing(text()),
        "config": mapping(
            {
                "method": mapping({}),
                "runtime": mapping({}, {"stale_seconds": number(0), "store": text()}),
            }
        ),
    }
)
_frozen = mapping(
    {
        "created": time,
        "command": text(),
        "user": user,
        "cluster": target,
        "runs": listing(run, least=1),
    },
    {"code": mapping({}, {"snapshot": optional(snapshot)})},
)
private = mapping(
    {"runs": mapping_of(mapping({}), names=text(r"\d+", "the number of a run"))},
    {"cluster": target, "salt": text()},
)
"""What is masked in that, `private.json`."""


def frozen(value: Any, place: str) -> None:
    """Accept what a sweep was asked for, `sweep.json`: its runs are numbered in order."""
    _frozen(value, place)
    for index, one in enumerate(value["runs"]):
        if one["number"] != index:
            raise ValueError(f"runs[{index}].number: expected {index}, got {one['number']}")


status = mapping(
    {},
    {
        "state": text(),
        "reason": text(),
        "error": optional(text()),
        "job": optional(job),
        "node": optional(text()),
        "pid": optional(whole(1)),
        "log": optional(text(r"[^\0]+")),
        "begun": time,
        "seconds": number(0, 1e12),
        "waits_for": optional(file_name),
        **dict.fromkeys(("attempts", "lives", "idle_attempts", "idle_lives"), count),
    },
)
progress = mapping(
    {"key": file_name, "step": whole()},
    {
        "cycle": whole(-1),
        "particle": whole(-1),
        "last_step": whole(),
        "primary": metric,
        "validation": optional(number()),
        "val_accuracy": optional(number()),
    },
)
submission = mapping(
    {
        "id": text(r"[\w-]+", "an id"),
        "kind": text(),
        "members": listing(member, least=1),
        "job": optional(job),
        "time": time,
    },
    {
        "order": count,
        "user": user,
        "uid": whole(),
        "store": optional(text()),
        "folder": text(),
    },
)
PARTS: Mapping[str, tuple[str, Check]] = {
    "members": (FILE, status),
    "progress": (FILE, progress),
    "submissions": (r"[^.].*\.json", submission),
    "reset": (FILE, time),
}
"""Folders of a sweep: what the names of their files look like, and what those hold."""
