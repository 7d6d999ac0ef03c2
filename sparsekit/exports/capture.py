"""Networks as graphs: what `torch.export` records of a module in evaluation mode."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind
from torch.utils import _pytree

from sparsekit.data.batches import Inputs, concatenate, num_examples, tensors_of
from sparsekit.exports.translating import is_norm, translated
from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.models.examples import unchanged

Masks = Mapping[str, Tensor]
Shape = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Captured:
    """A graph that is still dense, which of its weights are kept, and the shapes of results.

    `masks`: bool by name of the tensor in `graph`. `shapes`: by name; a size that depends on the
    batch is a formula.
    """

    graph: Graph
    masks: Masks
    shapes: Mapping[str, Shape]


@torch.no_grad()
def capture(model: nn.Module, inputs: Inputs, masks: Masks) -> Captured:
    """Return `model` in evaluation mode as a graph, its masked weights 0; it is left as it was.

    `inputs`: a batch of examples. The graph takes batches of any size where the model allows it,
    else of the size given. `masks`: bool by parameter name, of tied ones under any of them.
    ValueError for a model that is not float32, for masks that fit no parameter, and for whatever a
    graph cannot say: operations outside its table, control flow that depends on values, buffers
    that change.
    """
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}; give a model whose tensors are float32")
    by_identity = {id(tensors[name]): mask for name, mask in masks_by_name(model, masks).items()}
    with unchanged(model), _plain_modules():
        program = _exported(model.eval(), inputs)
    names = list(inputs) if isinstance(inputs, dict) else None
    return _captured(program, tensors, by_identity, names)


def masks_by_name(model: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """Return masks by every name of the parameters they are of; ValueError if they fit none."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[int, Tensor] = {}
    for name, mask in masks.items():
        if name not in parameters:
            raise ValueError(f"there is a mask for {name}, but no such parameter")
        parameter = parameters[name]
        if mask.shape != parameter.shape or mask.dtype != torch.bool:
            raise ValueError(
                f"the mask of {name} must be boolean {list(parameter.shape)}, got {mask.dtype} "
                f"{list(mask.shape)}"
            )
        if not torch.equal(found.setdefault(id(parameter), mask), mask):
            raise ValueError(f"{name} is tied, and its names have different masks")
    return {name: found[id(one)] for name, one in parameters.items() if id(one) in found}


@contextmanager
def _plain_modules() -> Iterator[None]:
    """Have attention call its layers one by one: the fused fast path hides them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _exported(model: nn.Module, inputs: Inputs) -> ExportedProgram:
    try:
        # A batch of one would be taken for the only size there is.
        several = inputs if num_examples(inputs) > 1 else concatenate([inputs] * 2)
        return _export(model, several, Dim("batch"))
    except Exception:
        pass
    try:
        return _export(model, inputs, None)
    except Exception as error:
        reason = str(error).strip(" '\n").splitlines() or [type(error).__name__]
        raise ValueError(f"{type(model).__name__} cannot be captured: {reason[0]}") from error


def _export(model: nn.Module, inputs: Inputs, batch: Dim | None) -> ExportedProgram:
    sizes: Any = {0: batch} if batch is not None else {}
    settings: dict[str, Any] = {"strict": False}
    if isinstance(inputs, dict):
        by_name = {name: sizes for name in inputs}
        program = torch.export.export(model, (), inputs, dynamic_shapes=by_name, **settings)
    else:
        given = tuple(tensors_of(inputs))
        shapes = tuple(sizes for _ in given)
        program = torch.export.export(model, given, dynamic_shapes=shapes, **settings)
    changing = any(_changes(node.target) for node in program.graph.nodes)
    # Makes operations pure that change their inputs; it takes as long as the export itself.
    return program.run_decompositions({}) if changing else program


def _changes(target: Any) -> bool:
    return isinstance(target, OpOverload) and target._schema.is_mutable


def _captured(
    program: ExportedProgram,
    tensors: Mapping[str, Tensor],
    masks: Mapping[int, Tensor],
    names: list[str] | None,
) -> Captured:
    _refuse_mutations(program)
    specs = {str(spec.arg.name): spec for spec in program.graph_signature.input_specs}
    reading = _Reading(tensors={**program.constants, **tensors})
    for node in program.graph.nodes:
        if node.op == "placeholder":
            reading.place(node, specs[node.name], names)
        elif node.op == "call_function":
            reading.call(node)
        elif node.op != "output":
            raise ValueError(f"{node.name}: a graph cannot hold a {node.op}")
    output: Any = next(one for one in program.graph.nodes if one.op == "output").args[0]
    found = {
        name: mask
        for name in reading.used
        if (mask := masks.get(id(tensors.get(name)))) is not None
    }
    used = {name: _plain(reading.tensors[name], found.get(name)) for name in reading.used}
    outputs = _structured(program, [reading.value(one) for one in output])
    graph = Graph(tuple(reading.inputs), tuple(reading.nodes), outputs, used)
    return Captured(graph, found, reading.shapes)


def _plain(tensor: Tensor, mask: Tensor | None) -> Tensor:
    kept = tensor.detach().cpu()
    return kept.clone() if mask is None else kept.where(mask.cpu(), torch.zeros_like(kept))


def _refuse_mutations(program: ExportedProgram) -> None:
    for spec in program.graph_signature.output_specs:
        if spec.kind != OutputKind.USER_OUTPUT:
            raise ValueError(
                f"the model changes {spec.target or spec.arg} when it runs in evaluation mode, "
                "which an exported network cannot"
            )


def _structured(program: ExportedProgram, outputs: list[Any]) -> Any:
    """Return the outputs in the form of the model's: references in lists and dicts."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return _as_plain(_pytree.tree_unflatten(outputs, spec))


