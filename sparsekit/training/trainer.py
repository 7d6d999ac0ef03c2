"""What trains a fit: Lightning's Trainer with our callbacks, and what they leave in the store."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer

from sparsekit.configuration import config
from sparsekit.core.counts import whole_part
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, State
from sparsekit.data.types import Data
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.store import SCRATCH, Store
from sparsekit.store.tensors import load_network, save_network
from sparsekit.system.files import write_json, write_measured
from sparsekit.system.team import Call, Team
from sparsekit.training.averaging import TrajectoryAverage
from sparsekit.training.checkpoint_files import checkpoint_of
from sparsekit.training.checkpoints import Checkpoints
from sparsekit.training.cost import cost_of_training
from sparsekit.training.fit import fit_stage, reads_gradients
from sparsekit.training.fit_schedule import FitSchedule, plan_fit
from sparsekit.training.freezing import freeze_
from sparsekit.training.history import History
from sparsekit.training.judge import device_of
from sparsekit.training.layouts import check_channels_last
from sparsekit.training.lean_loop import use_lean_loop_
from sparsekit.training.mask_updates import write_mask_history
from sparsekit.training.masking import Masking
from sparsekit.training.module import FitModule
from sparsekit.training.observed import Observed
from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.penalising import Penalised
from sparsekit.training.problem import load_data
from sparsekit.training.progress import Progress
from sparsekit.training.settings import Runtime, Train
from sparsekit.training.several_nodes import Nodes, as_leader, as_worker
from sparsekit.training.stopping import train_
from sparsekit.training.strangers import Shown, made
from sparsekit.training.teacher import asked_teacher
from sparsekit.training.viewing import ViewedNetwork

NOISE = (
    ".*does not have many workers.*",
    ".*`isinstance.treespec, LeafSpec.` is.*",
    ".*`srun` command is available.*",
    ".*module.s. in eval mode at the start of training.*",  # what train.trainable freezes
)


def lead(
    spec: FitSpec,
    folder: Path,
    *,
    store: Store,
    runtime: Runtime,
    watching: Sequence[Observer],
    team: Team | None,
) -> None:
    """Train what `spec` asks for in `folder`, on this node's devices and those of the `team`."""
    with as_leader(team, spec, folder) as nodes:
        _train(spec, folder, store=store, runtime=runtime, watching=watching, nodes=nodes)


def take_part(call: Call, *, team: Team, store: Store, runtime: Runtime) -> None:
    """Train on this node's devices in a fit that another node of the team leads and publishes."""
    work = call.work
    with as_worker(team, call, store) as nodes:
        folder = Path(work["folder"])
        spec: FitSpec = config.build(work["spec"])
        _train(spec, folder, store=store, runtime=runtime, watching=(), nodes=nodes)


def _train(
    spec: FitSpec,
    folder: Path,
    *,
    store: Store,
    runtime: Runtime,
    watching: Sequence[Observer],
    nodes: Nodes,
) -> None:
    train: Train = spec.train
    data = load_data(spec.problem, runtime.data_root)
    network = stored_network(store, spec.pruned)
    cut = store.read(spec.pruned, "metrics.json")["cuts"][0]
    fit_schedule = plan_fit(spec, data, cut)
    state, masks = load_network(store, spec.pruned)
    key, steps = fit_stage(spec).key, (fit_schedule.first, fit_schedule.last)
    saved = checkpoint_of(folder / SCRATCH, key=key, start=(state, masks), steps=steps)
    at = (fit_schedule.first, state) if saved is None else (saved["step"], saved["model"])
    module = _module(spec, data, network, fit_schedule, at, (state, masks), runtime=runtime)
    module.teacher = asked_teacher(spec, network, module.model, store=store, runtime=runtime)
    masking = Masking(
        masks,
        mover=spec.mover,
        mask_gradients=train.clip_norm is not None,
        prefix="model.",
        first_step=module.step - fit_schedule.first,
        num_steps=fit_schedule.last - fit_schedule.first,
    )
    history = History()
    average = TrajectoryAverage(_first_averaged(spec.average_from, fit_schedule))
    strangers = made(spec.callbacks)
    checkpoints = Checkpoints(
        folder / SCRATCH,
        saved,
        key=key,
        states={"masking": masking, "history": history, "average": average},
        strangers=strangers,
        every_seconds=runtime.checkpoint_seconds,
    )
    results = Results(folder, network, average)
    running = partial(RunningFit, module, masking, history.rows)
    measuring = [history.observer, average.observer, *([Shown().observer] if strangers else [])]
    watching = [checkpoints.observer, Progress(runtime).observer, *watching, results.observer]
    # The user's own callbacks see what was measured, and are done before anything is saved.
    callbacks = [
        masking,
        Observed(running, measuring),
        *strangers.values(),
        Observed(running, watching),
    ]
    trainer = _trainer(runtime, train, callbacks, num_epochs=fit_schedule.num_epochs, nodes=nodes)
    _continue_at_(trainer, fit_schedule.epoch(module.step))
    if trainer.world_size == 1:
        use_lean_loop_(trainer)
    train_(trainer, module)


