"""A leaf given whole on the command line replaces the one that stands there."""

from __future__ import annotations

import pytest

from sparsekit.configuration.compose import compose_one, compose_runs
from sparsekit.configuration.config import ConfigError

ADAMW = "sparsekit.training.optimizers.adamw"


def test_nothing_of_the_old_leaf_is_left() -> None:
    typed = f"train.optimizer={{_target_:{ADAMW},weight_decay:0.1}}"
    optimizer = compose_one(["train=digits", typed]).config["train"]["optimizer"]
    assert optimizer == {"_target_": ADAMW, "weight_decay": 0.1}
    assert "momentum" in compose_one(["train=digits"]).config["train"]["optimizer"]


def test_a_leaf_that_no_yaml_mentions() -> None:
    merge = "sparsekit.core.averaging.uniform_soup"
    run = compose_one(["method=imp", f"method.merge={{_target_:{merge}}}"])
    assert run.config["method"]["merge"] == {"_target_": merge}


def test_it_tells_runs_apart() -> None:
    plain = compose_one(["train=digits"])
    other = compose_one(["train=digits", f"train.optimizer={{_target_:{ADAMW}}}"])
    assert plain.variant != other.variant


def test_its_mistakes_are_found() -> None:
    with pytest.raises(ConfigError, match=r"train.optimizer.momentum: .*adamw has no such"):
        compose_runs([f"train.optimizer={{_target_:{ADAMW},momentum:0.9}}"])


def test_a_grid_may_give_a_group_whole() -> None:
    method = "{_target_:sparsekit.method.cycle.Method,num_particles:2}"
    runs = compose_runs([f"sweep=[{{method:[dense,{method}],seed:[0,1]}}]"])
    assert [run.config["method"].get("num_particles") for run in runs] == [None, None, 2, 2]


def test_what_is_typed_beside_a_leaf_counts() -> None:
    leaf = f"train.optimizer={{_target_:{ADAMW},weight_decay:0.1}}"
    one = ["train.optimizer.weight_decay=0.2", leaf]
    for overrides in (one, one[::-1]):
        assert compose_one(overrides).config["train"]["optimizer"]["weight_decay"] == 0.2