def _as_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _as_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(one) for one in value]
    if value is None or isinstance(value, Of | bool | int | float | str):
        return value
    raise ValueError(f"the model returns a {type(value).__name__}; a graph returns tensors")


@dataclasses.dataclass
class _Reading:
    """What was read of an exported program so far: `values` by the names of its nodes."""

    tensors: Mapping[str, Tensor]
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: list[Input] = dataclasses.field(default_factory=list)
    nodes: list[Node] = dataclasses.field(default_factory=list)
    used: dict[str, None] = dataclasses.field(default_factory=dict)
    shapes: dict[str, Shape] = dataclasses.field(default_factory=dict)

    def place(self, node: Any, spec: InputSpec, names: list[str] | None) -> None:
        """Take up an input or a tensor of the model."""
        example = node.meta.get("val")
        if not isinstance(example, Tensor):
            raise ValueError(f"the model has the input {node.name}, which is not a tensor")
        if spec.kind == InputKind.USER_INPUT:
            name = names[len(self.inputs)] if names else node.name
            sizes = tuple(size if isinstance(size, int) else None for size in example.shape)
            self.inputs.append(Input(name, sizes, example.dtype))
        else:
            assert spec.target is not None
            name = spec.target
            self.used[name] = None
        self.values[node.name] = Of(name)
        self.shapes[name] = _shape(example)

    def call(self, node: Any) -> None:
        """Take up an operation."""
        if node.target is operator.getitem and is_norm(node.args[0].target):
            self.values[node.name] = self.values[node.args[0].name]
            return
        arguments = [self.value(one) for one in node.args]
        options = {name: self.value(one) for name, one in node.kwargs.items()}
        made = translated(node.target, arguments, options)
        if made is None or isinstance(made, Of):
            self.values[node.name] = made
            return
        op, given = made
        name = self._free_name(node.name, op, given)
        self.nodes.append(Node(name, op, given))
        self.values[node.name] = Of(name)
        example = node.meta["val"][0] if is_norm(node.target) else node.meta.get("val")
        if isinstance(example, Tensor):
            self.shapes[name] = _shape(example)

    def value(self, argument: Any) -> Any:
        """Return an argument with references instead of nodes."""
        if isinstance(argument, torch.fx.Node):
            return self.values[argument.name]
        if isinstance(argument, list | tuple):
            return [self.value(one) for one in argument]
        return argument

    def _free_name(self, name: str, op: str, arguments: Mapping[str, Any]) -> str:
        """Name a layer like the module that its weight belongs to, others as torch.export does."""
        if op in ("linear", "conv2d") and isinstance(arguments["weight"], Of):
            name = arguments["weight"].name.removesuffix(".weight").removesuffix("_weight")
        taken = {one.name for one in self.nodes} | {one.name for one in self.inputs}
        taken |= set(self.tensors)
        number = 2
        first = name
        while name in taken:
            name, number = f"{first}_{number}", number + 1
        return name


def _shape(example: Tensor) -> Shape:
    return tuple(str(size) for size in example.shape)
