"""A whole fit of this package against a bare PyTorch loop: `python -m benchmarks.fit_overhead`.

The fit is the shipped one: claim, start, Lightning's trainer, our callbacks, validation, stored
result. The loop has the same model, data pipeline, optimizer, learning rates and validation, and
nothing else. Both end with the same weights, which is checked bit for bit.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks import timing
from benchmarks.inputs import random_data
from sparsekit.core.fit_spec import FitSpec, Problem
from sparsekit.core.learning_rates import constant
from sparsekit.method.cycle import Cycle
from sparsekit.method.stages import prune_for_fits
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_300_100
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import resnet18_cifar
from sparsekit.networks.network import stored_network
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.classification import classification
from sparsekit.training.evaluate import evaluate
from sparsekit.training.fit import fit
from sparsekit.training.fit_schedule import plan_fit
from sparsekit.training.history import EVALUATION_BATCH
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.optimizers import sgd
from sparsekit.training.problem import ensure_init, load_data
from sparsekit.training.settings import Runtime, Train

CPU = torch.device("cpu")
NO_CUT = {"norm_drop": 0.0, "fraction": 0.0}
BARE, FIT = "bare loop", "fit"
tiny_resnet = partial(cifar_resnet, depth=8, width=4)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A training: `epochs` of `steps_per_epoch` steps; no target makes it information only."""

    name: str
    model: Callable[..., Any]
    image_shape: tuple[int, int, int]
    batch_size: int
    steps_per_epoch: int
    epochs: int
    channels_last: bool
    target: float | None