def _first_averaged(fraction: float | None, fit_schedule: FitSchedule) -> float:
    """Return the step after which weights are averaged; infinity where they are not.

    `fraction` is that of the fit's own steps, which need not begin at step 0 of the training.
    """
    if fraction is None:
        return math.inf
    first, last = fit_schedule.first, fit_schedule.last
    return first + whole_part(last - first, fraction)


class Results:
    """Writes what a finished fit leaves behind, on rank 0."""

    def __init__(self, folder: Path, network: Network, average: TrajectoryAverage) -> None:
        self.folder = folder
        self.network = network
        self.average = average
        self.started = time.time()

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(end=self.write)

    def write(self, fit: RunningFit) -> None:
        """Write weights, masks, history and costs."""
        if not fit.is_rank_zero:
            return
        module = fit.module
        if self.average.count:
            self.average.install_(module)
        if module.viewed is None:
            masks = {name: mask.cpu() for name, mask in fit.masks.items()}
            state = {name: t.detach().cpu() for name, t in module.model.state_dict().items()}
        else:
            state, masks = module.viewed.published()
        check_pruned(state, masks)
        record = self.network.record()
        save_network(self.folder, state=apply(state, masks), masks=masks, network=record)
        write_measured(self.folder / "history.json", fit.rows)
        write_mask_history(self.folder, fit.masking, num_snapshots=max(1, self.average.count))
        cost = {"seconds": time.time() - self.started, "devices": fit.trainer.world_size}
        cost |= cost_of_training(fit, self.network, masks, recalibrated=self.average.count > 0)
        cost |= module.cost_of_teacher()
        write_json(self.folder / "cost.json", cost)


def check_pruned(state: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> None:
    """Raise RuntimeError unless every pruned weight is exactly zero."""
    for name, mask in masks.items():
        revived = int((state[name][~mask] != 0).sum())
        if revived:
            raise RuntimeError(f"{revived} pruned weights of {name} are not zero after training")


def _module(
    spec: FitSpec,
    data: Data,
    network: Network,
    fit_schedule: FitSchedule,
    at: tuple[int, State],
    start: tuple[State, Masks],
    *,
    runtime: Runtime,
) -> FitModule:
    """Return what is trained, `at` a step with its state; it `start`ed from a state and masks."""
    step, state = at
    model = network.loaded(state)
    train: Train = spec.train
    freeze_(model, network, train.trainable)
    if train.channels_last:
        check_channels_last(model, device_of(runtime))
        model = model.to(memory_format=torch.channels_last)
    viewed = None
    if spec.view is not None:
        viewed = ViewedNetwork(model, spec.view, start[1], compiled=runtime.compile)
    penalised = None
    if spec.penalty is not None:
        penalised = Penalised(model, spec.penalty, *start, num_steps=fit_schedule.last)
    return FitModule(
        model,
        data,
        spec.problem.task(),
        fit_schedule,
        train,
        step=step,
        compiled=runtime.compile,
        reads_gradients=reads_gradients(spec),
        viewed=viewed,
        penalised=penalised,
    )


def _trainer(
    runtime: Runtime, train: Train, callbacks: list[Callback], *, num_epochs: int, nodes: Nodes
) -> Trainer:
    runtime.limit_threads_()
    # Deterministic mode also fills every new tensor, in case code reads it uninitialised. Ours
    # does not, and filling was nearly all of a step's cost beyond that of a bare loop.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _quiet()
    return Trainer(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=nodes.number,
        strategy=runtime.strategy(nodes.number),
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
