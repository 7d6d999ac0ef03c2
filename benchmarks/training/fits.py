"""One fit of this package, and the loop that a short script has in its place."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.inputs import random_data
from sparsekit.configuration import config
from sparsekit.core import allocate, patterns, scores
from sparsekit.core.fit_spec import FitSpec, Problem
from sparsekit.core.prune import prune
from sparsekit.core.types import Masks
from sparsekit.data.types import Data
from sparsekit.method.cycle import Cycle
from sparsekit.method.stages import prune_for_fits
from sparsekit.models.prunable import prunable
from sparsekit.networks.network import stored_network
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.classification import classification
from sparsekit.training.evaluate import evaluate
from sparsekit.training.fit import fit
from sparsekit.training.fit_schedule import FitSchedule, plan_fit
from sparsekit.training.history import EVALUATION_BATCH
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.problem import ensure_init, load_data
from sparsekit.training.settings import Runtime, Train

CPU = torch.device("cpu")
NO_CUT = {"norm_drop": 0.0, "fraction": 0.0}
RUNTIME = Runtime(accelerator="cpu", progress="none")
BY_MAGNITUDE = partial(
    prune, score=scores.magnitude, allocate=allocate.globally, pattern=patterns.unstructured
)
# Built as those of a run: what that puts between a step and its schedule is measured as well.
OPTIMIZER = {"_target_": "sparsekit.training.optimizers.sgd", "weight_decay": 5e-4}
RATE = 0.01
SCHEDULE = {"_target_": "sparsekit.core.learning_rates.constant", "peak": RATE}
Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A training of `epochs` of `steps_per_epoch`, on random images, after pruning `sparsity`.

    `target`: at most how long a step of the fit may take, in steps of the loop.
    """

    name: str
    model: Callable[..., nn.Module]
    image_shape: tuple[int, int, int]
    batch_size: int
    steps_per_epoch: int
    epochs: int
    target: float
    sparsity: float = 0.0
    channels_last: bool = False


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds of all, seconds per step after the first one, and a digest of the weights."""

    whole: float
    step: float
    digest: str


class Ends:
    """Notes when each step had ended; as the last observer it sees the others' work done."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def note(self, fit: RunningFit) -> None:
        """Note the time now."""
        self.ends.append(self.clock())


def prepare(setting: Setting, store: Store) -> FitSpec:
    """Store what the fits start from, and return what they are asked."""
    num_train = setting.batch_size * setting.steps_per_epoch
    data = partial(random_data, image_shape=setting.image_shape, num_train=num_train)
    problem = Problem(classification, setting.model, data, prunable)
    train = Train(
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        **config.build({"optimizer": OPTIMIZER, "schedule": SCHEDULE}),
        channels_last=setting.channels_last,
    )
    init = ensure_init(problem, 0, store=store, root=RUNTIME.data_root)
    cycle = Cycle(index=0, sparsity=setting.sparsity, prune=BY_MAGNITUDE)
    judge = NetworkJudge(problem, RUNTIME)
    (pruned,) = prune_for_fits(cycle, (init,), None, seed=0, judge=judge, store=store)
    return cycle.fit({}, FitSpec(problem, train, seed=0, pruned=pruned))


def whole_fit(spec: FitSpec, store: Store, clock: Clock) -> Sample:
    """Train as `sparsekit.run` would: claim, Lightning's trainer, validation, stored result."""
    steps = Ends(clock)
    started = clock()
    key = fit(spec, store=store, runtime=RUNTIME, observers=[lambda *_: Observer(step=steps.note)])
    whole = clock() - started
    return Sample(whole, _mean_step(steps.ends), digest(load_network(store, key)[0]))


def bare_loop(spec: FitSpec, store: Store, clock: Clock) -> Sample:
    """Train as a short script would: same data, optimizer, learning rates, masks, validation."""
    ends: list[float] = []
    started = clock()
    data = load_data(spec.problem, RUNTIME.data_root)
    state, masks = load_network(store, spec.pruned)
    model = stored_network(store, spec.pruned).loaded(state)
    for _ in trained(model, masks, spec, data):
        ends.append(clock())
    return Sample(clock() - started, _mean_step(ends), digest(model.state_dict()))


def trained(model: nn.Module, masks: Masks, spec: FitSpec, data: Data) -> Iterator[int]:
    """Train `model` in place, and yield the number of each step when it has ended."""
    train: Train = spec.train
    schedule: FitSchedule = plan_fit(spec, data, NO_CUT)
    layout = torch.channels_last if train.channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    optimizer = train.optimizer(list(model.named_parameters()))
    pruned = {name: mask for name, mask in masks.items() if not mask.all()}
    weights: list[Tensor] = [model.get_parameter(name) for name in pruned]
    floats = [mask.float() for mask in pruned.values()]
    if weights:
        with torch.no_grad():
            torch._foreach_mul_(weights, floats)
    step = 0
    for epoch in range(schedule.num_epochs):
        for images, labels in data.train_batches(
            batch_size=train.batch_size, seed=schedule.seed, epoch=epoch, device=CPU
        ):
            for group in optimizer.param_groups:
                group["lr"] = RATE
            optimizer.zero_grad()
            loss = cross_entropy(model(images.to(memory_format=layout)), labels)
            loss.backward()
            optimizer.step()
            if weights:
                with torch.no_grad():
                    torch._foreach_mul_(weights, floats)
            step += 1
            yield step
        validation = data.eval_batches("val", batch_size=EVALUATION_BATCH, device=CPU)
        evaluate(classification(), [model], validation)


def digest(state: Mapping[str, Tensor]) -> str:
    """Return what changes with any bit of any tensor but the sign of a zero."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode() + (state[name] + 0).contiguous().numpy().tobytes())
    return total.hexdigest()


def _mean_step(ends: Sequence[float]) -> float:
    """Return the seconds from the end of one step to that of the next."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)
