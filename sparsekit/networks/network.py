"""What it takes to build a network again, without its data set: the content of `network.json`."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from sparsekit.configuration import config
from sparsekit.configuration.signatures import imported
from sparsekit.core.types import Masks, State
from sparsekit.data.batches import Inputs, Shapes, input_shape
from sparsekit.models.examples import materialise_
from sparsekit.models.tied import load_state_
from sparsekit.store import schemas
from sparsekit.store.identity import canonical, import_path
from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store
from sparsekit.store.tensors import NETWORK


@dataclasses.dataclass(frozen=True)
class Network:
    """A builder with its arguments, and how it is called: everything but weights and masks.

    `model` is the described builder, `inputs` the shapes and types of one example (see
    `describe_inputs`), `num_outputs` what the data set asks for. `seed` is that of the initial
    weights: whatever the builder draws and keeps outside its state dict is drawn by it again.
    `transforms`: what was done to the built module since, in order: functions module -> module by
    import path, with plain arguments, and `notes`. `original`: numbers of prunable weights and of
    parameters before that, from which sparsities count; None: those the network has.
    """

    model: Mapping[str, Any]
    inputs: Any
    num_outputs: int
    seed: int
    transforms: tuple[Mapping[str, Any], ...] = ()
    original: Mapping[str, int] | None = None

    def record(self) -> dict[str, Any]:
        """Return the plain data of `network.json`."""
        record = {**dataclasses.asdict(self), "transforms": list(self.transforms)}
        return {name: value for name, value in record.items() if value is not None}

    def example(self) -> Inputs:
        """Return an input of one example, of the shapes and types the network gets; all zeros."""
        return _zeros(self.inputs)

    def build(self) -> nn.Module:
        """Return the network with its initial weights; no generator is left changed.

        TypeError for a builder that returns no module.
        """
        shapes: Shapes = input_shape(self.example())
        with seeded(self.seed):
            model = config.build(self.model)(shapes, self.num_outputs)
            if not isinstance(model, nn.Module):
                raise TypeError(
                    f"{self.model['_target_']} must return a torch.nn.Module, got "
                    f"{type(model).__name__}"
                )
            materialise_(model, self.example())
        return self.replayed(model)

    def replayed(self, model: nn.Module, *, since: int = 0) -> nn.Module:
        """Return `model`, with its weights, after all transformations but the first `since`."""
        for record in self.transforms[since:]:
            model = imported(record["_target_"])(model, **record["arguments"])
        return model

    def transformed(
        self,
        rebuild: Callable[..., nn.Module],
        arguments: Mapping[str, Any],
        *,
        notes: Mapping[str, Any],
        original: Mapping[str, int] | None,
    ) -> Network:
        """Return the network after one more transformation.

        `rebuild(model, **arguments)`, a function at the top of a module with plain arguments,
        returns the transformed module; it may change `model` in place. `notes` are plain data
        for inspection; its `warnings`, a list of texts, are shown below every table.
        """
        record = {"_target_": import_path(rebuild), "arguments": arguments, "notes": notes}
        transforms = (*self.transforms, record)
        return dataclasses.replace(self, transforms=transforms, original=original)

    def warnings(self) -> list[str]:
        """Return what the transformations ask to show below every table."""
        return [text for record in self.transforms for text in record["notes"].get("warnings", ())]

    def sizes(self, model: nn.Module, masks: Masks) -> dict[str, int]:
        """Return the numbers of prunable weights and of parameters that sparsities count from."""
        if self.original is not None:
            return dict(self.original)
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        return {"num_prunable": self.num_prunable(masks), "num_parameters": num_parameters}

    def num_prunable(self, masks: Masks) -> int:
        """Return the number of prunable weights that sparsities count from."""
        if self.original is not None:
            return self.original["num_prunable"]
        return sum(mask.numel() for mask in masks.values())

    def loaded(self, state: State) -> nn.Module:
        """Return the network with the weights `state`; of tied names the first one counts."""
        model = self.build()
        load_state_(model, state)
        return model


def network_of(record: Mapping[str, Any]) -> Network:
    """Return the network that a `network.json` describes; ValueError if it is not one."""
    fields = dataclasses.fields(Network)
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    missing = [name for name in required if name not in record]
    if missing:
        raise ValueError(f"{NETWORK} lacks {', '.join(missing)}; it has {', '.join(record)}")
    schemas.network(record, NETWORK)
    content = {field.name: record[field.name] for field in fields if field.name in record}
    return Network(**{**content, "transforms": tuple(content.get("transforms", ()))})


def stored_network(store: Store, key: str) -> Network:
    """Return the description of the network that a stage holds.

    CorruptResult where its builder is not the one in the stage's configuration. Whoever forges a
    file can forge the checksums too, but not what the key was made from.
    """
    network = network_of(store.read(key, NETWORK))
    asked = store.description(key)["config"].get("problem")
    if isinstance(asked, Mapping) and canonical(asked.get("model")) != canonical(network.model):
        raise CorruptResult(
            f"{key}: {NETWORK} is built by {network.model.get('_target_')}, which is not what its "
            "configuration says"
        )
    return network


def describe_inputs(example: Inputs) -> Any:
    """Return shapes and types of a batch of one, as plain data in the form of `example`.

    >>> describe_inputs({"tokens": torch.zeros(1, 16, dtype=torch.int64)})
    {'tokens': {'shape': [1, 16], 'dtype': 'int64'}}
    """
    if isinstance(example, Tensor):
        return {"shape": list(example.shape), "dtype": str(example.dtype).removeprefix("torch.")}
    if isinstance(example, dict):
        return {name: describe_inputs(one) for name, one in example.items()}
    return [describe_inputs(one) for one in example]


def _zeros(inputs: Any) -> Inputs:
    if isinstance(inputs, list | tuple):
        return tuple(_tensor(one) for one in inputs)
    if isinstance(inputs.get("shape"), list):
        return _tensor(inputs)
    return {name: _tensor(one) for name, one in inputs.items()}


def _tensor(described: Mapping[str, Any]) -> Tensor:
    return torch.zeros(described["shape"], dtype=getattr(torch, described["dtype"]))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let everything that is drawn depend on `seed` alone, and leave all generators as they were.

    PyTorch's, NumPy's and Python's own: builders use any of them. A GPU that this process has not
    used yet stays so: its context would cost memory, and forbid it to forked processes.
    """
    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if is_used else ()
    of_numpy, of_python = numpy.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=list(gpus)):
            torch.manual_seed(seed)
            numpy.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        numpy.random.set_state(of_numpy)
        random.setstate(of_python)
