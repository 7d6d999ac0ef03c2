"""One fit: from a start to trained weights, once, exactly, resumable at any step."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sparsekit.configuration import config
from sparsekit.core.prune import apply
from sparsekit.core.types import Mover
from sparsekit.data.types import Data
from sparsekit.store.identity import Stage
from sparsekit.store.store import SCRATCH, Store, write_json
from sparsekit.store.tensors import PARTS_FILE, TOPOLOGY, load_network, save_network
from sparsekit.system.team import Call, Team
from sparsekit.training.averaging import TrajectoryAverage
from sparsekit.training.checkpoints import Checkpoints, read_checkpoint
from sparsekit.training.fit_schedule import FitSchedule, plan_fit
from sparsekit.training.history import History
from sparsekit.training.masking import Masking
from sparsekit.training.module import FitModule
from sparsekit.training.problem import load_data, loaded_model
from sparsekit.training.progress import Progress
from sparsekit.training.settings import Runtime, Train
from sparsekit.training.several_nodes import Nodes, as_leader, as_worker
from sparsekit.training.stopping import train_

FIT_VERSION = 2
NOISE = (
    ".*does not have many workers.*",
    ".*`isinstance.treespec, LeafSpec.` is.*",
    ".*`srun` command is available.*",
)
Settings = Mapping[str, Any]
Observer = Callable[[str, Settings, Path], Callback]


def fit(
    settings: Settings,
    *,
    store: Store,
    runtime: Runtime,
    observers: Sequence[Observer] = (),
    team: Team | None = None,
) -> str:
    """Key of the fit that `settings` describe; trains it unless somebody has.

    `settings` is plain data: task, train, seed, what the cycle asks, and `start`, the key of the
    weights and masks to start from. `observers` make callbacks that watch, given key, settings
    and scratch folder; they cannot be part of the result. The nodes of a `team` train it together.
    Asked to end, it saves and raises Stopped.
    """
    stage = fit_stage(settings)

    def compute(folder: Path) -> None:
        watching = [watch(stage.key, settings, folder / SCRATCH) for watch in observers]
        with as_leader(team, settings, folder) as nodes:
            _train(settings, folder, store=store, runtime=runtime, watching=watching, nodes=nodes)
        if not (folder / PARTS_FILE).exists():
            raise RuntimeError("the trainer stopped before its end; nothing was published")

    return store.ensure(stage, compute)


def take_part(call: Call, *, team: Team, store: Store, runtime: Runtime) -> None:
    """Train on this node's devices in a fit that another node of the team leads and publishes."""
    work = call.work
    with as_worker(team, call, store) as nodes:
        folder = Path(work["folder"])
        _train(work["settings"], folder, store=store, runtime=runtime, watching=(), nodes=nodes)


def fit_stage(settings: Settings) -> Stage:
    """Identity of the fit that `settings` describe."""
    asked = {name: value for name, value in settings.items() if name != "start"}
    return Stage("fit", asked, inputs=(settings["start"],), version=FIT_VERSION)


def _train(
    settings: Settings,
    folder: Path,
    *,
    store: Store,
    runtime: Runtime,
    watching: Sequence[Callback],
    nodes: Nodes,
) -> None:
    train: Train = config.build(settings["train"])
    data = load_data(settings["task"], runtime.data_root)
    cut = store.read(settings["start"], "metrics.json")["cuts"][0]
    fit_schedule = plan_fit(settings, data, cut)
    saved = read_checkpoint(folder / SCRATCH)
    module = _module(settings, data, fit_schedule, saved, store=store, runtime=runtime)
    _, masks = load_network(store, settings["start"])
    masking = Masking(
        masks,
        mover=config.build(settings["mover"]),
        mask_gradients=train.clip_norm is not None,
        prefix="model.",
        first_step=module.step,
        num_steps=fit_schedule.last,
    )
    history = History(masking)
    average = TrajectoryAverage(_first_averaged(settings["average_from"], fit_schedule))
    checkpoints = Checkpoints(
        folder / SCRATCH,
        saved,
        masking=masking,
        history=history,
        average=average,
        every_seconds=runtime.checkpoint_seconds,
    )
    results = Results(folder, masking, history, average)
    told = [Progress(history, runtime), *watching]
    callbacks = [masking, history, average, checkpoints, *told, results]
    trainer = _trainer(runtime, train, callbacks, num_epochs=fit_schedule.num_epochs, nodes=nodes)
    _continue_at_(trainer, fit_schedule.epoch(module.step))
    train_(trainer, module)


