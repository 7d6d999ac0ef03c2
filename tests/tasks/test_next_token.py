import math
import pickle

import pytest
import torch

from sparsekit.tasks.next_token import next_token
from sparsekit.tasks.types import add

# Probabilities of the tokens to predict: 3/4, 1/4; 1/2, 1/2.
LOGITS = torch.tensor([[[0.0, math.log(3)], [math.log(3), 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
TARGETS = torch.tensor([[1, 1], [0, 1]])
LOSS = -(math.log(3 / 4) + math.log(1 / 4) + 2 * math.log(1 / 2)) / 4
TASK = next_token(bytes_per_token=1)


def shown(logits, targets, sizes=None, task=TASK):
    sizes = sizes or [len(targets)]
    parts = zip(logits.split(sizes), targets.split(sizes), strict=True)
    return task.metrics(add([task.measure(*part) for part in parts]))


def test_by_hand_over_tokens_not_sequences():
    assert float(TASK.loss(LOGITS, TARGETS)) == pytest.approx(LOSS, rel=1e-6)
    assert TASK.measure(LOGITS, TARGETS)["accuracy"] == (2, 4)
    metrics = shown(LOGITS, TARGETS)
    assert metrics == {
        "loss": pytest.approx(LOSS, rel=1e-6),
        "accuracy": 0.5,
        "perplexity": pytest.approx(math.exp(LOSS), rel=1e-6),
        "bits_per_byte": pytest.approx(LOSS / math.log(2), rel=1e-6),
    }


def test_the_uniform_model_has_as_much_perplexity_as_tokens_and_eight_bits_per_byte():
    metrics = shown(torch.zeros(3, 5, 256), torch.arange(15).view(3, 5))
    assert metrics["perplexity"] == pytest.approx(256, rel=1e-6)
    assert metrics["bits_per_byte"] == pytest.approx(8, rel=1e-6)


def test_longer_tokens_have_fewer_bits_per_byte_and_unknown_ones_perplexity_alone():
    metrics = shown(LOGITS, TARGETS, task=next_token(bytes_per_token=4))
    assert metrics["bits_per_byte"] == pytest.approx(LOSS / math.log(2) / 4, rel=1e-6)
    plain = next_token()
    assert "bits_per_byte" not in shown(LOGITS, TARGETS, task=plain)
    assert (plain.primary.name, plain.primary.direction) == ("perplexity", "min")
    assert (TASK.primary.name, TASK.primary.direction) == ("bits_per_byte", "min")


def test_ignored_positions_do_not_count():
    targets = torch.tensor([[1, -100], [-100, -100]])
    assert TASK.measure(LOGITS, targets)["accuracy"] == (1, 1)
    assert shown(LOGITS, targets)["loss"] == pytest.approx(-math.log(3 / 4), rel=1e-6)
    assert float(TASK.loss(LOGITS, targets)) == pytest.approx(-math.log(3 / 4), rel=1e-6)


def test_any_partition_into_batches_gives_the_same():
    torch.manual_seed(1)
    logits, targets = torch.randn(50, 6, 5), torch.randint(5, (50, 6))
    targets[::3, 2:] = -100
    whole = shown(logits, targets)
    for sizes in ([25, 25], [1, 49], [1, 7, 20, 22]):
        assert shown(logits, targets, sizes) == {
            name: pytest.approx(value, rel=1e-12) for name, value in whole.items()
        }


def test_an_ensemble_averages_probabilities():
    mean = TASK.mean_prediction([LOGITS, LOGITS.flip(-1)]).softmax(-1)
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5))
    assert torch.equal(TASK.mean_prediction([LOGITS]), LOGITS)
    assert torch.equal(TASK.soften(LOGITS, 4.0), LOGITS / 4)
    assert TASK.classes is None


def test_a_hopeless_loss_has_infinite_perplexity():
    logits = torch.tensor([[[2000.0, 0.0]]])
    assert shown(logits, torch.tensor([[1]]))["perplexity"] == math.inf


@pytest.mark.parametrize("use", ["loss", "measure", "check"])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (LOGITS[:, 0], TARGETS, r"\[B, T, V\], not torch.float32 \[2, 2\]"),
        (LOGITS, TARGETS[:, 0], r"int64 \[B, T\], .* not torch.int64 \[2\]"),
        (LOGITS, TARGETS.float(), "not torch.float32"),
        ({"logits": LOGITS}, TARGETS, "not a dict; wrap the network"),
        (LOGITS[:, :1], TARGETS, r"\[2, 1, 2\] do not fit tokens to predict \[2, 2\]"),
    ],
)
def test_outputs_and_targets_of_another_kind_are_refused(use, outputs, targets, message):
    arguments = (2,) if use == "check" else ()
    with pytest.raises(ValueError, match=message):
        getattr(TASK, use)(outputs, targets, *arguments)


def test_the_check_looks_at_number_and_values():
    TASK.check(LOGITS, TARGETS, 2)
    with pytest.raises(ValueError, match="2 outputs, the data set has 3 tokens"):
        TASK.check(LOGITS, TARGETS, 3)
    with pytest.raises(ValueError, match=r"tokens from 0 to 5: must lie in 0 .. 1, or be -100"):
        TASK.check(LOGITS, torch.tensor([[0, 5], [1, 1]]), 2)
    with pytest.raises(ValueError, match="every target is -100"):
        TASK.check(LOGITS, torch.full((2, 2), -100), 2)


def test_bytes_per_token_must_be_positive():
    with pytest.raises(ValueError, match="bytes_per_token=0"):
        next_token(bytes_per_token=0)


def test_it_survives_pickling():
    assert shown(LOGITS, TARGETS, task=pickle.loads(pickle.dumps(TASK))) == shown(LOGITS, TARGETS)
