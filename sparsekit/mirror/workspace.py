"""The project's dashboard as code: a workspace of wandb, made of what the mirror tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsekit.mirror.names import metric_name
from sparsekit.tasks.metric import Metric

GROUPS = ("sweep", "method", "sparsity")
COSTS = ("seconds", "flops", "training_flops", "num_parameters_kept")


class NoWorkspaces(ValueError):
    """The package that writes workspaces is not installed."""

    def __init__(self) -> None:
        super().__init__("dashboards need wandb-workspaces: pip install 'sparsekit[dashboard]'")


def workspace(metrics: Sequence[Metric], *, entity: str, project: str, name: str) -> Any:
    """Return the workspace for runs of these primary metrics; nobody is asked or told anything.

    Runs are grouped by sweep, method and sparsity, and sorted by the first metric on the test
    split, the best first.
    """
    ws, wr = _packages()
    first = _test(metrics[0])
    about = [ws.Config(f"about.{part}") for part in GROUPS]
    best = ws.Ordering(ws.Summary(first), ascending=metrics[0].direction == "min")
    shown = [f"summary:{_test(metric)}" for metric in metrics]
    columns = [*shown, "summary:sparsity", "summary:seconds", "summary:state"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=is_open)
            for title, panels, is_open in _sections(wr, metrics)
        ],
        runset_settings=ws.RunsetSettings(
            groupby=about, order=[best], pinned_columns=["run:displayName", *columns]
        ),
    )


def definition(made: Any) -> dict[str, Any]:
    """Return a workspace as the plain data that wandb stores of it."""
    content: dict[str, Any] = made._to_model().model_dump(mode="json", by_alias=True)
    return content


def _packages() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise NoWorkspaces from error
    return workspaces, reports


def _sections(wr: Any, metrics: Sequence[Metric]) -> list[tuple[str, list[Any], bool]]:
    first = metric_name(f"val_{metrics[0].name}")
    itop = [_line(wr, "cycle", f"cycle/{name}") for name in ("itop", "itop_sparse")]
    return [
        ("Results", [panel for one in metrics for panel in _results(wr, _test(one))], True),
        ("Learning curves", [panel for one in metrics for panel in _curves(wr, one)], True),
        (
            "Layers",
            [_family(wr, "cycle", f"layers/{what}/.*", what) for what in _OF_LAYERS],
            False,
        ),
        ("Topology", [*itop, _line(wr, "Step", "fit/itop"), _moving(wr)], False),
        ("Barriers", [_family(wr, "cycle", "studies/barriers/.*barrier", "barriers")], False),
        ("Particles", [_family(wr, "particle", f"particles/c.*/{first}", "particles")], False),
        ("Costs", [wr.BarPlot(title=name, metrics=[name]) for name in COSTS], False),
        ("Media", [wr.MediaBrowser(media_keys=[key]) for key in _media(metrics)], False),
    ]


_OF_LAYERS = ("density", "active_neurons", "fan_in_min", "fan_in_max")


def _media(metrics: Sequence[Metric]) -> list[str]:
    figures = [f"figure/{metric.name.replace('/', '_')}" for metric in metrics]
    return [*figures, "masks", "layer_table"]


def _test(metric: Metric) -> str:
    return metric_name(f"test_{metric.name}")


def _results(wr: Any, test: str) -> list[Any]:
    return [
        wr.ScatterPlot(title=f"{test} against sparsity", x="sparsity", y=test),
        _line(wr, "cycle/sparsity", f"cycle/{test}"),
        wr.BarPlot(title=test, metrics=[test]),
    ]


def _curves(wr: Any, metric: Metric) -> list[Any]:
    name = metric_name(f"val_{metric.name}")
    return [
        _family(wr, "epoch", f"fits/.*/{name}", f"{name} of each fit"),
        _family(wr, "epoch", "fits/.*/train_loss", "train_loss of each fit"),
        _line(wr, "Step", f"fit/{name}"),
    ]


def _moving(wr: Any) -> Any:
    return _family(wr, "Step", "fit/(active_neurons|fan_in)/.*", "masks that move")


def _line(wr: Any, axis: str, metric: str) -> Any:
    return wr.LinePlot(title=metric, x=axis, y=[metric])


def _family(wr: Any, axis: str, pattern: str, title: str) -> Any:
    return wr.LinePlot(title=title, x=axis, metric_regex=pattern)
