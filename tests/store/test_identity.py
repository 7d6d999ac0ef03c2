"""What a stage is, and that its address never changes by accident."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

from sparsekit.core.prune import prune
from sparsekit.core.scores import magnitude, random
from sparsekit.core.types import Sample
from sparsekit.store.identity import Stage, canonical, describe, import_path, stage_key
from sparsekit.store.source import source_digest


@dataclasses.dataclass(frozen=True)
class Recipe:
    epochs: float
    rule: Callable[..., Any]
    names: tuple[str, ...] = ("a", "b")


def double(value: float, *, factor: float = 2.0, names: tuple[str, ...] = ()) -> float:
    return factor * value


GOLDEN = [
    (Stage("init", {"seed": 0}), "init-26efee86d256ea966c40"),
    (Stage("init", {"seed": 1}), "init-cf04e23e3df6324c9e5f"),
    (
        Stage("fit", {"epochs": 1.5, "names": ["a", None, True]}, ("init-0", "start-1"), 3),
        "fit-1b1f521462ebcb2305a6",
    ),
    (
        Stage("pruned", {"prune": functools.partial(random, seed=3)}),
        "pruned-ef1637cf317cae230f90",
    ),
    (Stage("pruned", {"sample": Sample(0, 10, 1, True)}), "pruned-5e64a14a39f9586cea65"),
    (
        Stage("ticket", {"score": magnitude, "deep": {"z": [1e-4, -0.5], "a": "ä"}}),
        "ticket-c4a8f3b6ee1c688d58a3",
    ),
]


@pytest.mark.parametrize(("stage", "key"), GOLDEN, ids=[key for _, key in GOLDEN])
def test_golden_keys(stage: Stage, key: str) -> None:
    assert stage.key == key


def test_everything_of_a_stage_is_part_of_its_key() -> None:
    stages = [
        Stage("fit", {"a": 1}),
        Stage("ticket", {"a": 1}),
        Stage("fit", {"a": 2}),
        Stage("fit", {"b": 1}),
        Stage("fit", {"a": 1}, ("x",)),
        Stage("fit", {"a": 1}, ("x", "y")),
        Stage("fit", {"a": 1}, ("y", "x")),
        Stage("fit", {"a": 1}, version=2),
        Stage("fit", {"a": True}),
        Stage("fit", {"a": "1"}),
        Stage("fit", {"a": None}),
        Stage("fit", {"a": [1]}),
    ]
    assert len({stage.key for stage in stages}) == len(stages)


def test_key_can_be_computed_from_the_description_as_json_gives_it_back() -> None:
    stage = Stage("fit", {"rule": functools.partial(double, factor=3)}, ("x",))
    assert stage_key(stage.description()) == stage.key


def test_equal_numbers_and_containers_have_equal_keys() -> None:
    first = Stage("fit", {"epochs": 1, "names": ("a", "b"), "rate": 0.5})
    second = Stage("fit", {"rate": 0.5, "names": ["a", "b"], "epochs": 1.0})
    assert first.key == second.key
    assert canonical({"x": -0.0}) == canonical({"x": 0}) == '{"x":0}'
    assert canonical(0.1) != canonical(0.1 + 1e-16 + 1e-17)


def test_defaults_are_written_out() -> None:
    assert describe(functools.partial(double, factor=3)) == {
        "_target_": f"{__name__}.double",
        "_source_": source_digest(double),
        "factor": 3,
        "names": [],
    }
    assert describe(double) == describe(functools.partial(double, factor=2.0, names=()))
    assert describe(random)["_target_"] == "sparsekit.core.scores.random"
    nested = describe(functools.partial(prune, score=functools.partial(random, seed=7)))
    assert nested["score"]["seed"] == 7


def test_a_changed_default_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Stage("fit", {"rule": double}).key
    monkeypatch.setitem(double.__kwdefaults__, "factor", 2.5)
    assert Stage("fit", {"rule": double}).key != before


def test_dataclasses_are_described_by_all_their_fields() -> None:
    assert describe(Recipe(1.5, double)) == {
        "_target_": f"{__name__}.Recipe",
        "_source_": source_digest(Recipe),
        "epochs": 1.5,
        "rule": describe(double),
        "names": ["a", "b"],
    }


class Counter:
    def count(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


NAMELESS = [
    lambda: 1,
    Counter().count,
    Counter(),
    functools.partial(lambda value: value, value=1),
    {1, 2},
    b"bytes",
    1j,
]


@pytest.mark.parametrize("value", NAMELESS, ids=lambda value: type(value).__name__)
def test_what_cannot_be_found_again_by_name_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        describe({"rule": [value]})


def test_local_and_script_functions_are_refused() -> None:
    def local() -> int:
        return 1

    with pytest.raises(TypeError, match="define it at the top of a module"):
        import_path(local)
    script = functools.update_wrapper(lambda: 1, double)
    script.__module__ = "__main__"
    with pytest.raises(TypeError, match="define it at the top of a module"):
        import_path(script)


def test_positional_bindings_are_refused() -> None:
    with pytest.raises(TypeError, match="bind them by name"):
        describe(functools.partial(double, 1.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be part of a result's identity"):
        _ = Stage("fit", {"deep": [{"value": value}]}).key