SETTINGS = (
    Setting("ResNet-18 CIFAR, batch 64", resnet18_cifar, (3, 32, 32), 64, 8, 1, True, 1.05),
    Setting("LeNet-300-100, batch 128", lenet_300_100, (1, 28, 28), 128, 390, 2, False, None),
)
QUICK = (
    Setting("tiny ResNet, batch 4", tiny_resnet, (3, 32, 32), 4, 2, 2, True, 1.05),
    Setting("LeNet-300-100, batch 8", lenet_300_100, (1, 28, 28), 8, 5, 1, False, None),
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds of the whole fit, seconds per step after the first one, and the trained weights."""

    whole: float
    step: float
    state: Mapping[str, Tensor]


class Ends:
    """Notes when each step had ended; as the last observer it sees the others' work done."""

    def __init__(self, clock: timing.Clock) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def note(self, fit: RunningFit) -> None:
        """Note the time now."""
        self.ends.append(self.clock())


def mean_step(ends: Sequence[float]) -> float:
    """Seconds from the end of one step to that of the next."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def prepare(setting: Setting, store: Store, runtime: Runtime) -> FitSpec:
    """What `fit` is asked, starting from initial weights with nothing pruned."""
    num_train = setting.batch_size * setting.steps_per_epoch
    data = partial(random_data, image_shape=setting.image_shape, num_train=num_train)
    problem = Problem(classification, setting.model, data, prunable)
    train = Train(
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        optimizer=partial(sgd, weight_decay=5e-4),
        schedule=partial(constant, peak=0.01),
        channels_last=setting.channels_last,
    )
    init = ensure_init(problem, 0, store=store, root=runtime.data_root)
    cycle = Cycle(index=0)
    judge = NetworkJudge(problem, runtime)
    (pruned,) = prune_for_fits(cycle, (init,), None, seed=0, judge=judge, store=store)
    return cycle.fit({}, FitSpec(problem, train, seed=0, pruned=pruned))


def whole_fit(spec: FitSpec, store: Store, runtime: Runtime, clock: timing.Clock) -> Sample:
    """Train as `sparsekit.run` would."""
    steps = Ends(clock)
    observer = Observer(step=steps.note)
    started = clock()
    key = fit(spec, store=store, runtime=runtime, observers=[lambda *_: observer])
    whole = clock() - started
    return Sample(whole, mean_step(steps.ends), load_network(store, key)[0])


def bare_loop(spec: FitSpec, store: Store, runtime: Runtime, clock: timing.Clock) -> Sample:
    """Train as a short script would."""
    torch.use_deterministic_algorithms(False)
    ends = []
    started = clock()
    data = load_data(spec.problem, runtime.data_root)
    train: Train = spec.train
    course = plan_fit(spec, data, NO_CUT)
    model = stored_network(store, spec.pruned).loaded(load_network(store, spec.pruned)[0])
    memory_format = torch.channels_last if train.channels_last else torch.contiguous_format
    model = model.to(memory_format=memory_format)
    optimizer = train.optimizer(list(model.named_parameters()))
    for epoch in range(course.num_epochs):
        batches = data.train_batches(
            batch_size=train.batch_size, seed=course.seed, epoch=epoch, device=CPU
        )
        for images, labels in batches:
            for group in optimizer.param_groups:
                group["lr"] = course.learning_rate(len(ends))
            optimizer.zero_grad()
            loss = cross_entropy(model(images.to(memory_format=memory_format)), labels)
            loss.backward()
            optimizer.step()
            ends.append(clock())
        evaluate(
            classification(),
            [model],
            data.eval_batches("val", batch_size=EVALUATION_BATCH, device=CPU),
        )
    return Sample(clock() - started, mean_step(ends), model.state_dict())


def measure(setting: Setting, options: timing.Options) -> list[str]:
    """Tables and verdict of one setting; every round trains with another seed."""
    rounds = options.rounds
    runtime = Runtime(accelerator="cpu", progress="none")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        spec = prepare(setting, store, runtime)
        seeds = {BARE: iter(range(rounds + 1)), FIT: iter(range(rounds + 1))}
        ways = {
            name: lambda way=way, name=name: way(
                dataclasses.replace(spec, seed=next(seeds[name])), store, runtime, options.clock
            )
            for name, way in ((BARE, bare_loop), (FIT, whole_fit))
        }
        samples = timing.interleave(ways, rounds=rounds)
    return described(setting, samples)


def described(setting: Setting, samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Tables and verdicts."""
    whole = {name: [sample.whole for sample in taken] for name, taken in samples.items()}
    step = {name: [sample.step for sample in taken] for name, taken in samples.items()}
    num_steps = setting.epochs * setting.steps_per_epoch
    ratio = timing.paired(step, FIT, BARE)
    verdict = (
        timing.at_most("a step within a fit / a step of the loop", ratio, setting.target)
        if setting.target
        else f"- a step within a fit / a step of the loop: {ratio.median:.3f} (information)"
    )
    return [
        f"### {setting.name}, SGD, {num_steps} steps"
        f"{', channels last' if setting.channels_last else ''}",
        "One step, epoch ends included:",
        timing.markdown(timing.HEAD, timing.rows(step, base=BARE)),
        "The whole fit:",
        timing.markdown(timing.HEAD, timing.rows(whole, base=BARE)),
        f"{verdict}\n- more per step: {difference(step)}; per fit beyond its steps: "
        f"{difference(rest(whole, step, num_steps))}\n- {agreement(samples)}",
    ]


def rest(whole: timing.Times, step: timing.Times, num_steps: int) -> dict[str, list[float]]:
    """Seconds of each fit that are no training step."""
    return {
        name: [w - num_steps * s for w, s in zip(whole[name], step[name], strict=True)]
        for name in whole
    }


def difference(times: timing.Times) -> str:
    """Median difference within a round, ours minus the loop's."""
    pairs = zip(times[FIT], times[BARE], strict=True)
    seconds = timing.spread([ours - bare for ours, bare in pairs]).median
    return f"{'-' if seconds < 0 else '+'}{timing.shown(abs(seconds))}"


def agreement(samples: Mapping[str, Sequence[Sample]]) -> str:
    """Did both train the same weights?"""
    for ours, bare in zip(samples[FIT], samples[BARE], strict=True):
        differing = [name for name in bare.state if not bare.state[name].equal(ours.state[name])]
        if differing:
            return f"the trained weights DIFFER, first in {differing[0]}"
    return "the trained weights are equal, bit for bit, in every round"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every setting."""
    options = timing.read_options(__doc__ or "", arguments, rounds=9, clocks=("wall", "cpu"))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings = QUICK if options.quick else SETTINGS
    parts = [part for setting in settings for part in measure(setting, options)]
    timing.report("A fit against a bare loop", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
