"""The random fault run, on a cluster that is pretended: what is drawn, waited for and counted."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scripts import fault_run
from tests.faults.campaign import SECONDS_FOR_ONE, SECONDS_MORE, Injected, inject_all
from tests.faults.drawing import FILES, Draw, commands, draws
from tests.faults.kinds import KINDS
from tests.faults.result import BEGIN, END, Outcome, Result

WHOLE = Outcome(0, "imp, text", runs=2, stages=12, lost=[], differing=[])
KINDS_HERE = ["power cut", "time limit"]
HIT, MISSED = Injected("power cut", 1.0, (0,)), Injected("time limit", 2.0, None)


@dataclasses.dataclass
class Pretended:
    """A world whose clock goes by itself."""

    seconds: float = 0.0
    came: list[tuple[str, float]] = dataclasses.field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def rest(self, seconds: float) -> None:
        self.seconds += seconds


def first(number: int, seed: int, names: Sequence[str] = tuple(KINDS)) -> list[Draw]:
    return list(itertools.islice(draws(seed, names, mean_pause=10.0), number))


def noted(world: Pretended, draw: Draw) -> list[int]:
    world.came.append((draw.kind, world.now()))
    return [len(world.came)]


def test_a_seed_is_an_order_of_faults_and_of_sweeps() -> None:
    assert first(100, seed=1) == first(100, seed=1)
    assert [draw.kind for draw in first(100, seed=1)] != [draw.kind for draw in first(100, seed=2)]
    one, again, other = (
        list(itertools.islice(commands(seed, ["imp", "swamp", "dense"]), 20)) for seed in (1, 1, 2)
    )
    assert one == again != other
    assert {command.executor for command in one} == {"inline", "jobs"}
    assert len({command.problem for command in one}) == 3
    assert all(command.method == "swamp" for command in one if command.executor == "jobs")


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    assert len(KINDS) >= 14
    kinds = [draw.kind for draw in first(3 * len(KINDS), seed=0)]
    for begin in range(0, len(kinds), len(KINDS)):
        assert sorted(kinds[begin : begin + len(KINDS)]) == sorted(KINDS)


def test_faults_come_until_the_time_is_over() -> None:
    world = Pretended()
    told: list[Injected] = []
    kinds: dict[str, Callable[[Pretended, Draw], Sequence[int] | None]] = {"a": noted, "b": noted}
    faults = draws(0, list(kinds), mean_pause=10.0)
    injected = inject_all(world, faults, kinds, seconds=600.0, tell=told.append)
    assert injected == told
    assert 40 < len(injected) < 80
    assert [one.kind for one in injected] == [d.kind for d in first(len(injected), 0, ["a", "b"])]
    assert [one.sweeps for one in injected] == [(n + 1,) for n in range(len(injected))]
    assert 590 < world.now() <= 602


def test_a_fault_waits_for_a_victim_while_others_come() -> None:
    world = Pretended()

    def late(world: Pretended, draw: Draw) -> list[int] | None:
        return noted(world, draw) if world.now() > 100 else None

    def refused(world: Pretended, draw: Draw) -> list[int]:
        raise RuntimeError("SLURM is away")

    kinds: dict[str, Callable[[Pretended, Draw], Sequence[int] | None]]
    kinds = {"late": late, "never": refused, "now": noted}
    faults = (Draw(kind, 1.0, 0.5, 0.5) for kind in ("late", "never", "now"))
    endless = itertools.chain(faults, [Draw("now", 900.0, 0.5, 0.5)])
    injected = inject_all(world, endless, kinds, seconds=600.0, tell=lambda _: None)
    assert [(one.kind, one.sweeps) for one in injected] == [
        ("now", (1,)),
        ("late", (2,)),
        ("never", None),
    ]
    assert injected[-1].seconds >= SECONDS_FOR_ONE


def test_a_busy_machine_gets_longer_until_enough_kinds_came() -> None:
    world = Pretended()

    def late(world: Pretended, draw: Draw) -> list[int] | None:
        return noted(world, draw) if world.now() > 150 else None

    kinds: dict[str, Callable[[Pretended, Draw], Sequence[int] | None]]
    kinds = {"now": noted, "late": late}
    asked = {"seconds": 30.0, "tell": lambda _: None}
    faults = draws(0, list(kinds), mean_pause=10.0)
    injected = inject_all(world, faults, kinds, least_kinds=2, **asked)  # type: ignore[arg-type]
    assert {one.kind for one in injected if one.sweeps} == set(kinds)
    assert 150 < world.now() < 160
    world, faults = Pretended(), draws(0, ["now"], mean_pause=10.0)
    inject_all(world, faults, kinds, least_kinds=2, **asked)  # type: ignore[arg-type]
    assert 30 + SECONDS_MORE <= world.now() <= 32 + SECONDS_MORE


def test_rows_count_the_sweeps_that_were_hit_and_the_last_row_all_of_them_once() -> None:
    other = Outcome(1, "snip, digits", 2, 8, ["fit-1: gone"], ["fit-2/weights differs"] * 2)
    both = Injected("power cut", 3.0, (0, 1))
    result = Result({"seed": 7}, KINDS_HERE, [HIT, both, MISSED], [WHOLE, other])
    assert result.rows() == {
        "power cut": [2, 4, 20, 1, 2],
        "time limit": [0, 0, 0, 0, 0],
        "all": [2, 4, 20, 1, 2],
    }
    text = result.as_markdown()
    assert "| power cut | 2 | 4 | 20 | 1 | 2 |" in text
    assert "* seed: 7" in text
    assert "without a victim in three minutes: time limit" in text
    assert "snip, digits: lost: fit-1: gone" in text


@pytest.mark.parametrize(
    ("outcome", "unexpected", "told"),
    [
        (WHOLE, [], []),
        (dataclasses.replace(WHOLE, lost=["fit-1: gone"]), [], ["imp, text: lost: fit-1: gone"]),
        (dataclasses.replace(WHOLE, differing=["a"]), [], ["imp, text: differs: a"]),
        (WHOLE, ["fit-9"], ["fit-9 is in no undisturbed run"]),
    ],
)
def test_what_is_lost_or_differs_fails_the_command_by_name(
    outcome: Outcome,
    unexpected: list[str],
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = Result({"seed": 0}, KINDS_HERE, [HIT], [outcome], unexpected)
    monkeypatch.setattr(fault_run, "on_its_own_cluster", lambda options, methods: result)
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    arguments = ["--output", str(tmp_path / "out"), "--page", str(page)]
    assert fault_run.main(arguments) == int(bool(told))
    assert capsys.readouterr().err.splitlines() == told
    assert page.read_text().startswith(f"before\n\n{BEGIN}\n\n| fault | times")
    assert "old" not in page.read_text()
    assert page.read_text().endswith(f"{END}\n\nafter\n")
    assert '"complaints"' in (tmp_path / "out" / "result.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--methods", "imp,magic"], "no method magic"),
        (["--page", "page.md"], "page.md has no place"),
        (["--output", "."], "is not empty"),
    ],
)
def test_mistakes_are_told_before_a_cluster_is_started(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("no marks\n")
    assert fault_run.main(arguments) == 2
    assert told in capsys.readouterr().err


def test_the_page_of_the_project_has_a_place_for_the_result() -> None:
    page = Path(__file__).parents[2] / "docs" / "reliability.md"
    text = page.read_text()
    assert text.count(BEGIN) == text.count(END) == 1


def test_all_methods_are_drawn() -> None:
    drawn = itertools.islice(commands(0, list(FILES)), 3 * len(FILES))
    assert {command.method for command in drawn} == set(FILES)
    with pytest.raises(ValueError, match="no methods: magic"):
        next(commands(0, ["magic"]))
