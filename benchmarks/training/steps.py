"""A step within a fit against a step of a bare loop, and what else a fit takes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks import timing
from benchmarks.training.fits import Sample, Setting, bare_loop, prepare, whole_fit
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_300_100, mlp
from sparsekit.models.torchvision_models import resnet18_cifar
from sparsekit.store.store import Store

BARE, FIT = "bare loop", "fit"
GREY, COLOUR = (1, 28, 28), (3, 32, 32)
LENET = Setting("LeNet-300-100, batch 128", lenet_300_100, GREY, 128, 390, 2, 1.05)
SETTINGS = (
    LENET,
    dataclasses.replace(LENET, name=f"{LENET.name}, 90 % pruned", sparsity=0.9),
    Setting("perceptron 784-64-64-10, batch 128", mlp, GREY, 128, 390, 2, 1.05),
    Setting(
        "ResNet-18 CIFAR, batch 64", resnet18_cifar, COLOUR, 64, 8, 1, 1.01, channels_last=True
    ),
)
TINY = partial(cifar_resnet, depth=8, width=4)
QUICK = (
    Setting("tiny ResNet, batch 4", TINY, COLOUR, 4, 2, 2, 1.05, channels_last=True),
    Setting("LeNet-300-100, batch 8, pruned", lenet_300_100, GREY, 8, 5, 1, 1.05, sparsity=0.5),
)


def sections(options: timing.Options) -> list[str]:
    """Measure every setting; a table of targets first."""
    settings = QUICK if options.quick else SETTINGS
    return [measure(setting, options) for setting in settings]


def measure(setting: Setting, options: timing.Options) -> str:
    """Measure one setting; every round trains with another seed."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        spec = prepare(setting, store)
        seeds = {BARE: count(), FIT: count()}

        def take(name: str) -> Sample:
            way = bare_loop if name == BARE else whole_fit
            seeded = dataclasses.replace(spec, seed=next(seeds[name]))
            return way(seeded, store, options.clock)

        ways = {name: partial(take, name) for name in (BARE, FIT)}
        samples = timing.interleave(ways, rounds=options.rounds)
    return described(setting, samples)


def described(setting: Setting, samples: Mapping[str, Sequence[Sample]]) -> str:
    """Write tables and verdicts of one setting."""
    whole = {name: [sample.whole for sample in taken] for name, taken in samples.items()}
    step = {name: [sample.step for sample in taken] for name, taken in samples.items()}
    num_steps = setting.epochs * setting.steps_per_epoch
    ratio = timing.paired(step, FIT, BARE)
    parts = [
        f"### {setting.name}, SGD, {num_steps} steps"
        f"{', channels last' if setting.channels_last else ''}",
        "One step, epoch ends included:",
        timing.markdown(timing.HEAD, timing.rows(step, base=BARE)),
        "The whole fit:",
        timing.markdown(timing.HEAD, timing.rows(whole, base=BARE)),
        f"{timing.at_most('a step within a fit / a step of the loop', ratio, setting.target)}\n"
        f"- more per step: {_difference(step)}; per fit beyond its steps: "
        f"{_difference(_rest(whole, step, num_steps))}\n- {agreement(samples[FIT], samples[BARE])}",
    ]
    return "\n\n".join(parts)


def agreement(ours: Iterable[Sample], bare: Iterable[Sample]) -> str:
    """Say whether both trained the same weights."""
    if any(one.digest != other.digest for one, other in zip(ours, bare, strict=True)):
        return "the trained weights DIFFER"
    return "the trained weights are equal, bit for bit, in every round"


def _rest(whole: timing.Times, step: timing.Times, num_steps: int) -> dict[str, list[float]]:
    """Return the seconds of each fit that are no training step."""
    return {
        name: [w - num_steps * s for w, s in zip(whole[name], step[name], strict=True)]
        for name in whole
    }


def _difference(times: timing.Times) -> str:
    """Return the median difference within a round, ours minus the loop's."""
    pairs = zip(times[FIT], times[BARE], strict=True)
    seconds = timing.spread([ours - bare for ours, bare in pairs]).median
    return f"{'-' if seconds < 0 else '+'}{timing.shown(abs(seconds))}"
