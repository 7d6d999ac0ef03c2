"""What an export is made of and compared with: a stored network, masked and dense, and inputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsekit.configuration import config
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks
from sparsekit.data.batches import Inputs, map_tensors
from sparsekit.data.types import Data
from sparsekit.networks.network import Network, describe_inputs
from sparsekit.networks.stored import exported, loaded, read
from sparsekit.store.references import Reference, locate
from sparsekit.store.store import Store

DATA_VARIABLE, DATA = "SPARSEKIT_DATA", "data"
FINGERPRINT = "data_fingerprint.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Original:
    """A stored network: its key, how it is built, the module with 0 where it is pruned, its masks
    by first names, and inputs to compare on; `are` says what these are."""

    key: str
    network: Network
    model: nn.Module
    masks: Masks
    inputs: Inputs
    are: str


def original(
    reference: Reference,
    *,
    store: str | Path | None = None,
    cycle: int | None = None,
    data: str | Path | None = None,
    num_inputs: int,
) -> Original:
    """Return what `reference` names, as `sparsekit.load` does, with errors of the same kinds.

    Inputs are the first of the test split of the data that the network was trained on, from `data`,
    else $SPARSEKIT_DATA, else `data`; drawn at random where that cannot be had, and `are` says why.
    """
    network, state, masks, key = read(reference, store=store, cycle=cycle)
    model = loaded(network, apply(state, masks), key)
    root = Path(data or os.environ.get(DATA_VARIABLE) or DATA).expanduser()
    try:
        if exported(reference):
            raise LookupError("an export does not name its data")
        found = _data(*locate(reference, store=store, cycle=cycle), root)
        inputs, are = _first(found, num_inputs), f"of the test split of {found.name}"
        _require_same_form(inputs, network)
    except (OSError, ValueError, LookupError) as error:
        inputs = drawn_inputs(network, num_inputs)
        reason = str(error).splitlines()[0].split(". ")[0]
        are = f"drawn at random ({reason})"
    return Original(key, network, model, masks, inputs, are)


def drawn_inputs(network: Network, count: int) -> Inputs:
    """Return examples drawn at random: normal numbers, and tokens that the outputs number."""
    generator = torch.Generator().manual_seed(0)

    def draw(one: Tensor) -> Tensor:
        shape = (count, *one.shape[1:])
        if one.is_floating_point():
            return torch.randn(shape, generator=generator, dtype=one.dtype)
        return torch.randint(0, max(network.num_outputs, 1), shape, generator=generator).to(
            one.dtype
        )

    return map_tensors(network.example(), draw)


def _data(store: Store, key: str, root: Path) -> Data:
    """Return the data set of a network; ValueError where it is not the one it was trained on."""
    stages = store.ancestors(key)
    first = next((one for one in stages if one.startswith("init-")), None)
    problem: Mapping[str, Any] = stages[first]["config"].get("problem", {}) if first else {}
    if first is None or "data" not in problem:
        raise LookupError(f"{key} does not name its data")
    data: Data = config.build(problem["data"])(root)
    if store.read(first, FINGERPRINT) != data.fingerprint():
        raise ValueError(f"{data.name} below {root} is not the data it was trained on")
    return data


def _first(data: Data, count: int) -> Inputs:
    batches = data.eval_batches("test", batch_size=count, device=torch.device("cpu"))
    inputs, _ = next(iter(batches))
    return inputs


def _require_same_form(inputs: Inputs, network: Network) -> None:
    one = map_tensors(inputs, lambda tensor: tensor[:1])
    if describe_inputs(one) != describe_inputs(network.example()):
        raise ValueError("its data have another form")
