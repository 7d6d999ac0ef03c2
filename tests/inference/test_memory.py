"""Memory of kernels: given out again when nothing is left on it, never before."""

import gc

import torch

from sparsekit.inference import memory


def test_a_piece_is_used_again_once_no_view_is_left():
    first = memory.empty(100_000)
    address, view = first.data_ptr(), first[5:].as_strided((10,), (2,))
    view.fill_(3)
    del first
    gc.collect()
    second = memory.empty(100_000)
    assert second.data_ptr() != address
    assert view.tolist() == [3] * 10
    del view
    gc.collect()
    assert memory.empty(100_000).data_ptr() == address


def test_pieces_lie_apart_and_are_aligned():
    tensors = [memory.empty(floats) for floats in (20_000, 70_001, 12_000_000, 20_000)]
    for number, tensor in enumerate(tensors):
        assert tensor.dtype == torch.float32
        assert tensor.data_ptr() % 4096 == 0
        tensor.fill_(number)
    assert [tensor.unique().tolist() for tensor in tensors] == [[0], [1], [2], [3]]


def test_copies_have_their_type():
    for values in (torch.arange(50_000).to(torch.uint16), torch.rand(3, 30_001).bfloat16()):
        copy = memory.copied(values)
        assert torch.equal(copy.float(), values.float())
        assert (copy.dtype, copy.shape) == (values.dtype, values.shape)
