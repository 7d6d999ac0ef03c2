"""Trees of tensors: what a network with one or several inputs is called with."""

import pytest
import torch

from sparsekit.data.batches import (
    call,
    chunk,
    concatenate,
    input_shape,
    map_tensors,
    num_examples,
    part,
    take,
    tensors_of,
    to_device,
)

X, Y = torch.arange(12.0).view(6, 2), torch.arange(6.0)
TREES = [X, (X, Y), {"x": X, "y": Y}]


def same(one, other) -> bool:
    return (
        type(one) is type(other)
        and (not isinstance(one, dict) or list(one) == list(other))
        and all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(other), strict=True))
    )


@pytest.mark.parametrize("tree", TREES, ids=["tensor", "tuple", "dict"])
def test_pieces_joined_are_the_batch(tree):
    pieces = chunk(tree, 3)
    assert [num_examples(piece) for piece in pieces] == [2, 2, 2]
    assert same(concatenate(pieces), tree)
    assert not same(concatenate(pieces[::-1]), tree)
    assert same(concatenate([part(tree, 0, 1), part(tree, 1, 6)]), tree)


@pytest.mark.parametrize("tree", TREES, ids=["tensor", "tuple", "dict"])
def test_examples_are_taken_from_every_tensor(tree):
    where = torch.tensor([4, 0])
    expected = map_tensors(tree, lambda one: one[[4, 0]])
    assert same(take(tree, where), expected)
    assert tensors_of(take(tree, where))[0].tolist() == [[8.0, 9.0], [0.0, 1.0]]


def test_every_tensor_moves():
    moved = to_device({"x": X, "y": Y}, torch.device("meta"))
    assert {one.device.type for one in moved.values()} == {"meta"}


def test_a_network_is_called_as_its_inputs_say():
    def network(x, y=None):
        return x, y

    assert call(network, X)[0] is X
    assert call(network, (X, Y))[1] is Y
    assert call(network, {"y": Y, "x": X}) == (X, Y)


def test_shapes_are_those_of_one_example():
    assert input_shape(X) == (2,)
    assert input_shape((X, Y)) == ((2,), ())
    assert input_shape({"x": X, "y": Y}) == {"x": (2,), "y": ()}


def test_a_list_becomes_a_tuple():
    assert isinstance(map_tensors([X, Y], lambda one: one), tuple)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: chunk(X, 4), "6 examples cannot be cut into 4 equal pieces"),
        (lambda: chunk(X, 0), "into 0 equal pieces"),
        (lambda: num_examples((X, Y[:5])), r"different lengths: \[5, 6\]"),
        (lambda: num_examples(torch.zeros(())), "without dimensions"),
        (lambda: tensors_of(3), "found a int"),
        (lambda: tensors_of((X, 3)), "found a int in it"),
        (lambda: tensors_of({}), "empty dict"),
        (lambda: concatenate([{"x": X}, {"y": X}]), "different tensors"),
    ],
)
def test_what_is_no_batch_is_refused(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
