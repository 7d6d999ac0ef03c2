"""What the JSON files of a store must hold, for whoever reads them; see `system/schema.py`.

A checksum says that a file is what was published, and not who published it. So what is read is
checked for its form as well: names that stay in their folder, keys that are keys, finite numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsekit.system.schema import (
    Check,
    anything,
    listing,
    mapping,
    mapping_of,
    number,
    one_of,
    optional,
    text,
    truth,
    whole,
)

LATEST = 253_402_300_799
"""The last second of the year 9999."""

time = number(0, LATEST)
key = text(r"[a-z_]+-[0-9a-f]{20}", "a key, KIND-HASH")
digest = text(r"[0-9a-f]{64}", "a SHA-256")
file_name = text(r"(?!\.{1,2}$)[^/\0]+", "the name of a file in the same folder")
path_below = text(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[^\0]+", "a name that stays below its folder")
target = mapping({"_target_": text()})

origin = mapping(
    {"created": time, "command": text()},
    {"user": text(), "folder": text(), "code": mapping({}, {"commit": optional(text())})},
)
"""How a run was asked for."""

_better = mapping({"says": text(), "better": text(), "than": text()}, {"sparsity": number(0, 1)})
_as_good = mapping(
    {"says": text(), "as_good": text(), "as": text(), "within": number(0)},
    {"sparsity": number(0, 1)},
)


def claim(value: Any, place: str) -> None:
    """Accept what an experiment claims of two methods: that one is better, or as good."""
    is_better = isinstance(value, Mapping) and "better" in value
    (_better if is_better else _as_good)(value, place)


row = mapping(
    {"cycle": whole(), "sparsity": number(0, 1), "ticket": key, "is_result": truth},
    {"studies": mapping_of(key), "skipped_studies": mapping_of(text())},
)
record = mapping(
    {
        "rows": listing(row),
        "status": text(),
        "variant": text(),
        "experiment": path_below,
        "choices": mapping({"method": path_below}),
        "overrides": listing(text()),
        "seed": whole(),
    },
    {
        "config": mapping({}, {"sparsity": optional(number(0, 1))}),
        "labels": mapping_of(text()),
        "claims": optional(mapping({"time": time, "list": listing(claim)})),
        "origins": listing(origin),
        "error": optional(text()),
        "stages": listing(key),
    },
)
"""What a run wrote about itself: `named/EXPERIMENT/RUN.json`."""

description = mapping(
    {
        "kind": text(),
        "config": mapping({}),
        "inputs": listing(file_name),
        "version": whole(),
        "files": mapping_of(digest, names=file_name),
        "provenance": mapping(
            {"session": text(), "started": time, "finished": time},
            {"versions": mapping_of(text()), "machine": mapping_of(text())},
        ),
        "checksum": digest,
    }
)
part = mapping({}, {"stage": key, "names": listing(text())})
metric = mapping(
    {"name": text(), "direction": one_of("max", "min"), "style": one_of("percent", "number")}
)
layer = mapping(
    {"size": number(), "kept": number()},
    {"neurons": number(), "active_neurons": number(), "fan_in": listing(number())},
)
ticket_metrics = mapping(
    {"layers": mapping_of(layer), "sparsity_prunable": number()},
    {
        "primary": metric,
        "collapsed": listing(text()),
        "warnings": listing(text()),
    },
)
_tensor = mapping(
    {
        "shape": listing(whole(0, 2**40)),
        "dtype": text(r"(u?int|float|bfloat|complex)\d+\w*|bool", "a dtype"),
    }
)
_sizes = mapping({"num_prunable": whole(), "num_parameters": whole()})
_transform = mapping({"_target_": text(), "arguments": mapping({}), "notes": mapping({})})


def _inputs(value: Any, place: str) -> None:
    """Accept the shapes and types of an example: of one tensor, of a list, or by name."""
    if isinstance(value, list):
        listing(_tensor)(value, place)
    elif isinstance(value, Mapping) and isinstance(value.get("shape"), list):
        _tensor(value, place)
    else:
        mapping_of(_tensor)(value, place)


network = mapping(
    {"model": target, "inputs": _inputs, "num_outputs": whole(), "seed": whole(most=2**64 - 1)},
    {"transforms": listing(_transform), "original": optional(_sizes)},
)

COSTS = ("teacher_flops", "training_flops", "training_flops_dense", "training_flops_full")

FILES: Mapping[str, Check] = {
    "parts.json": mapping({"state": part, "masks": part}),
    "metrics.json": mapping({}, {"primary": metric}),
    "cost.json": mapping({"seconds": number(0)}, dict.fromkeys(COSTS, number(0))),
    "history.json": listing(mapping({})),
    "topology.json": mapping({}),
    "updates.json": mapping(
        {
            **dict.fromkeys(("steps", "kept", "dropped", "grown"), listing(whole())),
            "neurons": mapping_of(mapping(dict.fromkeys(("dead", "ablated", "revived"), whole()))),
        }
    ),
    "study.json": mapping({}),
    "network.json": mapping({}),
}
"""By name, the files of stages; others are checked by whoever reads them."""


def schema_of(name: str) -> Check:
    """Return what a file of a stage must be, by its name."""
    return FILES.get(name, anything)
