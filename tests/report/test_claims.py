"""What experiments claim: the verdict of each claim, on records whose numbers are known."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsekit.report.claims import Answer, answers, claims_of
from sparsekit.report.collect import Record, Result
from sparsekit.report.differences import NOT_EQUAL
from sparsekit.report.rows import rows_of
from sparsekit.report.verdicts import NONE, WHOLE, claims_table
from sparsekit.tasks.metric import ACCURACY, Metric
from tests.report.writer import Writer, output

GOOD = (0.931, 0.928, 0.934, 0.929, 0.933)
BAD = (0.926, 0.927, 0.928, 0.925, 0.930)  # p = 0.0115, +0.14 to +0.62 %
SAYS = "IMP keeps more"
Stated = Mapping[str, Any]


def better(first: str = "imp", second: str = "random", **more: Any) -> Stated:
    return {"says": SAYS, "better": first, "than": second, **more}


def as_good(within: float, **more: Any) -> Stated:
    return {"says": "as good", "as_good": "imp", "as": "random", "within": within, **more}


class Made:
    """Results that are in no store, and the claims of the runs they are of."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.records: list[Record] = []

    def add(
        self,
        method: str,
        sparsity: float,
        values: Sequence[float],
        *claims: Stated,
        at: float = 1.0,
        metric: Metric = ACCURACY,
        experiment: str = "test",
        labels: Mapping[str, str] | None = None,
        setting: str = "",
        networks: str = "",
    ) -> None:
        content = {"experiment": experiment, "claims": {"time": at, "list": list(claims)}}
        self.records += [Record(Path(method), content)] if claims else []
        primary = {"primary": dataclasses.asdict(metric), "sparsity_prunable": sparsity}
        for seed, value in enumerate(values):
            self.results.append(
                Result(
                    experiment=experiment,
                    method=method,
                    asked="",
                    variant=f"{method} {setting}",
                    seed=seed,
                    cycle=1,
                    sparsity=sparsity,
                    ticket=f"{networks or method} {seed} {sparsity}",
                    metrics={**primary, f"test_{metric.name}": value},
                    seconds=1.0,
                    labels=labels or {},
                    overrides=(setting,) if setting else (),
                )
            )

    @property
    def answers(self) -> list[Answer]:
        return answers(claims_of(self.records), rows_of(self.results))

    @property
    def verdicts(self) -> list[str]:
        return [answer.verdict for answer in self.answers]


@pytest.fixture
def made() -> Made:
    return Made()


def test_a_claim_is_supported_or_contradicted_by_its_direction(made: Made) -> None:
    made.add("imp", 0.9, GOOD, better(), better("random", "imp"))
    made.add("random", 0.9, BAD)
    assert made.verdicts == ["supported", "contradicted"]
    table = claims_table(made.answers)
    assert table.cells[0] == [
        SAYS, "90.00", "imp less random", "5", "+0.38", "+0.14 to +0.62", "0.023", "supported",
        "supported",
    ]  # fmt: skip
    assert WHOLE not in table.lines_below


def test_p_is_corrected_for_all_that_is_planned_whether_there_or_not(made: Made) -> None:
    planned = [better(sparsity=s) for s in (0.9, 0.95, 0.98, 0.99, 0.995)]
    made.add("imp", 0.9, GOOD, *planned)
    made.add("random", 0.9, BAD)
    (first, *others) = made.answers
    assert first.verdict == "no evidence"
    assert first.lines[0].p == pytest.approx(5 * 0.0115340487998)
    assert [one.verdict for one in others] == ["not testable"] * 4
    assert others[0].lines[0].line.reason == "imp has no result at 95 %"
    assert NOT_EQUAL in claims_table([first]).lines_below


@pytest.mark.parametrize(
    ("within", "verdict"),
    [(0.007, "supported"), (0.005, "no evidence"), (0.001, "contradicted")],
)
def test_as_good_is_what_the_interval_says(made: Made, within: float, verdict: str) -> None:
    made.add("imp", 0.9, GOOD, as_good(within))
    made.add("random", 0.9, BAD)
    assert made.verdicts == [verdict]
    cells = claims_table(made.answers).cells
    assert cells[0][2] == f"imp less random, within {100 * within:g} %"


def test_a_claim_about_all_sparsities_is_as_good_as_its_weakest_line(made: Made) -> None:
    made.add("imp", 0.5, GOOD, better())
    made.add("imp", 0.9, GOOD)
    made.add("imp", 0.99, GOOD)
    made.add("random", 0.5, BAD)
    made.add("random", 0.9, GOOD[::-1])
    (answer,) = made.answers
    assert [(one.line.sparsity, one.verdict) for one in answer.lines] == [
        (0.5, "supported"),
        (0.9, "no evidence"),
    ]
    assert answer.verdict == "no evidence"
    assert WHOLE in claims_table([answer]).lines_below


def test_a_dense_network_is_held_against_every_sparsity(made: Made) -> None:
    made.add("dense", 0.0, GOOD, better("dense", "random", sparsity=0.9))
    made.add("random", 0.9, BAD)
    assert made.verdicts == ["supported"]
    assert claims_table(made.answers).cells[0][2] == "dense at 0.00 % less random"


