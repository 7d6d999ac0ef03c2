"""Claims of an experiment are part of no address, and those nobody can test are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sparsekit.configuration.claims import SLACK, claims_in
from sparsekit.configuration.compose import Run, compose_one, compose_runs
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.sweep_files import NO_FILE, read_sweep
from sparsekit.report.claims import SLACK as SLACK_OF_VERDICTS
from sparsekit.runs.recording import record, restate
from sparsekit.runs.runner import prepare_run
from sparsekit.store.named import read_record
from sparsekit.store.schemas import claim
from tests.conftest import TINY

EXPERIMENT = """\
# @package _global_
sweep:
  - {{method: [one_shot, random], sparsity: [0.9, 0.98]}}
  - {{method: imp, method.cycles: 2, label: Long}}
claims: {claims}
"""
CLAIM = "{says: a, better: one_shot, than: random, sparsity: 0.98}"


def composed(folder: Path, claims: str, *typed: str) -> list[Run]:
    file = folder / "experiment" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(EXPERIMENT.format(claims=claims))
    return compose_runs(["experiment=mine", *typed], [folder])


def test_claims_change_nothing_else(tmp_path: Path) -> None:
    stated = composed(tmp_path, f"[{CLAIM}]")
    plain = composed(tmp_path, "null")
    assert [run.claims for run in plain] == [None] * 5
    claim = {"says": "a", "better": "one_shot", "than": "random", "sparsity": 0.98}
    assert [run.claims for run in stated] == [[claim]] * 5
    for one, other in zip(stated, plain, strict=True):
        assert (one.config, one.variant, one.overrides) == (
            other.config,
            other.variant,
            other.overrides,
        )


def test_what_is_selected_may_leave_a_claim_without_a_method(tmp_path: Path) -> None:
    claims = "[{says: a, better: Long, than: random}, {says: b, better: One-shot, than: IMP}]"
    typed = ("method=random", "sparsity=0.9")
    assert len(composed(tmp_path, claims, *typed)) == 1
    assert len(composed(tmp_path, f"[{CLAIM}]", *typed)) == 1


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("a", "claims='a' is not a list"),
        ("[a]", r"claims\[0\]='a' is not a mapping"),
        ("[{says: a}]", r"claims\[0\]: a claim has one of better, as_good"),
        ("[{says: a, better: imp}]", "with better needs says, better, than"),
        ("[{says: a, as_good: imp, as: random}]", "needs says, as_good, as, within"),
        ("[{says: a, better: imp, then: random}]", r"claims\[0\].then: .*nearest: than"),
        ("[{says: 1, better: imp, than: random}]", "says=1 is not a text"),
        ("[{says: a, better: imp, than: imp}]", "imp is compared with itself"),
        ("[{says: a, as_good: imp, as: random, within: 0}]", "within=0 is not a number above 0"),
        ("[{says: a, better: imp, than: random, sparsity: 98}]", "sparsity=98 is outside"),
    ],
)
def test_mistakes(claims: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        claims_in(yaml.safe_load(claims))


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("[{says: a, better: imp, than: randon}]", "no method randon; nearest: random"),
        ("[{says: a, better: imp, than: snip}]", r"claims\[0\]: the sweep has no method snip"),
        (
            "[{says: a, better: imp, than: random, sparsity: 0.95}]",
            r"sparsity=0.95: no run of random has it; there is 0.9, 0.98",
        ),
    ],
)
def test_what_no_result_of_the_sweep_can_test_is_refused(
    claims: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        composed(tmp_path, claims)


def test_refusals_and_verdicts_agree_on_what_counts_as_the_stated_sparsity() -> None:
    assert SLACK == SLACK_OF_VERDICTS


def test_records_with_claims_of_another_form_are_damaged() -> None:
    good = {"says": "a", "as_good": "imp", "as": "snip", "within": 0.01, "sparsity": 0.9}
    claim(good, "claims")
    for wrong in ({"within": "x"}, {"as": None}, {"sparsity": 90}, {"better": "imp"}):
        with pytest.raises(ValueError, match="claims"):
            claim({**good, **wrong}, "claims")


def test_claims_of_a_sweep_file_take_the_place_of_the_experiment_s(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "overrides: ['method=imp,random']\nclaims: [{says: a, better: IMP, than: random}]"
    )
    sweep = read_sweep(file)
    assert [len(run.claims or ()) for run in compose_runs([], sweep=sweep)] == [1, 1]
    file.write_text(file.read_text().replace("IMP", "snip"))
    with pytest.raises(ConfigError, match="the sweep has no method snip"):
        compose_runs([], sweep=read_sweep(file))
    assert NO_FILE.claims is None


def test_without_grids_other_methods_may_be_typed_later() -> None:
    (run,) = compose_runs(["method=imp", "claims=[{says:a,better:imp,than:snip}]"])
    assert run.claims == [{"says": "a", "better": "imp", "than": "snip"}]
    with pytest.raises(ConfigError, match="no method snap; nearest: snip"):
        compose_runs(["method=imp", "claims=[{says:a,better:imp,than:snap}]"])


def test_the_record_of_a_run_that_is_done_takes_other_claims(tmp_path: Path) -> None:
    def asked(*more: str) -> list[str] | None:
        run = compose_one([*TINY, "method=imp", f"runtime.store={tmp_path}", *more], [])
        prepared = prepare_run(run)
        if not (tmp_path / "named").exists():
            record(prepared, [], status="done")
        restate([prepared])
        (file,) = (tmp_path / "named").rglob("*.json")
        claims = read_record(file)["claims"]
        return None if claims is None else [claim["says"] for claim in claims["list"]]

    assert asked() is None
    assert asked("claims=[{says:a,better:imp,than:snip}]") == ["a"]
    assert asked() == ["a"], "they stay until others are stated"
    assert asked("claims=[{says:b,better:imp,than:snip}]") == ["b"]
    assert asked("claims=[]") == []
