"""The causal transformer: what it sees, its size, its start."""

import math

import pytest
import torch
from torch import nn

from sparsekit.models.prunable import prunable
from sparsekit.models.transformer import transformer


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_stated_size_and_what_is_prunable():
    model = transformer((64,), 256)
    names = prunable(model)
    assert len(names) == 13
    assert sum(model.get_parameter(name).numel() for name in names) == 114_688
    assert sum(parameter.numel() for parameter in model.parameters()) == 137_216
    assert not any("embedding" in name or "norm" in name for name in names)


def test_logits_depend_on_the_tokens_before_and_not_on_those_after():
    model = transformer((12,), 50, width=16).eval()
    tokens = torch.randint(50, (3, 12))
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 50
    one, other = model(tokens), model(changed)
    assert one.shape == (3, 12, 50)
    torch.testing.assert_close(one[:, :7], other[:, :7], rtol=0, atol=0)
    for position in range(7, 12):
        assert not torch.allclose(one[:, position], other[:, position])


def test_positions_are_told_apart():
    logits = transformer((6,), 20, width=16).eval()(torch.full((1, 6), 3))
    assert not torch.allclose(logits[0, 1], logits[0, 2])


def test_shorter_sequences_give_the_same_logits():
    model = transformer((12,), 50, width=16).eval()
    tokens = torch.randint(50, (3, 12))
    torch.testing.assert_close(model(tokens[:, :5]), model(tokens)[:, :5])


def test_every_parameter_gets_a_gradient():
    model = transformer((8,), 20, width=16, num_layers=3, mlp_width=24)
    model(torch.randint(20, (4, 8))).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model.blocks[2].up.weight.shape == (24, 16)


def test_it_starts_as_gpt_2():
    model = transformer((64,), 256, width=128, num_layers=2)
    assert model.blocks[0].up.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert model.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.03)
    for layer in (model.blocks[1].down, model.blocks[0].attention.out):
        assert layer.weight.std().item() == pytest.approx(0.02 / math.sqrt(4), rel=0.03)
        assert not layer.bias.any()
    loss = nn.functional.cross_entropy(
        model(torch.randint(256, (8, 64))).flatten(0, 1), torch.randint(256, (512,))
    )
    assert float(loss.detach()) == pytest.approx(math.log(256), rel=0.02)


def test_dropout_acts_in_training_alone():
    model = transformer((8,), 20, width=16, dropout=0.5)
    tokens = torch.randint(20, (2, 8))
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: transformer((3, 8, 8), 10), r"input_shape=\(3, 8, 8\): .* tokens \(T,\)"),
        (lambda: transformer({"x": (3,)}, 10), r"tokens \(T,\)"),
        (lambda: transformer((8,), 10, width=12, num_heads=4), "width=12, num_heads=4"),
        (lambda: transformer((8,), 10, width=16, num_heads=3), "width=16, num_heads=3"),
        (lambda: transformer((8,), 10, num_layers=0), "num_layers=0"),
        (lambda: transformer((8,), 10, dropout=1.0), "dropout=1.0"),
        (lambda: transformer((8,), 10, width=16)(torch.zeros(2, 8)), "int64 .* not torch.float32"),
        (lambda: transformer((8,), 10, width=16)(torch.zeros(2, 9).long()), "T <= 8"),
    ],
)
def test_mistakes_name_the_value_and_the_valid_ones(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
