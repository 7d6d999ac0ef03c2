"""Graphs as plain data: literal networks run, come back from JSON, and hostile ones are refused."""

import dataclasses
import json

import pytest
import torch

from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.inference.operations import ATEN, aten
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.running import SparseNetwork

WEIGHT = torch.tensor([[1.0, -1, 0, 0], [0.0, 0, 0, 2], [0.0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
BIAS = torch.tensor([0.0, -1, 5])


def layer(name="first", op="sparse_linear", **arguments):
    given = {"x": Of("x"), "weight": Of("w"), "bias": Of("b"), "residual": None}
    return Node(name, op, {**given, "activation": "relu", **arguments})


def graph(*nodes, outputs=None):
    """Return a graph of `nodes` behind a sparse layer [*, 4] -> [*, 3] with ReLU, "first"."""
    inputs = (Input("x", (None, 4), torch.float32),)
    last = nodes[-1].name if nodes else "first"
    weights = {"w": sparse_rows(WEIGHT, MASK)}
    return Graph(inputs, (layer(), *nodes), outputs or Of(last), {"b": BIAS}, weights)


def through_json(given):
    record, tensors = given.record()
    return Graph.from_record(json.loads(json.dumps(record, allow_nan=False)), tensors)


X = torch.tensor([[3.0, 1, 9, 1], [1.0, 2, 9, 0]])


def test_a_sparse_layer_with_a_row_that_sums_to_0_a_kept_0_and_an_empty_row():
    found = through_json(graph())
    assert found.weights["w"].kept == 4
    assert SparseNetwork(found)(X).tolist() == [[2, 1, 5], [0, 0, 5]]


def test_a_residual_comes_before_the_activation():
    again = layer("again", residual=Of("first"))
    assert SparseNetwork(through_json(graph(again)))(X).tolist() == [[4, 2, 10], [0, 0, 10]]


@pytest.mark.parametrize("op", ["sparse_linear", "csr_linear"])
def test_stored_and_dense_layers_agree(op):
    dense = layer("dense", "linear", weight=Of("v"), activation=None)
    found = graph(layer("other", op, activation=None), dense, outputs=[Of("other"), Of("dense")])
    found = Graph(found.inputs, found.nodes, found.outputs, {"b": BIAS, "v": WEIGHT}, found.weights)
    for x in (X, X[:1], X.view(1, 2, 4)[:, :, :].reshape(2, 4)):
        other, dense_one = SparseNetwork(through_json(found))(x)
        torch.testing.assert_close(other, dense_one)


def test_sizes_lists_dicts_and_numbers_that_json_lacks():
    nodes = (
        Node("n", "size", {"one": Of("x"), "other": 0}),
        Node("m", "number.mul", {"one": Of("n"), "other": 3}),
        Node("flat", "aten.reshape.default", {"self": Of("first"), "shape": [Of("m")]}),
        Node("both", "aten.cat.default", {"tensors": [Of("flat"), Of("flat")]}),
        Node("most", "aten.clamp.default", {"self": Of("both"), "max": float("inf")}),
    )
    found = through_json(graph(*nodes, outputs={"all": Of("most"), "none": None}))
    assert SparseNetwork(found)(X)["all"].tolist() == [2, 1, 5, 0, 0, 5] * 2


def test_what_is_made_lies_where_the_input_does():
    ones = Node("ones", "aten.ones.default", {"size": [3], "dtype": torch.float32})
    added = Node("sum", "aten.add.Tensor", {"self": Of("first"), "other": Of("ones")})
    assert SparseNetwork(through_json(graph(ones, added)))(X).tolist() == [[3, 2, 6], [1, 1, 6]]


def test_intermediates_are_freed_and_outputs_and_tensors_stay():
    network = SparseNetwork(graph(layer("again", residual=Of("first"))))
    assert [len(step.frees) for step in network._steps] == [0, 2]
    assert network(X).tolist() == network(X).tolist()


def test_every_operation_of_pytorch_exists_and_changes_nothing():
    assert not [op for op in ATEN if aten(op)._schema.is_mutable]


def test_inputs_of_other_forms_are_refused():
    network = SparseNetwork(graph())
    with pytest.raises(ValueError, match=r"must be torch.float32 \[None, 4\].*got .* \[2, 5\]"):
        network(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="expected 1 inputs"):
        network(X, X)


def changed(path, value):
    """Return a record with one entry of the JSON data replaced, and its tensors."""
    record, tensors = graph(Node("r", "aten.relu.default", {"self": Of("first")})).record()
    record = json.loads(json.dumps(record))
    *way, last = path
    place = record
    for key in way:
        place = place[key]
    place[last] = value
    return record, tensors


NODE = ("nodes", 1)
HOSTILE = {
    "operation": (("nodes", 1, "op"), "aten.relu_.default", "no operation 'aten.relu_.default'"),
    "module": (("nodes", 1, "op"), "os.system", "no operation 'os.system'"),
    "arity": (("nodes", 1, "arguments", "dict"), {}, "needs self"),
    "surplus": (("nodes", 1, "arguments", "dict", "out"), {"of": "x"}, "has no out"),
    "cycle": (("nodes", 1, "arguments", "dict", "self"), {"of": "r"}, "refers to r"),
    "later": (("nodes", 0, "arguments", "dict", "residual"), {"of": "r"}, "refers to r"),
    "argument": (("nodes", 1, "arguments", "dict", "self"), "x", "cannot run"),
    "tag": (("nodes", 1, "arguments", "dict", "self"), {"call": "x"}, "neither a reference"),
    "name": (("nodes", 1, "name"), "first", "several things named first"),
    "outputs": (("outputs",), {"of": "y"}, "outputs refer to y"),
    "shape": (("inputs", 0, "shape"), [None, 5], "first: sparse_linear cannot run"),
    "type": (("inputs", 0, "dtype"), "int64", "first: sparse_linear cannot run"),
    "no type": (("inputs", 0, "dtype"), "nn", "unknown type 'nn'"),
    "columns": (("weights", "w"), 3, "w.columns must be below 3"),
    "no columns": (("weights", "w"), "4", "number of columns"),
    "version": (("version",), 2, "version 2"),
    "field": (("code",), "x", "must have exactly"),
    "tensors": (("tensors",), ["b", "c"], "needs the tensors c"),
    "activation": (("nodes", 0, "arguments", "dict", "activation"), "exec", "activation is 'exec'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_records(case):
    path, value, message = HOSTILE[case]
    with pytest.raises(ValueError, match=message):
        Graph.from_record(*changed(path, value))


def test_records_that_would_fill_the_memory_before_they_run():
    numbers = [Node("n0", "size", {"one": Of("x"), "other": 1})]
    for at in range(40):
        both = {"one": Of(f"n{at}"), "other": Of(f"n{at}")}
        numbers.append(Node(f"n{at + 1}", "number.mul", both))
    many = {"one": [0], "other": 1 << 40}
    wide = Node("wide", "aten.expand.default", {"self": Of("first"), "size": [1 << 20, 2, 3]})
    pieces = Node("pieces", "aten.unbind.int", {"self": Of("wide")})
    for nodes, message in (
        (numbers, "is no size"),
        ([Node("m", "number.mul", many)], "two whole numbers"),
        ([wide, pieces], "takes sizes up to 4096"),
    ):
        with pytest.raises(ValueError, match=message):
            Graph.from_record(*graph(*nodes).record())


def test_names_may_be_anything():
    found = graph(layer("keys"), layer("layers"), layer("forward/x.y"))
    found = dataclasses.replace(found, tensors={**found.tensors, "graph": WEIGHT, "a.b": WEIGHT})
    assert SparseNetwork(through_json(found))(X).shape == (2, 3)


def test_shapes_that_depend_on_the_batch_in_odd_ways_are_refused_when_they_run():
    nodes = (
        Node("part", "aten.slice.Tensor", {"self": Of("first"), "dim": 0, "end": 2}),
        layer("again", residual=Of("part")),
    )
    network = SparseNetwork(through_json(graph(*nodes)))
    assert network(X).shape == (2, 3)
    with pytest.raises(ValueError, match="the residual must be"):
        network(torch.zeros(5, 4))


STARTS = torch.tensor([0, 2, 4, 4], dtype=torch.int32)
COLUMNS = torch.tensor([0, 1, 1, 3], dtype=torch.uint16)
ROWS = {
    "falls": ("starts", [0, 3, 2, 4], "never fall"),
    "begins": ("starts", [1, 2, 4, 4], "begin with 0"),
    "ends": ("starts", [0, 2, 4, 5], "starts end at 5"),
    "empty": ("starts", [], "begin with 0"),
    "order": ("columns", [1, 0, 1, 3], "ascend"),
    "twice": ("columns", [0, 0, 1, 3], "ascend"),
    "range": ("columns", [0, 1, 1, 4], "below 4"),
    "short": ("values", [1.0], "there are 1 values"),
}


@pytest.mark.parametrize("case", ROWS)
def test_hostile_rows(case):
    part, entries, message = ROWS[case]
    record, tensors = graph().record()
    tensors[f"w.{part}"] = torch.tensor(entries, dtype=tensors[f"w.{part}"].dtype)
    with pytest.raises(ValueError, match=message):
        Graph.from_record(record, tensors)


def test_tensors_of_other_types_and_sizes_that_would_fill_the_memory():
    record, tensors = graph().record()
    with pytest.raises(ValueError, match=r"w.columns must be a vector of torch.uint16"):
        Graph.from_record(record, {**tensors, "w.columns": COLUMNS.long()})
    huge = Node("huge", "aten.expand.default", {"self": Of("first"), "size": [1 << 40, 2, 3]})
    with pytest.raises(ValueError, match="huge: its result would have more than"):
        Graph.from_record(*graph(huge).record())
    training = Node(
        "norm",
        "aten.batch_norm.default",
        {"input": Of("first"), "weight": None, "bias": None, "running_mean": Of("b")}
        | {"running_var": Of("b"), "training": True, "momentum": 0.1, "eps": 0.1}
        | {"cudnn_enabled": False},
    )
    with pytest.raises(ValueError, match=r"training of aten.batch_norm.default must be False"):
        Graph.from_record(*graph(training).record())
