"""Stores with records whose numbers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from sparsekit.report import __main__ as report
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.system.files import write_json
from sparsekit.tasks.metric import Metric

Row = tuple[float, str]


class Writer:
    """A store with records whose numbers are known."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def ticket(
        self,
        name: str,
        accuracy: float,
        sparsity: float,
        *,
        seconds: float = 2.0,
        more: Mapping[str, Any] | None = None,
        taught: Mapping[str, float] | None = None,
        masks: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, float]] | None = None,
    ) -> str:
        """Without `more` metrics, it is a ticket of an older store. `masks` are boolean arrays,
        `history` is what its one fit wrote down."""
        fit = Stage("fit", {"name": name})
        ticket = Stage("ticket", {"name": name}, (fit.key,))
        metrics = {
            "test_accuracy": accuracy,
            "val_accuracy": accuracy - 0.01,
            "test_loss": 1 - accuracy,
            "sparsity_prunable": sparsity,
            "sparsity_all": sparsity / 2,
            "num_parameters_kept": round(1000 * (1 - sparsity)),
            "flops": round(50_000 * (1 - sparsity)),
            "layers": {"fc.weight": {"size": 1000, "kept": round(2000 * accuracy) - 1000}},
            **(more or {}),
        }
        cost = {"seconds": seconds, **(taught or {})}

        def write_fit(folder: Path) -> None:
            write_json(folder / "cost.json", cost)
            if history is not None:
                write_json(folder / "history.json", list(history))
            if masks is not None:
                save_file(dict(masks), folder / "masks.safetensors")
                write_json(folder / "parts.json", {"state": {}, "masks": {"names": list(masks)}})

        def write_ticket(folder: Path) -> None:
            write_json(folder / "metrics.json", metrics)
            if masks is not None:
                write_json(folder / "parts.json", {"state": {}, "masks": {"stage": fit.key}})

        self.store.ensure(fit, write_fit)
        self.store.ensure(ticket, write_ticket)
        return ticket.key

    def measured(
        self, name: str, metric: Metric, value: float, sparsity: float, **more: Any
    ) -> str:
        """A ticket of a task with this primary metric; `more` are further metrics."""
        primary = {"name": metric.name, "direction": metric.direction, "style": metric.style}
        metrics = {
            "primary": primary,
            f"val_{metric.name}": value + 0.5,
            f"test_{metric.name}": value,
            **more,
        }
        key = self.ticket(f"{name}-of-accuracy", 0.5, sparsity, more=metrics)
        known = self.store.read(key, "metrics.json")
        old = {"test_accuracy", "val_accuracy"} - {f"test_{metric.name}", f"val_{metric.name}"}
        content = {name: entry for name, entry in known.items() if name not in old}
        ticket = Stage("ticket", {"name": name}, tuple(self.store.description(key)["inputs"]))
        self.store.ensure(ticket, lambda folder: write_json(folder / "metrics.json", content))
        return ticket.key

    def study(self, name: str, content: Mapping[str, Any]) -> str:
        stage = Stage("study", {"name": name})
        self.store.ensure(stage, lambda folder: write_json(folder / "study.json", content))
        return stage.key

    def record(
        self,
        method: str,
        seed: int,
        rows: Sequence[Row],
        *,
        experiment: str = "test",
        variant: str = "v",
        overrides: Sequence[str] = (),
        status: str = "done",
        anchor: str | None = None,
        studies: Mapping[str, str] | None = None,
        skipped: Mapping[str, str] | None = None,
        target: float | None = None,
        config: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        """Rows are (sparsity, ticket); an anchor is a first row that is no result. `studies` and
        `skipped` ones are those of the last row; `target` is the sparsity asked for; `more` are
        further entries."""
        cycles: list[Mapping[str, Any]] = [
            {"cycle": i, "sparsity": sparsity, "ticket": ticket, "is_result": True}
            for i, (sparsity, ticket) in enumerate(rows)
        ]
        if studies:
            cycles[-1] = {**cycles[-1], "studies": dict(studies)}
        if skipped:
            cycles[-1] = {**cycles[-1], "skipped_studies": dict(skipped)}
        if anchor:
            extra = {"cycle": 0, "sparsity": 0.0, "ticket": anchor, "is_result": False}
            cycles = [extra, *cycles]
        content = {
            "experiment": experiment,
            "choices": {"method": method},
            "overrides": list(overrides),
            "seed": seed,
            "variant": variant,
            "config": {**({} if target is None else {"sparsity": target}), **(config or {})},
            "status": status,
            "rows": cycles,
            "error": None,
            **more,
        }
        to = "" if target is None else f"-{target}"
        return self.store.name(experiment, f"{method}-seed{seed}-{variant}{to}", content)


def three_seeds(writer: Writer) -> None:
    for seed, accuracy in enumerate((0.90, 0.92, 0.97)):
        dense = writer.ticket(f"dense{seed}", accuracy, 0.0)
        pruned = writer.ticket(f"imp{seed}", accuracy - 0.1, 0.8, seconds=seed + 1)
        writer.record("imp", seed, [(0.0, dense), (0.8, pruned)])


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert report.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out
