"""What tables call a method: labels that were given, and those derived from what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sparsekit.report.collect import Result
from sparsekit.report.labels import labels_of
from sparsekit.report.wording import phrase


def result(
    *overrides: str,
    method: str = "imp",
    label: str | None = "IMP",
    given: str | None = None,
    experiment: str = "test",
) -> Result:
    labels = {"method": label, "run": given}
    return Result(
        experiment=experiment,
        method=method,
        asked="",
        variant=" ".join(overrides),
        seed=0,
        cycle=1,
        sparsity=0.9,
        ticket="ticket-0",
        metrics={},
        seconds=1.0,
        overrides=tuple(overrides),
        labels={whose: text for whose, text in labels.items() if text},
    )


def names(*results: Result) -> list[str]:
    return list(labels_of(results).values())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([[], ["method.cycles=4", "method.remove=null"]], ["IMP", "IMP (4 cycles)"]),
        (
            [["method.cycles=4", "+control=reinitialise"], ["method.cycles=4"]],
            ["IMP (reinitialised)", "IMP"],
        ),
        (
            [["model=resnet20", "seed=0"], ["model=wrn_28_8", "seed=0"]],
            ["IMP (ResNet-20)", "IMP (WRN-28-8)"],
        ),
        (
            [["train.schedule.peak=0.1"], ["train.schedule.peak=0.2", "train.epochs=1"]],
            ["IMP (learning rate 0.1)", "IMP (learning rate 0.2, 1 epoch)"],
        ),
        ([["method.x.a=1"], ["method.x.a=2"]], ["IMP (a = 1)", "IMP (a = 2)"]),
        (
            [["x.a=1", "y.a=1"], ["x.a=2", "y.a=2"]],
            ["IMP (x.a = 1, y.a = 1)", "IMP (x.a = 2, y.a = 2)"],
        ),
    ],
)
def test_what_differs_is_in_words(overrides: Sequence[Sequence[str]], expected: list[str]) -> None:
    assert names(*(result(*one) for one in overrides)) == expected


def test_what_is_the_same_in_all_rows_is_not_said_unless_it_makes_another_method() -> None:
    assert names(result("train.epochs=5", "method.cycles=4")) == ["IMP"]
    assert names(result("+control=shuffle_layers")) == ["IMP (masks shuffled in layers)"]


def test_the_bracket_of_a_name_gives_way_to_what_was_asked_for_in_its_place() -> None:
    erk = result(method="random", label="Random (ERK)")
    uniform = result("prune@method.prune=random_uniform", method="random", label="Random (ERK)")
    longer = result("train.epochs=9", method="random", label="Random (ERK)")
    assert names(erk, uniform) == ["Random (ERK)", "Random (uniform)"]
    assert names(uniform) == ["Random (uniform)"]
    assert names(erk, longer) == ["Random (ERK)", "Random (ERK, 9 epochs)"]


def test_a_label_that_was_given_is_shown_as_it_is() -> None:
    long = result("method.cycles=20", "+control=reinitialise", given="IMP (long)")
    assert names(result(), long) == ["IMP", "IMP (long)"]
    seed = result("method.cycles=20", "+control=reinitialise")
    assert names(seed, long) == ["IMP (long)"], "one kind has one name"


def test_labels_that_were_given_twice_are_told_apart() -> None:
    assert names(result("train.epochs=1", given="A"), result("train.epochs=2", given="A")) == [
        "A (1 epoch)",
        "A (2 epochs)",
    ]
    first, second = (result(given="A", experiment=name) for name in ("one", "two"))
    assert names(first, second) == ["one: A", "two: A"]


def test_methods_of_one_name_are_told_apart() -> None:
    assert names(result(label="X"), result(label="X", method="my_imp")) == ["X (imp)", "X (my imp)"]


def test_old_records_have_the_method_s_own_name() -> None:
    assert names(result(label=None)) == ["imp"]


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("method.remove", "0.2", "20 % per cycle"),
        ("method.remove", "${x}", "remove = ${x}"),
        ("method.num_particles", "1", "1 particle"),
        ("method.sparsity", "0.985", "to 98.5 %"),
        ("view@method.view", "one_four", "1:4"),
        ("model", "my_net", "my net"),
        ("method.view", "{_target_:my_view.Shrunk,decay:0.1}", "view = Shrunk"),
        ("source.path", "'a b'", "path = a b"),
    ],
)
def test_words(key: str, text: str, said: str) -> None:
    assert phrase(key, text) == said
