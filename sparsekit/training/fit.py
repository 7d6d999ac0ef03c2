"""One fit: from a start to trained weights, once, exactly, resumable at any step.

What a fit is, and whether it is there already, is known without Lightning, whose import takes
longer than PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sparsekit.core.fit_spec import FitSpec
from sparsekit.store.identity import Stage, describe, keys_in
from sparsekit.store.store import SCRATCH, Store
from sparsekit.store.tensors import PARTS_FILE
from sparsekit.system.importing import uncollected
from sparsekit.system.team import Team
from sparsekit.training.checkpoint_files import begin_again
from sparsekit.training.observing import ObserverMaker, made_observer
from sparsekit.training.settings import Runtime

FIT_VERSION = 3
AVERAGED_VERSION = 4


def fit(
    spec: FitSpec,
    *,
    store: Store,
    runtime: Runtime,
    observers: Sequence[ObserverMaker] = (),
    team: Team | None = None,
) -> str:
    """Return the key of the fit that `spec` asks for; train it unless it is published.

    `observers` make what watches it, given key, spec and scratch folder; they cannot be part of
    the result. The nodes of a `team` train it together.
    Asked to end, it saves and raises Stopped.
    """
    stage = fit_stage(spec)

    def train(folder: Path) -> None:
        with uncollected():
            from sparsekit.training.trainer import lead
        watching = [made_observer(make, stage.key, spec, folder / SCRATCH) for make in observers]
        lead(spec, folder, store=store, runtime=runtime, watching=watching, team=team)

    def compute(folder: Path) -> None:
        begin_again(partial(train, folder), folder / SCRATCH, store.root)
        if not (folder / PARTS_FILE).exists():
            raise RuntimeError("the trainer stopped before its end; nothing was published")

    return store.ensure(stage, compute)


def fit_stage(spec: FitSpec) -> Stage:
    """Return the identity of the fit that `spec` asks for."""
    described = describe(spec)
    asked = {name: described[name] for name in described if name not in ("_target_", "pruned")}
    inputs = dict.fromkeys((spec.pruned, *keys_in(asked)))
    version = FIT_VERSION if spec.average_from is None else AVERAGED_VERSION
    return Stage("fit", asked, inputs=tuple(inputs), version=version)


def reads_gradients(spec: FitSpec) -> bool:
    """Say whether somebody looks at gradients between backward pass and optimizer step."""
    moves_by_gradients = spec.mover is not None and spec.mover.num_gradients > 0
    changes = spec.view is not None or spec.penalty is not None
    return moves_by_gradients or changes or spec.train.clip_norm is not None
