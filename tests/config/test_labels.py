"""Display names are part of no address: a run that is called something else is the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.configuration.compose import Run, compose_one, compose_runs, list_groups
from sparsekit.configuration.config import ConfigError
from sparsekit.runs.recording import record, restate
from sparsekit.runs.runner import prepare_run
from sparsekit.store.named import read_record
from tests.conftest import TINY

MINE = "defaults: [imp, _self_]\ncycles: 1\n"


def composed(*overrides: str, folders: list[Path] | None = None) -> Run:
    return compose_one(overrides, folders or [])


def test_every_method_has_a_label_of_its_own() -> None:
    texts = [file.read_text() for file in list_groups()["method"].values()]
    labels = [line for text in texts for line in text.splitlines() if line.startswith("label:")]
    assert len(set(labels)) == len(texts) == len(labels)


def test_a_label_changes_nothing_else() -> None:
    plain = composed("method=imp")
    given = composed("method=imp", "+label='IMP, long'")
    assert plain.labels == {"method": "IMP"}
    assert given.labels == {"method": "IMP", "run": "IMP, long"}
    assert (given.config, given.variant) == (plain.config, plain.variant)
    renamed = composed("method=imp", "method.label=Mine", "label=4")
    assert renamed.labels == {"method": "Mine", "run": "4"}
    assert (renamed.config, renamed.variant) == (plain.config, plain.variant)


FIRST, SECOND = (f"ticket-{digit * 20}" for digit in "12")


def started(key: str, *overrides: str) -> Run:
    return composed("method=dense", "+source=stored", f"source.key={key}", *overrides)


def test_runs_of_one_label_may_start_from_a_network_of_their_own_seed() -> None:
    mine, other = started(FIRST, "label=Mine"), started(SECOND, "label=Mine", "seed=1")
    assert mine.variant == other.variant
    assert mine.config["source"] != other.config["source"]
    assert started(SECOND, "label=Yours").variant != mine.variant
    assert started(SECOND, "label=Mine", "train.epochs=3").variant != mine.variant
    assert started(FIRST).variant != started(SECOND).variant, (
        "nobody said that they belong together"
    )


def test_a_method_made_of_another_does_not_take_its_name(tmp_path: Path) -> None:
    for name, text in (("plain", MINE), ("called", f'label: "M: 1"\n{MINE}')):
        file = tmp_path / "method" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert composed("method=plain", folders=[tmp_path]).labels == {}
    assert composed("method=called", folders=[tmp_path]).labels == {"method": "M: 1"}
    own = composed("method=plain", "method.label=Mine", folders=[tmp_path])
    assert own.labels == {"method": "Mine"}


def test_entries_of_a_sweep_have_labels() -> None:
    grid = "[{method: imp, method.cycles: 4, label: IMP (short)}, {method: [imp, snip]}]"
    runs = compose_runs([f"sweep={grid.replace('IMP (short)', chr(39) + 'IMP (short)' + chr(39))}"])
    assert [run.labels.get("run") for run in runs] == ["IMP (short)", None, None]
    same = compose_runs(["sweep=[{method: [imp, snip]}, {method: imp, label: A}]"])
    assert [run.labels.get("run") for run in same] == ["A", None], "one run, by its label"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("label=[a]", r"label=\['a'\] is not a text"),
        ("method.label=true", "method.label=True is not a text"),
        ("lable=a", "nearest: label"),
    ],
)
def test_mistakes(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed(override)


def test_the_record_of_a_run_that_is_done_takes_another_label(tmp_path: Path) -> None:
    def asked(*more: str) -> dict[str, str]:
        run = composed(*TINY, "method=imp", f"runtime.store={tmp_path}", *more)
        prepared = prepare_run(run)
        if not (tmp_path / "named").exists():
            record(prepared, [], status="done")
        restate([prepared])
        (file,) = (tmp_path / "named").rglob("*.json")
        return dict(read_record(file)["labels"])

    assert asked() == {"method": "IMP"}
    assert asked("+label=A") == {"method": "IMP", "run": "A"}
    assert asked() == {"method": "IMP", "run": "A"}, "it stays until there is another"
    assert asked("label=B") == {"method": "IMP", "run": "B"}
    assert asked("label=''") == {"method": "IMP"}