def test_budgets_of_whole_weights_count_as_the_stated_sparsity(made: Made) -> None:
    made.add("imp", 0.9796, GOOD, better(sparsity=0.98))
    made.add("random", 0.9796, BAD)
    assert made.verdicts == ["supported"]
    made.add("snip", 0.9775, GOOD, better("snip", sparsity=0.98), at=2.0)
    assert made.verdicts == ["not testable"]


@pytest.mark.parametrize(
    ("bad", "claim", "reason"),
    [
        (BAD[:1], better(), "one seed in common; it takes 2 or more"),
        ((), better(), "method random: there is imp"),
        (BAD, better("imq"), "method imq: there is imp, random"),
        (BAD, better("imp", "imp"), "both are the same networks"),
    ],
)
def test_what_cannot_be_tested_says_why(
    made: Made, bad: Sequence[float], claim: Stated, reason: str
) -> None:
    made.add("imp", 0.9, GOOD, claim)
    made.add("random", 0.9, bad)
    (answer,) = made.answers
    assert answer.verdict == "not testable"
    assert answer.lines[0].line.reason == reason


def test_without_a_sparsity_in_common_nothing_is_tested(made: Made) -> None:
    made.add("imp", 0.9, GOOD, better())
    made.add("random", 0.5, BAD)
    (answer,) = made.answers
    assert answer.lines[0].line.reason == "the two have no sparsity in common"


@pytest.mark.parametrize("name", ["IMP", "imp"])
def test_runs_of_one_name_and_several_numbers_of_cycles_are_found(made: Made, name: str) -> None:
    labels = {"run": "IMP"}
    made.add("random", 0.9, BAD, better(name, sparsity=0.9), better(name, sparsity=0.99))
    made.add("random", 0.99, BAD)
    made.add("imp", 0.9, GOOD, labels=labels, setting="method.cycles=5")
    made.add("imp", 0.9, GOOD, labels=labels, setting="method.cycles=10")
    made.add("imp", 0.99, GOOD, labels=labels, setting="method.cycles=10")
    assert made.verdicts == ["supported", "supported"]
    made.add("random", 0.9, BAD, better(name), at=2.0)
    assert [one.line.sparsity for one in made.answers[0].lines] == [0.9, 0.99]


def test_a_name_that_means_several_networks_is_refused_unless_it_is_a_label(made: Made) -> None:
    claims = better("IMP"), better("imp"), better("IMP (5 cycles)")
    made.add("random", 0.9, BAD, *claims)
    labels = {"run": "IMP"}
    made.add("imp", 0.9, GOOD, labels=labels, setting="method.cycles=5")
    made.add("imp", 0.9, GOOD, labels=labels, setting="method.cycles=10", networks="others")
    (first, second, exact) = made.answers
    there = "IMP (5 cycles), IMP (10 cycles)"
    assert first.lines[0].line.reason == f"IMP at 90 % is one of {there}: name one"
    assert second.lines[0].line.reason == f"imp at 90 % is one of {there}: name one"
    assert exact.verdict == "supported"


def test_less_is_better_where_the_metric_says_so(made: Made) -> None:
    perplexity = Metric("perplexity", "min")
    made.add("imp", 0.9, (9.0, 9.1, 9.2), better(), metric=perplexity)
    made.add("random", 0.9, (12.0, 12.2, 12.1), metric=perplexity)
    assert made.verdicts == ["supported"]


def test_what_was_stated_last_counts_and_experiments_are_apart(made: Made) -> None:
    made.add("imp", 0.9, GOOD, better("random", "imp"), at=1.0)
    made.add("random", 0.9, BAD, better("imp", "Random"), at=2.0, labels={"method": "Random"})
    made.add("imp", 0.9, GOOD, better(), experiment="other")
    (last, other) = made.answers
    assert (last.claim.second, last.verdict) == ("Random", "supported")
    assert other.lines[0].line.reason == "method random: there is imp"
    cells = claims_table([last, other]).cells
    assert [line[0] for line in cells] == [f"test: {SAYS}", f"other: {SAYS}"]


def test_it_is_a_section_of_the_report_and_a_csv(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(method: str, accuracies: Sequence[float], *claims: Stated) -> None:
        stated = {"time": 1.0, "list": list(claims)} if claims else None
        for seed, accuracy in enumerate(accuracies):
            key = writer.ticket(f"{method} {seed}", accuracy, 0.9)
            writer.record(method, seed, [(0.9, key)], claims=stated)

    write("imp", GOOD)
    assert NONE in output(capsys, writer.store.root, "--claims")
    write("random", BAD, better(), better("imp", "snip"))
    for form in ("terminal", "markdown", "latex"):
        assert "not testable" in output(capsys, writer.store.root, "--claims", "--format", form)
    text = output(capsys, writer.store.root, "--claims", "--format", "csv")
    (first, second) = csv.DictReader(io.StringIO(text))
    assert (first["claim"], first["verdict"], first["n"]) == (SAYS, "supported", "5")
    assert float(first["difference_mean"]) == pytest.approx(0.0038)
    assert float(first["p_t_holm"]) == pytest.approx(2 * 0.0115340487998)
    assert (second["n"], second["reason"]) == ("", "method snip: there is imp, random")