def _first_averaged(fraction: float | None, fit_schedule: FitSchedule) -> float:
    """Step after which weights are averaged; infinity where they are not."""
    return math.inf if fraction is None else fraction * fit_schedule.last


class Results(Callback):
    """Writes what a finished fit leaves behind, on rank 0."""

    def __init__(
        self, folder: Path, masking: Masking, history: History, average: TrajectoryAverage
    ) -> None:
        self.folder = folder
        self.masking = masking
        self.history = history
        self.average = average
        self.started = time.time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        if not trainer.is_global_zero:
            return
        if self.average.count:
            self.average.install_(pl_module)
        masks = {name: mask.cpu() for name, mask in self.masking.masks.items()}
        state = {name: t.detach().cpu() for name, t in pl_module.model.state_dict().items()}
        check_pruned(state, masks)
        save_network(self.folder, state=apply(state, masks), masks=masks)
        write_json(self.folder / "history.json", self.history.rows)
        snapshots = {"num_snapshots": max(1, self.average.count)}
        write_json(self.folder / TOPOLOGY, {**self.masking.mask_history.summary(), **snapshots})
        cost = {"seconds": time.time() - self.started, "devices": trainer.world_size}
        write_json(self.folder / "cost.json", cost)


def check_pruned(state: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> None:
    """Raise RuntimeError unless every pruned weight is exactly zero."""
    for name, mask in masks.items():
        revived = int((state[name][~mask] != 0).sum())
        if revived:
            raise RuntimeError(f"{revived} pruned weights of {name} are not zero after training")


def _module(
    settings: Settings,
    data: Data,
    fit_schedule: FitSchedule,
    saved: Mapping[str, Any] | None,
    *,
    store: Store,
    runtime: Runtime,
) -> FitModule:
    if saved is None:
        state, _ = load_network(store, settings["start"])
        step = fit_schedule.first
    else:
        state, step = saved["model"], saved["step"]
    model = loaded_model(settings["task"], data, state)
    train: Train = config.build(settings["train"])
    if train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    mover: Mover | None = config.build(settings["mover"])
    reads_gradients = mover is not None and mover.num_gradients > 0
    return FitModule(
        model,
        data,
        fit_schedule,
        train,
        step=step,
        compiled=runtime.compile,
        reads_gradients=reads_gradients or train.clip_norm is not None,
    )


def _trainer(
    runtime: Runtime, train: Train, callbacks: list[Callback], *, num_epochs: int, nodes: Nodes
) -> Trainer:
    runtime.limit_threads_()
    # Deterministic mode also fills every new tensor, in case somebody reads it uninitialised;
    # nobody here does, and it was nearly all of the cost of a step beyond a bare loop's.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _quiet()
    return Trainer(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=nodes.number,
        strategy="ddp_spawn" if runtime.devices * nodes.number > 1 else "auto",
        plugins=[nodes.environment],
        precision=train.precision,  # type: ignore[arg-type]
        max_epochs=num_epochs,
        reload_dataloaders_every_n_epochs=1,
        accumulate_grad_batches=train.accumulate,
        gradient_clip_val=train.clip_norm,
        deterministic="warn" if runtime.deterministic else False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )


def _continue_at_(trainer: Trainer, epoch: int) -> None:
    # Lightning counts epochs from zero in every Trainer; ours count from the start of training.
    progress = trainer.fit_loop.epoch_progress.current
    progress.load_state_dict(dict.fromkeys(progress.state_dict(), epoch))


def _quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in NOISE:
        warnings.filterwarnings("ignore", noise)
