"""How settings read in a label: `method.cycles=4` as `4 cycles`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Phrase = Callable[[str], str]

MODELS = {
    "lenet_300_100": "LeNet-300-100", "lenet_5": "LeNet-5", "mlp": "MLP", "resnet18_cifar":
    "ResNet-18", "resnet20": "ResNet-20", "resnet32": "ResNet-32", "resnet50": "ResNet-50",
    "resnet56": "ResNet-56", "vgg16": "VGG-16", "vgg19": "VGG-19", "vit_b_16": "ViT-B/16",
    "vit_tiny_cifar": "ViT-Ti", "wrn_22_2": "WRN-22-2", "wrn_28_8": "WRN-28-8",
    "wrn_32_4": "WRN-32-4", "transformer": "Transformer",
}  # fmt: skip
DATA = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST", "digits": "Digits", "diabetes": "Diabetes",
}  # fmt: skip
PRUNE = {
    "global_magnitude": "global magnitude", "uniform_magnitude": "uniform magnitude",
    "channels_magnitude": "channels by magnitude", "lamp": "LAMP", "snip": "SNIP",
    "grasp": "GraSP", "synflow": "SynFlow", "random_erk": "ERK", "random_erk_plus": "ERK+",
    "random_erk_balanced": "balanced ERK", "random_erdos_renyi": "ER",
    "random_uniform": "uniform", "random_uniform_plus": "uniform+",
    "random_erk_constant_fan_in": "ERK, constant fan-in",
    "random_uniform_constant_fan_in": "uniform, constant fan-in",
    "random_snip_ratios": "ratios of SNIP", "random_grasp_ratios": "ratios of GraSP",
    "random_ratios_of": "ratios of a ticket",
}  # fmt: skip
VIEW = {"one_four": "1:4", "two_four": "2:4", "four_eight": "4:8"}
MERGE = {
    "uniform": "uniform average", "weighted": "weighted average", "greedy": "greedy soup",
    "ties": "TIES", "best": "best particle", "single": "one particle",
}  # fmt: skip
CONTROL = {
    "shuffle_layers": "masks shuffled in layers", "shuffle_network": "masks shuffled",
    "reinitialise": "reinitialised",
}  # fmt: skip
PRUNABLE = {"not_head": "dense head", "weights": "all weights"}


def _option(names: Mapping[str, str], otherwise: str = "{}") -> Phrase:
    return lambda text: names.get(text) or otherwise.format(text.replace("_", " "))


def _counted(one: str, several: str = "") -> Phrase:
    return lambda text: f"{text} {one if text == '1' else several or f'{one}s'}"


def _percent(form: str) -> Phrase:
    return lambda text: form.format(f"{100 * float(text):.4g} %")


PHRASES: Mapping[str, Phrase] = {
    "method": _option({}),
    "model": _option(MODELS),
    "data": _option(DATA),
    "prunable": _option(PRUNABLE),
    "control": _option(CONTROL),
    "prune@method.prune": _option(PRUNE),
    "view@method.view": _option(VIEW),
    "merge@method.merge": _option(MERGE),
    "penalty@method.penalty": _option({}),
    "distillation": _option({}, "distilled, {}"),
    "transform": _option({}),
    "method.cycles": _counted("cycle"),
    "method.remove": _percent("{} per cycle"),
    "method.sparsity": _percent("to {}"),
    "method.rewind_step": "rewound to step {}".format,
    "method.num_particles": _counted("particle"),
    "method.several_from": "several from cycle {}".format,
    "method.average_from": _percent("averaged from {}"),
    "method.retrain_epochs": _counted("retraining epoch"),
    "method.retrain_times": "{} x the retraining".format,
    "train": "trained as {}".format,
    "train.epochs": _counted("epoch"),
    "train.batch_size": "batches of {}".format,
    "train.schedule.peak": "learning rate {}".format,
    "train.optimizer.weight_decay": "weight decay {}".format,
}
ABSENT: Mapping[str, str] = {
    "method.remove": "",  # what it removes follows from the cycles and the sparsity
    "method.rewind_step": "not rewound",
    "method.average_from": "not averaged",
}
"""Of settings that are null."""

OWN_SPARSITY = "${sparsity}"
"""A setting that is the sparsity asked for, which tables show anyway."""

DEFINING = tuple(
    key for key in PHRASES if "@" in key or key in ("control", "distillation", "transform")
)
"""What makes another method of it: shown where it was asked for, be it the same in all rows."""
REPLACING = ("prune@method.prune", "view@method.view")
"""What the bracket of a method's name says, as that of `Random (ERK)`."""

TARGET = re.compile(r"_target_: *'?([\w.]+)")


def phrase(key: str, text: str, *, full: bool = False) -> str:
    """Say what a setting is, in the words of a paper where they are known; "" for nothing.

    Others are told by the last part of their name, or by the `full` one.

    >>> [phrase("method.cycles", "4"), phrase("method.remove", "0.2")]
    ['4 cycles', '20 % per cycle']
    >>> phrase("method.mover.gamma_sal", "0.3"), phrase("control", "reinitialise")
    ('gamma_sal = 0.3', 'reinitialised')
    """
    value = _plain(text)
    if value == OWN_SPARSITY:
        return ""
    if value == "null" and key in ABSENT:
        return ABSENT[key]
    try:
        return PHRASES[key](value)
    except (KeyError, ValueError):  # a setting without words, or a value that is not a number
        return f"{key if full else short(key)} = {value}"


def short(key: str) -> str:
    """Return the last part of a setting's name.

    >>> short("train.optimizer.weight_decay"), short("prune@method.prune")
    ('weight_decay', 'prune')
    """
    return key.rpartition(".")[2]


def _plain(text: str) -> str:
    """Return a typed value without its quotes; of a leaf, what it calls.

    >>> _plain("'a b'"), _plain("{_target_:my_view.Shrunk,decay:0.1}")
    ('a b', 'Shrunk')
    """
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    found = TARGET.search(text) if text[:1] == "{" else None
    return found[1].rpartition(".")[2] if found else text
