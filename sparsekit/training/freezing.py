"""Training a part of a network: linear probing, and whatever else is named."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sparsekit.core.fit_spec import FitSpec
from sparsekit.networks.heads import head_names, matching
from sparsekit.networks.network import Network


def check_trainable(spec: FitSpec, network: Network) -> None:
    """Raise ValueError if what a fit trains is not there, or masks of the rest would move."""
    trainable = spec.train.trainable
    if trainable is None:
        return
    freeze_(network.build(), network, trainable)
    if spec.mover is not None or spec.view is not None:
        raise ValueError(
            f"train.trainable={trainable} with a mover or a view: frozen weights would move"
        )


def freeze_(model: nn.Module, network: Network, trainable: str | Sequence[str] | None) -> None:
    """Leave only the `trainable` parameters of `model` to be trained; None: all of them.

    "head", or patterns of names. The rest is what it was in evaluation: its parameters have no
    gradient, its BatchNorm uses and keeps the statistics it has, its dropout is off. Only modules
    that own a trained parameter are in training mode. ValueError for a pattern that names none.
    """
    if trainable is None:
        return
    names = [name for name, _ in model.named_parameters()]
    patterns = head_names(network) if trainable == "head" else trainable
    chosen = set(matching(names, [n for n in patterns if trainable != "head" or n in names]))
    model.eval()
    for prefix, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            is_trained = f"{prefix}.{leaf}".lstrip(".") in chosen
            parameter.requires_grad_(is_trained)
            module.training = module.training or is_trained
