"""Parameters and the masks on them: which fit, who steps them, what is remembered of them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from sparsekit.core.types import Masks
from sparsekit.models.layers import transposed_groups

WRAPPERS = ("_orig_mod.", "module.")


def named_parameters_of(
    module: torch.nn.Module, masks: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, Parameter]:
    """Find the masked parameters of `module`, in mask order.

    ValueError where name or shape misfits; it says so where only a wrapper's prefix differs.
    """
    known = dict(module.named_parameters())
    found = {}
    for name, mask in masks.items():
        parameter = known.get(prefix + name)
        if parameter is None:
            raise ValueError(_misfit(prefix + name, known))
        if parameter.shape != mask.shape:
            shapes = f"{tuple(mask.shape)}, its parameter {tuple(parameter.shape)}"
            raise ValueError(f"mask {name!r} has shape {shapes}")
        found[name] = parameter
    return found


def transposed_of(
    module: torch.nn.Module, masks: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, int]:
    """Return the masks of weights that are stored inputs first, with their numbers of groups."""
    groups = transposed_groups(module)
    return {name: groups[prefix + name] for name in masks if prefix + name in groups}


def _misfit(name: str, known: Mapping[str, Parameter]) -> str:
    wrapped = [one for one in known if unwrapped(one) == unwrapped(name)]
    if wrapped:
        return (
            f"mask {name!r} fits no parameter; the wrapped module calls it {wrapped[0]!r}: make "
            "the masks of the module as it is trained, or compile it in place, module.compile()"
        )
    return f"mask {name!r} fits no parameter; there are {', '.join(known)}"


def unwrapped(name: str) -> str:
    """Strip what torch.compile and DistributedDataParallel put into parameter names.

    >>> unwrapped("net._orig_mod.0.weight"), unwrapped("module.net.0.weight")
    ('net.0.weight', 'net.0.weight')
    """
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def owns(optimizer: Optimizer, parameters: Mapping[str, Parameter]) -> bool:
    """Say whether `optimizer` steps any of `parameters`."""
    wanted = {id(parameter) for parameter in parameters.values()}
    return any(id(p) in wanted for group in optimizer.param_groups for p in group["params"])


def warn_of_missing(gradients: Mapping[str, Tensor], masks: Masks) -> None:
    """Say which layers a mover must leave alone because nothing trains them."""
    missing = [name for name in masks if name not in gradients]
    if missing and gradients:
        warnings.warn(
            f"no gradient reached {', '.join(missing)}; their masks stay as they are", stacklevel=2
        )


@torch.no_grad()
def mask_optimizer_state_(
    optimizer: Optimizer, parameters: Mapping[str, Parameter], masks: Masks
) -> None:
    """Set to zero, in place, whatever the optimizer remembers of pruned weights."""
    for name, parameter in parameters.items():
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value.masked_fill_(~masks[name].to(value.device), 0)


def check_equal_on_ranks(trainer: Trainer, masks: Masks) -> None:
    """Raise RuntimeError unless every rank holds the same masks."""
    if trainer.world_size == 1:
        return
    mine = torch.frombuffer(bytearray(digest(masks)), dtype=torch.uint8).clone()
    mine = mine.to(trainer.strategy.root_device)
    gathered = trainer.strategy.all_gather(mine).view(trainer.world_size, -1).cpu()
    differing = [
        rank for rank in range(trainer.world_size) if not gathered[rank].equal(gathered[0])
    ]
    if differing:
        raise RuntimeError(f"masks on ranks {differing} differ from those on rank 0")


def digest(masks: Masks) -> bytes:
    """Return 32 bytes that change with any bit of any mask."""
    total = hashlib.sha256()
    for name in sorted(masks):
        total.update(name.encode())
        total.update(masks[name].cpu().numpy().tobytes())
    return total.digest()
