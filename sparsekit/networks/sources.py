"""Where a run starts from, if not from weights drawn at random: a stored network, or a file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparsekit.core.types import Masks, State
from sparsekit.data.opening import opened
from sparsekit.networks.heads import head_names, matching, new_head
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.archives import load_archive
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network

SAFE = ".safetensors"
Head = str | Sequence[str]
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("model.", "module.", "_orig_mod.")


def stored(
    wanted: Network, store: Store, *, key: str, head: Head = "new"
) -> tuple[Network, State, Masks]:
    """Start from the network that a stage of the store holds, by its key, with its masks.

    `wanted` is the network that model and data set of the run ask for; its model and the form of
    its inputs must be those of the stored one. `head`: "new" replaces what the number of outputs
    decides, drawn under the run's seed (see `new_head`); "keep" leaves it; or patterns of names
    that are replaced. ValueError for a key that is not there, or a network that does not fit.
    """
    if key not in store.keys(key.split("-", 1)[0]):
        raise ValueError(
            f"source.key={key!r} is not in the store {store.root}; the keys of a run stand in its "
            "record below named/"
        )
    network = stored_network(store, key)
    _check(wanted, network, key)
    return _with_head(wanted, network, *load_network(store, key), head)


def checkpoint(
    wanted: Network,
    store: Store,
    *,
    path: str,
    head: Head = "keep",
    zeros_are_pruned: bool = False,
) -> tuple[Network, State, Masks]:
    """Start from a state dict in a local file, .safetensors or of torch.save (weights only).

    State dicts of the modules that wrap a model are taken out of them: below "state_dict", and
    names that all begin with "model.", "module." or "_orig_mod.". `head` as in `stored`; with
    "keep" every tensor must fit. `zeros_are_pruned`: weights that are exactly 0 are masked.
    ValueError, with what differs, for a file that is not one or does not fit the run's model.
    """
    found = read_state(Path(path).expanduser())
    expected = wanted.build().state_dict()
    names = () if head == "keep" else _names(wanted, list(expected), head)
    missing = [name for name in expected if name not in found and name not in names]
    surplus = [name for name in found if name not in expected]
    misfits = [
        f"{name} is {list(found[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and name not in names and found[name].shape != tensor.shape
    ]
    if missing or surplus or misfits:
        raise ValueError(
            f"source.path={path} does not fit {wanted.model['_target_']}: it lacks "
            f"{missing or 'nothing'}, has {surplus or 'nothing'} besides, and "
            f"{', '.join(misfits) or 'all shapes agree'}"
        )
    state = {name: expected[name] if name in names else found[name] for name in expected}
    masks: Masks = {}
    if zeros_are_pruned:
        parameters = dict(wanted.build().named_parameters())
        masks = {n: state[n] != 0 for n, p in parameters.items() if p.ndim > 1 and n not in names}
    return wanted, state, masks


def read_state(path: Path) -> State:
    """Return the state dict in a file; ValueError if there is none in it."""
    try:
        with opened(path, most=sys.maxsize) as file:
            content: Any = load_file(path) if path.suffix == SAFE else load_archive(file)
    except (FileNotFoundError, ValueError, SafetensorError) as error:
        raise ValueError(f"source.path={path} cannot be read: {error}") from error
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not (isinstance(content, Mapping) and content) or not all(
        isinstance(tensor, Tensor) for tensor in content.values()
    ):
        raise ValueError(f"source.path={path} holds no state dict of tensors by name")
    state = dict(content)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _check(wanted: Network, network: Network, key: str) -> None:
    for name, text in (("model", "model"), ("inputs", "example")):
        mine, its = getattr(wanted, name), getattr(network, name)
        if mine != its:
            raise ValueError(
                f"source.key={key} is a network with {text} {its}, this run asks for {mine}; "
                "give it the same model, and data of the same form"
            )


def _with_head(
    wanted: Network, network: Network, state: State, masks: Masks, head: Head
) -> tuple[Network, State, Masks]:
    if head != "keep":
        patterns = () if head == "new" else _patterns(head)
        settings: dict[str, Any] = {"num_outputs": wanted.num_outputs, "seed": wanted.seed}
        return new_head(network, state, masks, None, head=patterns, **settings)
    if wanted.num_outputs != network.num_outputs:
        raise ValueError(
            f"source.head=keep has {network.num_outputs} outputs, the data set needs "
            f"{wanted.num_outputs}; use source.head=new"
        )
    return network, state, masks


def _names(network: Network, names: list[str], head: Head) -> tuple[str, ...]:
    return head_names(network) if head == "new" else matching(names, _patterns(head))


def _patterns(head: Head) -> tuple[str, ...]:
    if isinstance(head, str):
        raise ValueError(f"source.head={head!r} is not 'new', 'keep' or a list of patterns")
    return tuple(head)


def redrawn(network: Network, seed: int) -> tuple[Network, State]:
    """Return a network like `network`, with weights drawn anew under `seed`."""
    drawn = dataclasses.replace(network, seed=seed)
    return drawn, drawn.build().state_dict()
