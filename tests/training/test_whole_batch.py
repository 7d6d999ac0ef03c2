"""BatchNorm over the parts of a batch: the function of PyTorch, with sums over ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.functional import batch_norm

from sparsekit.training.whole_batch import WholeBatch, check_pieces


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


class Activated(nn.BatchNorm2d):
    """A subclass with a forward pass of its own, as timm has them."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        assert self.running_mean is not None
        return batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.2
        ).relu()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, Activated])
def test_one_rank_gets_what_pytorch_computes(
    kind: type[nn.BatchNorm2d], affine: bool, one_rank: None
) -> None:
    results = []
    for shared in (False, True):
        torch.manual_seed(0)
        norm = kind(3, affine=affine)
        values = (torch.randn(8, 3, 5, 5) * 3 + 100).requires_grad_()
        for _ in range(2):
            if shared:
                with WholeBatch():
                    outputs = norm(values)
            else:
                outputs = norm(values)
        (outputs * torch.randn(outputs.shape)).sum().backward()
        assert values.grad is not None
        gradients = [p.grad for p in norm.parameters()]
        results.append([outputs, values.grad, norm.running_mean, norm.running_var, *gradients])
    for plain, ours in zip(*results, strict=True):
        assert torch.allclose(plain, ours, rtol=1e-3, atol=1e-4)


def test_evaluation_mode_is_pytorchs(one_rank: None) -> None:
    norm, values = nn.BatchNorm1d(3).eval(), torch.randn(4, 3)
    with WholeBatch():
        shared = norm(values)
    assert torch.equal(shared, norm(values))


def test_pieces_that_would_hold_other_examples_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"train.accumulate=2 on 3 devices"):
        check_pieces(model, accumulate=2, num_devices=3)
    check_pieces(model, accumulate=1, num_devices=3)
    check_pieces(model, accumulate=2, num_devices=1)
    check_pieces(model[:1], accumulate=2, num_devices=3)
