"""What a fault run came to: counted, complained about, and written for people and programs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.campaign import Injected

BEGIN = "<!-- written by python -m scripts.fault_run -->"
END = "<!-- end of what is written -->"
HEAD = (
    "| fault | times | runs | stages | results lost | results differing |",
    "|---|--:|--:|--:|--:|--:|",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a sweep: sizes, what is lost or differs, and what was retried by hand."""

    number: int
    name: str
    runs: int
    stages: int
    lost: Sequence[str]
    differing: Sequence[str]
    retries: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True)
class Result:
    """A whole fault run. `about`: seed, minutes, date, machine, commit and what else made it;
    `kinds`: those there are, in the order in which they are shown."""

    about: Mapping[str, Any]
    kinds: Sequence[str]
    injected: Sequence[Injected]
    outcomes: Sequence[Outcome]
    unexpected: Sequence[str] = ()

    def rows(self) -> dict[str, list[int]]:
        """Return times, runs, stages, lost and differing by kind.

        They are those of the sweeps that a kind hit, so that a sweep hit by several kinds counts
        for each. The last row is all of it, counted once.
        """
        rows = {k: self._row([one for one in self.injected if one.kind == k]) for k in self.kinds}
        came = sum(one.sweeps is not None for one in self.injected)
        return {**rows, "all": [came, *_sums(self.outcomes)]}

    def complaints(self) -> list[str]:
        """Name what was lost or differs; nothing if all is well."""
        found = [f"{o.name}: lost: {what}" for o in self.outcomes for what in o.lost]
        found += [f"{o.name}: differs: {what}" for o in self.outcomes for what in o.differing]
        return found + [f"{key} is in no undisturbed run" for key in self.unexpected]

    def as_json(self) -> dict[str, Any]:
        """Return everything, as plain data."""
        whole = dataclasses.asdict(self)
        return {**whole, "rows": self.rows(), "complaints": self.complaints()}

    def as_markdown(self) -> str:
        """Return the table and the circumstances, as they stand in docs/reliability.md."""
        rows = [f"| {kind} | {' | '.join(map(str, row))} |" for kind, row in self.rows().items()]
        about = "\n".join(f"* {name}: {value}" for name, value in self.about.items())
        parts = ["\n".join([*HEAD, *rows]), "\n".join([about, *self._remarks()])]
        if complaints := self.complaints():
            parts.append("\n".join(f"* {one}" for one in complaints))
        return "\n\n".join(parts)

    def _row(self, of_kind: Sequence[Injected]) -> list[int]:
        came = [one for one in of_kind if one.sweeps is not None]
        hit = {number for one in came for number in one.sweeps or ()}
        return [len(came), *_sums([one for one in self.outcomes if one.number in hit])]

    def _remarks(self) -> list[str]:
        sweeps = "; ".join(one.name for one in self.outcomes)
        retried = [reason for one in self.outcomes for reasons in one.retries for reason in reasons]
        by_state = [reason.partition(":")[0] for reason in retried]
        counts = ", ".join(f"{by_state.count(state)} {state}" for state in sorted(set(by_state)))
        left_out = sorted({one.kind for one in self.injected if one.sweeps is None})
        lines = [f"* sweeps of two runs: {sweeps}"]
        lines.append(f"* runs that needed a further `status retry` in the end: {counts or 'none'}")
        if left_out:
            lines.append(f"* without a victim in three minutes: {'; '.join(left_out)}")
        return lines


def _sums(outcomes: Sequence[Outcome]) -> list[int]:
    return [
        sum(one.runs for one in outcomes),
        sum(one.stages for one in outcomes),
        sum(len(one.lost) for one in outcomes),
        sum(len(one.differing) for one in outcomes),
    ]


def require_place(page: Path) -> None:
    """Raise ValueError for a page that does not say by two marks where a result goes."""
    content = page.read_text()
    if BEGIN not in content or END not in content:
        raise ValueError(f"{page} has no place for a result: {BEGIN} ... {END}")


def write_into(page: Path, text: str) -> None:
    """Replace what stands on a page between the two marks by `text`."""
    content = page.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", content))
