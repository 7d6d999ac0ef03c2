"""What was typed and would be ignored: an error, because another command gives the same results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.overrides import key_of, text_of

WITHOUT_RESOURCES = {
    "sparsekit.sweeps.clusters.Inline": "in this process",
    "sparsekit.sweeps.clusters.Local": "in processes on this machine",
}


def refuse_unused_sparsity(
    overrides: Sequence[str], written: Mapping[Any, Any], choices: Mapping[str, str]
) -> None:
    """Raise ConfigError for a typed `sparsity=` that nothing in the configuration refers to.

    `written` is the configuration before `${sparsity}` is replaced. A sweep over a sparsity that
    the method does not have would train the same network again under other names.
    """
    typed = [text_of(text) for text in overrides if key_of(text) == "sparsity"]
    method = written["method"]
    if not typed or any("${sparsity}" in text for text in _texts(written)):
        return
    if not method.get("cycles"):
        return  # the dense network of a sweep over methods
    remedy = "leave it out, or give each method a grid of its own (docs/sweeps.md)"
    if method.get("remove") is not None:
        remedy = (
            f"this method removes method.remove={method['remove']} of the survivors in each of "
            f"method.cycles={method.get('cycles', 0)} cycles; for a sparsity at their end give "
            f"method.remove=null method.sparsity={typed[-1]}"
        )
    raise ConfigError(
        f"sparsity={typed[-1]} would be ignored: method={choices['method']} does not refer to it; "
        f"{remedy}"
    )


def refuse_unused_retraining(overrides: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a typed schedule or length of cycles that do not train.

    What a method's own file says of them stands: it is for the lengths that do.
    """
    method = config["method"]
    if method.get("retrain_epochs") != 0:
        return
    unused = [
        name
        for name, neutral in (("retrain", None), ("retrain_times", 1))
        if method.get(name, neutral) != neutral
    ]
    for text in overrides:
        parts = key_of(text).split(".")
        if parts[0] == "method" and parts[1:2] and parts[1] in unused:
            raise ConfigError(
                f"{text} would be ignored: with method.retrain_epochs=0 the cycles do not train; "
                "leave one of them out"
            )


def refuse_unused_resources(typed: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raise ConfigError for `resources` on the command line where runs do not become jobs.

    Those of an experiment or a sweep file are kept for when it runs on a cluster.
    """
    where = WITHOUT_RESOURCES.get(config["cluster"]["_target_"])
    asked = [text for text in typed if key_of(text).partition(".")[0] == "resources"]
    if where is not None and asked:
        raise ConfigError(
            f"{asked[0]} would be ignored: runs are computed {where}, with what it has; resources "
            "are those of a job, for cluster=slurm (runtime.accelerator and runtime.devices say "
            "which devices a run uses)"
        )


def _texts(node: Any) -> Iterable[str]:
    """Yield every text in a nested configuration."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value)
