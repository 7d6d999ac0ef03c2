"""Results as plain rows: one mapping per run and cycle, to compute with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Result, collect, kind_of_result
from sparsekit.report.commands import command_of
from sparsekit.report.labels import labels_of
from sparsekit.report.reading import metric_of
from sparsekit.report.storage import bytes_of
from sparsekit.store.references import default_store

NOT_FLAT = ("layers",)


def results(
    paths: str | Path | Iterable[str | Path] | None = None,
) -> list[dict[str, Any]]:
    """Return the results of a store as plain rows; `pandas.DataFrame(rows)` makes a table of them.

    `paths`: one or several stores, folders in their named/, or records; left out, the store that
    runs use: $SPARSEKIT_STORE, else `runs`. A row may be given to `sparsekit.load` and
    `sparsekit.masks`. For what rows hold, and errors, see `plain_rows`.
    """
    if paths is None:
        paths = default_store()
    several = [paths] if isinstance(paths, str | Path) else paths
    return plain_rows(Path(path).expanduser() for path in several)


def plain_rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return one row for each result, seeds and cycles apart; nothing is averaged.

    `paths` are stores, folders in their named/, or records. Beside where a result comes from, what
    tables call it (`label`), the `command` that makes it again and the name of its primary
    `metric`, a row has every metric of the result under its own name:
    `test_accuracy`, `sparsity_prunable`, `flops`; mappings are flattened to `name.key`, lists of
    texts joined. `storage.FORMAT` are the bytes of the network. What each layer keeps is left out.
    Keys that a result lacks are absent from its row. What is damaged is left out with a warning
    that names it; Damaged where nothing else is left, or for a record that was named itself.
    FileNotFoundError where a path holds no record.
    """
    found = collect(paths)
    labels = labels_of(found)
    return [plain_row(result, labels[kind_of_result(result)]) for result in found]


def plain_row(result: Result, label: str) -> dict[str, Any]:
    """Return all that is known of a result beside what each layer keeps, under this label."""
    metrics = {k: v for k, v in result.metrics.items() if k not in (*NOT_FLAT, "primary")}
    about = {
        "experiment": result.experiment,
        "method": result.method,
        "label": label,
        "overrides": result.asked,
        "variant": result.variant,
        "seed": result.seed,
        "cycle": result.cycle,
        "sparsity": result.sparsity,
        "ticket": result.ticket,
        "store": result.store,
        "status": result.status,
        "command": command_of(result.record),
        "metric": metric_of(result.metrics).name,
        "seconds": result.seconds,
    }
    sized = metrics | {"storage": bytes_of(result.metrics)}
    return about | {name: value for name, value in _flat(sized) if name not in about}


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", "; ".join(map(str, value))
        else:
            yield f"{prefix}{name}", value
